"""A folder of pictures, studied and told on one page."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.report_page import Drawing, drawings, in_words, page
from meta_core.study import Study, shots_of, study
from tests.made_up import SPEC, made_up_pictures, small_learner

NASTY = '<script>alert(1)</script>&"'


def alike(counts: list[int]) -> Pictures:
    """Pictures of a class resemble each other; the first of the first class is among the second's, and once more."""
    made = made_up_pictures(counts)
    bases = torch.randint(0, 200, (len(counts), 1, 16, 16), generator=torch.Generator().manual_seed(1))
    images = (bases[made.labels] + made.images.long() // 8).clamp(0, 255).to(torch.uint8)
    labels = made.labels.clone()
    labels[0] = 1
    images[2] = images[1]
    return replace(made, images=images, labels=labels, classes=("dull", NASTY, *made.classes[2:]))


@pytest.fixture(scope="module")
def studied() -> Study:
    told: list[tuple[str, int, int]] = []
    learner = small_learner("protonet", shape=SPEC.shape)
    found = study(learner, SPEC, alike([8, 7, 6]), advance=lambda *step: told.append(step))
    for doing in ("encoding", "leaving each out", "drawing fewer shots"):
        own = [(done, of) for name, done, of in told if name == doing]
        assert own == sorted(own)
        assert own[-1][0] == own[-1][1]
    return found


@pytest.fixture(scope="module")
def drawn(studied: Study) -> list[Drawing]:
    return drawings(studied)


def test_a_study_finds_what_was_put_in(studied: Study) -> None:
    assert studied.report.accuracy is not None
    assert studied.report.accuracy > 0.9
    assert studied.report.mislabelled is not None
    assert [(each.example, each.label, each.suggested) for each in studied.report.mislabelled][:1] == [(0, 1, 0)]
    assert [group.examples for group in studied.report.duplicates if group.exact] == [(1, 2)]
    assert [row.shots for row in studied.curve] == [1, 2, 3, 5]
    assert studied.curve[-1].accuracy >= studied.curve[0].accuracy


def test_the_words_say_the_figures(studied: Study) -> None:
    said = " ".join(in_words(studied, model="tiny 1.0"))
    assert "21 pictures of 3 labels, seen by tiny 1.0." in said
    assert f"{100 * (studied.report.accuracy or 0):.1f} % of 21 pictures" in said
    assert "1 group(s) of equal pictures" in said


class Resources(HTMLParser):
    """Collects what a page would load, and the tags that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "data", "action")]


def test_the_page_asks_no_host_for_anything_and_runs_nothing(studied: Study, drawn: list[Drawing]) -> None:
    text = page(studied, drawn, model="tiny 1.0")
    found = Resources()
    found.feed(text)
    assert "script" not in found.tags
    assert found.asked
    assert all(asked.startswith("data:image/") for asked in found.asked)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|https?://", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text
    assert "prefers-color-scheme: dark" in text


def test_every_picture_of_the_page_can_be_seen(studied: Study, drawn: list[Drawing]) -> None:
    found = Resources()
    found.feed(page(studied, drawn, model="tiny 1.0"))
    for asked in found.asked:
        Image.open(io.BytesIO(base64.b64decode(asked.partition(",")[2]))).load()
    assert [drawing.name for drawing in drawn] == ["map", "confusions", "reliability", "shots"]
    assert len(found.asked) >= 2 * len(drawn) + 3


def test_files_are_named_where_there_are_any(studied: Study, drawn: list[Drawing]) -> None:
    files = tuple(f"class/{number} & co.jpg" for number in range(21))
    named = replace(studied, pictures=replace(studied.pictures, files=files))
    assert "class/0 &amp; co.jpg" in page(named, drawn, model="tiny 1.0")
    assert "picture 0" in page(studied, drawn, model="tiny 1.0")


def test_one_picture_a_label_is_drawn_as_far_as_it_goes() -> None:
    pictures = made_up_pictures([1, 1, 1])
    found = study(small_learner("protonet", shape=SPEC.shape), SPEC, pictures)
    assert [drawing.name for drawing in drawings(found)] == ["map"]
    assert "Too few pictures could be left out" in page(found, drawings(found), model="tiny 1.0")
    assert shots_of(pictures) == []


def test_a_learner_that_adapts_its_whole_network_is_not_asked_to_leave_out() -> None:
    learner = small_learner("maml", shape=SPEC.shape)
    found = study(learner, SPEC, alike([3, 3]), seconds=0)
    assert found.logits is None
    assert [(row.shots, row.draws) for row in found.curve] == [(1, 1)]
    assert [drawing.name for drawing in drawings(found)] == ["map", "shots"]


def test_one_label_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="at least two"):
        study(small_learner("protonet", shape=SPEC.shape), SPEC, made_up_pictures([5]))

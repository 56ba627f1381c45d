"""The report on a folder of pictures for people: one HTML page that asks no other host for anything, and PNG files."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from meta_core import plots
from meta_core.report import confusion_matrix
from meta_core.study import Study

_MOST_SHOWN = 30
_THUMBNAIL = 96

_STYLE = """
:root { color-scheme: light dark; --line: #ccc; --soft: #666; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #aaa; --bad: #f2867e } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
table { border-collapse: collapse }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; height: auto } .thumb { width: 96px; image-rendering: auto; vertical-align: middle }
.cards { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none }
.cards li { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem; max-width: 15rem }
.cards li { overflow-wrap: anywhere }
.soft { color: var(--soft); font-size: .9rem } .bad { color: var(--bad); font-weight: 600 }
"""


class Drawing(NamedTuple):
    """A plot, for a light page and for a dark one.

    Attributes:
        name: for the file.
        title: above it.
        words: what it shows and how to read it.
        light: PNG.
        dark: PNG.
    """

    name: str
    title: str
    words: str
    light: bytes
    dark: bytes


def drawings(study: Study) -> list[Drawing]:
    """Every plot that the study has figures for.

    Raises:
        MissingExtra: scikit-learn or matplotlib is not installed.
    """
    return [drawing for drawing in (_map(study), _confusions(study), _reliability(study), _curve(study)) if drawing]


def page(study: Study, drawn: Sequence[Drawing], *, model: str) -> str:
    """The report as one HTML page, its plots and thumbnails within it.

    Args:
        study: of the pictures.
        drawn: by `drawings`.
        model: that encoded and adapted: its name and version.
    """
    title = f"Report on {study.pictures.source}"
    body = "\n".join(
        [
            f"<h1>{html.escape(title)}</h1>",
            f"<p>{' '.join(html.escape(line) for line in in_words(study, model=model))}</p>",
            *_suspects(study),
            *_duplicates(study),
            *_few(study),
            *_pairs(study),
            *(_figure(drawing) for drawing in drawn),
        ]
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def in_words(study: Study, *, model: str) -> list[str]:
    """What the report comes to, a sentence each."""
    found, classes = study.report, study.pictures.classes
    said = [f"{found.examples} pictures of {len(classes)} labels, seen by {model}."]
    if found.accuracy is not None:
        share = f"{100 * found.accuracy:.1f} % of {found.judged} pictures"
        said.append(f"Left out in turn, {share} get their label from the others.")
    elif study.logits is None:
        said.append("This model adapts its whole network: pictures were not left out in turn.")
    else:
        said.append("Too few pictures could be left out in turn to tell how many get their label from the others.")
    if found.mislabelled is not None:
        said.append(f"{len(found.mislabelled) or 'No'} picture(s) look mislabelled.")
    exact = sum(group.exact for group in found.duplicates)
    said.append(f"{exact or 'No'} group(s) of equal pictures, {len(found.duplicates) - exact} of nearly equal ones.")
    if wrong := sum(group.labels_differ for group in found.duplicates):
        said.append(f"{wrong} of these groups have different labels: one of them must be wrong.")
    if found.few:
        said.append(f"{len(found.few)} label(s) have fewer than five pictures.")
    return said


def name_of(study: Study, example: int) -> str:
    """A picture's file, or its number where it has none."""
    return study.pictures.files[example] if study.pictures.files else f"picture {example}"


def _suspects(study: Study) -> Iterator[str]:
    suspects, classes = study.report.mislabelled, study.pictures.classes
    if not suspects:
        return
    yield f"<h2>Pictures that look mislabelled</h2>{_first_of(len(suspects))}"
    yield '<ul class="cards">'
    for each in suspects[:_MOST_SHOWN]:
        yield (
            f"<li>{_thumbnail(study, each.example)}<br>labelled <b>{html.escape(classes[each.label])}</b><br>"
            f'<span class="bad">looks like {html.escape(classes[each.suggested])}</span> ({each.score:.2f})<br>'
            f'<span class="soft">{html.escape(name_of(study, each.example))}</span></li>'
        )
    yield "</ul>"
    yield (
        '<p class="soft">In brackets: how likely the other label is, were it one of the two, going by the other '
        "pictures. Look before you believe it.</p>"
    )


def _duplicates(study: Study) -> Iterator[str]:
    groups = study.report.duplicates
    if not groups:
        return
    yield f"<h2>Pictures that occur twice</h2>{_first_of(len(groups))}"
    yield '<ul class="cards">'
    for group in groups[:_MOST_SHOWN]:
        kind = "equal" if group.exact else f"nearly equal (cosine distance {group.distance:.3f})"
        differ = ' <span class="bad">with different labels</span>' if group.labels_differ else ""
        labels = study.pictures.labels
        members = "<br>".join(
            f"{html.escape(study.pictures.classes[int(labels[member])])}: "
            f'<span class="soft">{html.escape(name_of(study, member))}</span>'
            for member in group.examples[:6]
        )
        shown = "".join(_thumbnail(study, member) for member in group.examples[:2])
        yield f"<li>{shown}<br>{len(group.examples)} {kind}{differ}<br>{members}</li>"
    yield "</ul>"


def _few(study: Study) -> Iterator[str]:
    if study.report.few:
        named = ", ".join(
            f"{html.escape(study.pictures.classes[label])} ({count})" for label, count in study.report.few
        )
        yield f"<h2>Labels with fewer than five pictures</h2><p>{named}</p>"


def _pairs(study: Study) -> Iterator[str]:
    pairs = study.report.confusions
    if not pairs:
        return
    yield f"<h2>Labels that confuse</h2>{_first_of(len(pairs))}<table>"
    yield '<tr><th>label</th><th>taken for</th><th class="number">how often</th></tr>'
    for pair in pairs[:_MOST_SHOWN]:
        label, other = (html.escape(study.pictures.classes[number]) for number in (pair.label, pair.taken_for))
        yield f'<tr><td>{label}</td><td>{other}</td><td class="number">{pair.count} of {pair.of}</td></tr>'
    yield "</table>"


def _first_of(count: int) -> str:
    return f'<p class="soft">The first {_MOST_SHOWN} of {count}.</p>' if count > _MOST_SHOWN else ""


def _figure(drawing: Drawing) -> str:
    return (
        f"<h2>{html.escape(drawing.title)}</h2><p>{html.escape(drawing.words)}</p><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data("png", drawing.dark)}">'
        f'<img src="{_data("png", drawing.light)}" alt="{html.escape(drawing.title)}"></picture>'
    )


def _thumbnail(study: Study, example: int) -> str:
    array = study.pictures.images[example].permute(1, 2, 0).squeeze(-1).numpy()
    picture = Image.fromarray(array)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=85)
    named = html.escape(name_of(study, example))
    return f'<img class="thumb" src="{_data("jpeg", buffer.getvalue())}" alt="{named}">'


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _map(study: Study) -> Drawing:
    marked = [each.example for each in study.report.mislabelled or ()]
    light, dark = (
        plots.embedding_map(study.features, study.pictures.labels, study.pictures.classes, marked=marked, dark=dark)
        for dark in (False, True)
    )
    words = (
        "How the model sees the pictures, on the plane of their largest differences; what is ringed looks mislabelled."
    )
    return Drawing("map", "Map of the pictures", words, light, dark)


def _confusions(study: Study) -> Drawing | None:
    if study.logits is None or study.report.accuracy is None:
        return None
    answered, labels = study.logits[study.judged].argmax(-1), study.pictures.labels[study.judged]
    matrix = confusion_matrix(answered, labels, ways=len(study.pictures.classes))
    light, dark = (plots.confusions(matrix, study.pictures.classes, dark=dark) for dark in (False, True))
    words = "Each picture, left out, as the others label it; off the diagonal are mistakes."
    return Drawing("confusions", "Which labels confuse", words, light, dark)


def _reliability(study: Study) -> Drawing | None:
    if study.logits is None or study.report.accuracy is None:
        return None
    confidences, right = _confidences(study.logits[study.judged], study.pictures.labels[study.judged])
    light, dark = (plots.reliability(confidences, right, dark=dark) for dark in (False, True))
    words = (
        "Whether answers of 80 % confidence are right eight times of ten: on the dashed line, yes; below it the model "
        "is too sure."
    )
    return Drawing("reliability", "Can its confidence be believed?", words, light, dark)


def _confidences(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    confidences, answers = torch.softmax(logits.double(), dim=-1).max(-1)
    return confidences, answers == labels


def _curve(study: Study) -> Drawing | None:
    if not study.curve:
        return None
    points = [plots.Point(row.shots, row.accuracy, row.ci95) for row in study.curve]
    light, dark = (plots.accuracy_against_shots(points, dark=dark) for dark in (False, True))
    words = "Accuracy on the other pictures when so many of each label are drawn as examples; bars are 95 % intervals."
    return Drawing("shots", "Would more examples help?", words, light, dark)

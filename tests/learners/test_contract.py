"""The laws, for every learner: a new file in `meta_core/learners` is under contract without an edit here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import meta_core.learners
from meta_core.device import pick_device
from meta_core.episode import SupportSet
from meta_core.registry import LEARNERS
from tests.learners.laws import LAWS, Law, answer, generator
from tests.learners.made_up_tasks import encoded_task, pictures
from tests.made_up import small_learner

NEAREST_EXAMPLE = """
import torch
from meta_core.functional import check_support, squared_distances
from meta_core.learner import Learner


class NearestExample(Learner):
    vectorized = False  # its state holds the examples: stacked, it would hold the padding too

    def adapt(self, support, *, options):
        self.check_options(options)
        check_support(support)
        kept = support.weights > 0
        return {"examples": support.inputs[kept], "targets": support.targets[kept]}

    def predict(self, state, query):
        distances = squared_distances(query, state["examples"])
        of_class = torch.where(state["targets"].T[:, None] > 0, distances, torch.inf)
        return -of_class.amin(-1).T


def build(*, backbone):
    return NearestExample(backbone=backbone)
"""


def law_name(law: Law) -> str:
    return law.__name__


@pytest.fixture
def new_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a learner that is one new file and nothing else."""
    (tmp_path / "nearest_example.py").write_text(NEAREST_EXAMPLE)
    monkeypatch.setattr(meta_core.learners, "__path__", [*meta_core.learners.__path__, str(tmp_path)])
    yield "nearest_example"
    sys.modules.pop("meta_core.learners.nearest_example", None)


@pytest.mark.parametrize("law", LAWS, ids=law_name)
@pytest.mark.parametrize("name", LEARNERS.names())
def test_every_learner_obeys(name: str, law: Law) -> None:
    law(small_learner(name))


def test_a_new_file_is_a_new_learner(new_learner: str) -> None:
    assert new_learner in LEARNERS.names()


@pytest.mark.parametrize("law", LAWS, ids=law_name)
def test_a_learner_in_a_new_file_obeys(new_learner: str, law: Law) -> None:
    law(small_learner(new_learner))


@pytest.mark.gpu
@pytest.mark.parametrize("name", LEARNERS.names())
def test_every_learner_answers_on_a_gpu_as_on_the_cpu(name: str) -> None:
    learner, asked = small_learner(name), pictures(1, 20, generator())
    support, _ = encoded_task(learner, [1, 2, 3, 1, 2], generator())
    with torch.no_grad():
        expected = answer(learner, support, learner.encode(asked))
        device = pick_device("cuda")
        learner.to(device)
        query = learner.encode(asked.to(device))
        found = answer(learner, SupportSet(*(tensor.to(device) for tensor in support)), query)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu().softmax(-1), expected.softmax(-1), rtol=0, atol=1e-4)

"""Which model should I use: the same episodes for all, an honest order, and every reason told."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from meta_core import checkpoint
from meta_core.asking import EncodedOnce
from meta_core.card import Part
from meta_core.compare import FEWEST, compare
from meta_core.contestants import BASELINES, gather
from meta_core.errors import InvalidCheckpoint, InvalidDataset, UnknownName
from meta_core.learner import Learner
from meta_core.learners.protonet import ProtoNet
from meta_core.plan import fit_plan
from meta_core.preprocess import InputSpec
from meta_core.registry import LEARNERS
from meta_core.verdict import Result, advise, pool, rank
from tests.made_up import SPEC, made_up_pictures, small_learner, write_model, write_npz

HERE = [kind for kind in BASELINES if kind in LEARNERS.names()]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`alpha` and its double `beta`, `gamma` of other weights, `maml` that encodes nothing."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "export_encoder", no_graph)
        for name, seed in {"alpha": 0, "beta": 0, "gamma": 1}.items():
            write_model(folder / name, small_learner("protonet", shape=SPEC.shape, seed=seed))
        write_whole_network(folder / "maml")
    return folder


def no_graph(learner: Learner, spec: InputSpec, path: Path) -> None:
    """Comparing computes with torch; exporting a graph that nobody runs would take a second a model."""
    path.write_bytes(b"a graph")


def write_whole_network(folder: Path) -> None:
    card = write_model(folder)
    fields = ("name", "version", "description", "licence", "input", "training")
    description: dict[str, Any] = {name: getattr(card, name) for name in fields} | {
        "learner": Part(name="maml"),
        "backbone": Part(name="conv4", options={"width": 8, "norm": "group"}),
    }
    checkpoint.save(folder, small_learner("maml", shape=SPEC.shape), description=description)


@pytest.fixture
def models(shipped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shipped, tmp_path / "models")


@pytest.fixture
def some(models: Path) -> Callable[..., Path]:
    """The folder with these models alone."""

    def keep(*names: str) -> Path:
        for path in models.iterdir():
            if path.name not in names:
                shutil.rmtree(path)
        return models

    return keep


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_npz(tmp_path / "made.npz")


def test_every_model_and_every_baseline_on_each_encoder_stands_in_the_table(models: Path, data: Path) -> None:
    found = compare(models, data, ways=3, shots=1, episodes=2)
    # `beta` encodes as `alpha` does, and `maml` encodes nothing: neither has baselines of its own.
    expected = {"alpha", "beta", "gamma", "maml"} | {
        f"{kind} on {name}" for kind in HERE for name in ("alpha", "gamma")
    }
    assert {row.name for row in found.rows} == expected
    assert {row.name for row in found.rows if row.shipped} == {"alpha", "beta", "gamma", "maml"}
    assert not found.unfit
    assert {"linear_probe", "cosine_classifier", "fine_tuning"} <= set(HERE)


def test_the_best_stands_first_and_all_were_asked_the_same(some: Callable[..., Path], data: Path) -> None:
    found = compare(some("alpha", "beta"), data, ways=3, shots=1, episodes=6)
    figures = [row.accuracy for row in found.rows]
    assert figures == sorted(figures, reverse=True)
    assert {row.episodes for row in found.rows} == {6}
    first, second = (next(row for row in found.rows if row.name == name) for name in ("alpha", "beta"))
    assert (first.accuracy, first.ci95) == (second.accuracy, second.ci95), "equal models, asked the same"
    assert all(row.adapt_ms > 0 and row.query_ms > 0 for row in found.rows)
    assert first.state_bytes == 3 * 8 * 4, "three prototypes of eight float32"


def test_without_time_everybody_is_asked_the_fewest_episodes_and_this_is_said(
    some: Callable[..., Path], data: Path
) -> None:
    found = compare(some("alpha"), data, ways=2, shots=1, queries=1, episodes=FEWEST + 100, budget_seconds=0)
    assert {row.episodes for row in found.rows} == {FEWEST}
    assert any("intervals are wider" in note for note in found.notes)


def test_a_damaged_model_is_a_line_with_its_reason(some: Callable[..., Path], data: Path) -> None:
    folder = some("alpha", "gamma")
    with (folder / "gamma" / checkpoint.WEIGHTS).open("ab") as file:
        file.write(b"!")
    (folder / "empty").mkdir()
    (folder / "alpha.run").mkdir()
    found = compare(folder, data, ways=2, shots=1, episodes=2)
    assert {each.name: each.reason for each in found.unfit}.keys() == {"empty", "gamma"}
    assert any("gamma: learner.safetensors is damaged" in each.reason for each in found.unfit)
    assert "alpha" in {row.name for row in found.rows}


def test_a_model_that_cannot_do_the_task_is_a_line_with_its_reason(some: Callable[..., Path], data: Path) -> None:
    folder = some("alpha", "gamma")
    weights = safetensors.torch.load_file(folder / "gamma" / checkpoint.WEIGHTS)
    spoilt = {name: tensor * float("nan") if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    safetensors.torch.save_file(spoilt, folder / "gamma" / checkpoint.WEIGHTS)
    card = checkpoint.read_card(folder / "gamma")
    files = card.files | {checkpoint.WEIGHTS: checkpoint.sha256(folder / "gamma" / checkpoint.WEIGHTS)}
    (folder / "gamma" / checkpoint.CARD).write_text(card.model_copy(update={"files": files}).model_dump_json())
    found = compare(folder, data, ways=2, shots=1, episodes=2)
    assert {each.name for each in found.unfit} == {"gamma", *(f"{kind} on gamma" for kind in HERE)}
    assert "finite" in next(each.reason for each in found.unfit if each.name == "gamma")
    assert {row.name for row in found.rows} == {"alpha", *(f"{kind} on alpha" for kind in HERE)}


def test_only_the_models_asked_for_take_part(models: Path) -> None:
    contestants, _ = gather(models, only=["gamma"])
    assert {each.name for each in contestants} == {"gamma", *(f"{kind} on gamma" for kind in HERE)}
    with pytest.raises(UnknownName, match=r"nobody is called 'delta'; these take part: gamma, "):
        compare(models, Path(), ways=3, shots=1, only=["gamma"], against="delta")
    with pytest.raises(UnknownName, match=r"has no model delta; it has: alpha, beta, gamma, maml"):
        gather(models, only=["gamma", "delta"])


def test_where_no_model_encodes_baselines_stand_on_the_defaults_network(some: Callable[..., Path]) -> None:
    contestants, _ = gather(some("maml"), default="maml")
    assert {each.name for each in contestants} == {"maml", *(f"{kind} on maml" for kind in HERE)}


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InvalidCheckpoint, match="no model that can be loaded"):
            gather(folder)


def test_a_picture_is_encoded_once_and_only_if_asked_for() -> None:
    encoded: list[int] = []

    class Counting(ProtoNet):
        def encode(self, inputs: Tensor) -> Tensor:
            encoded.append(len(inputs))
            return super().encode(inputs)

    learner = Counting(backbone=small_learner("protonet", shape=SPEC.shape).backbone).eval()
    pictures = made_up_pictures([9, 9])
    lookup = EncodedOnce(learner, pictures.images, SPEC)
    first = lookup(torch.tensor([3, 5, 3]))
    assert encoded == [2]
    assert torch.equal(first[0], first[2])
    again = lookup(torch.tensor([5, 7]))
    assert encoded == [2, 1]
    assert torch.equal(again[0], first[1])


def result(
    name: str, accuracies: Tensor, *, shipped: bool = True, adapt_ms: float = 1.0, state_bytes: int = 1
) -> Result:
    return Result(name, "protonet", shipped, accuracies.double(), adapt_ms, 1.0, state_bytes)


HARD_AND_EASY = torch.tensor([0.1, 0.9] * 20)


def test_a_small_but_steady_difference_is_told_apart() -> None:
    best, worse = rank([result("worse", HARD_AND_EASY - 0.02), result("best", HARD_AND_EASY)])
    assert (best.name, best.behind, best.tied) == ("best", 0, True)
    assert worse.ci95 > 10, "their own intervals overlap almost wholly"
    assert worse.behind == pytest.approx(2)
    assert worse.behind_ci95 == pytest.approx(0, abs=1e-6)
    assert not worse.tied


def test_a_difference_that_comes_and_goes_is_not_told_apart() -> None:
    best, other = rank([result("best", HARD_AND_EASY), result("other", HARD_AND_EASY.flip(0) - 0.02)])
    assert best.name == "best"
    # Differences are 0.82 and −0.78, twenty of each: 1.96 · 0.8 · √(40 / 39) / √40 = 0.251.
    assert other.behind == pytest.approx(2)
    assert other.behind_ci95 == pytest.approx(25.1, abs=0.1)
    assert other.tied


def test_who_was_asked_less_is_compared_over_what_both_were_asked() -> None:
    lucky = torch.tensor([0.0, 0.5, 0.5])
    best, short = rank([result("best", torch.cat([lucky, torch.ones(30)])), result("short", lucky)])
    assert best.accuracy > short.accuracy
    assert short.episodes == 3
    assert (short.behind, short.tied) == (0, True)


def test_all_may_be_held_against_one_that_is_not_the_best() -> None:
    rows = rank([result("best", HARD_AND_EASY), result("mine", HARD_AND_EASY - 0.05)], against="mine")
    assert [(row.name, round(row.behind, 3), row.tied) for row in rows] == [("best", -5, False), ("mine", 0, True)]
    with pytest.raises(UnknownName, match="'other' was not measured; these were: mine"):
        rank([result("mine", HARD_AND_EASY)], against="other")


def test_the_mean_over_data_counts_each_the_same_and_pairs_within_each() -> None:
    lead = torch.tensor([0.1, 0.3, 0.1, 0.3])
    flat = torch.full((4,), 0.5)
    first = [result("a", flat + lead), result("b", flat)]
    other = [result("b", flat + 0.1), result("a", flat), result("alone", flat)]
    best, second = pool([first, other])
    assert (best.name, second.name) == ("a", "b")
    assert best.accuracy == pytest.approx((70 + 50) / 2)
    # Leads of 20 % ± 1.96 · 0.1155 / √4 and of −10 % ± 0.
    assert second.behind == pytest.approx(5)
    assert second.behind_ci95 == pytest.approx(100 * 1.96 * 0.11547 / 2 / 2, rel=1e-3)
    assert second.episodes == 8
    with pytest.raises(UnknownName, match="'alone' was not measured on all data"):
        pool([first, other], against="alone")


def test_the_advice_names_what_is_as_good_and_cheaper() -> None:
    rows = rank(
        [
            result("big", HARD_AND_EASY, adapt_ms=90, state_bytes=4000),
            result("small", HARD_AND_EASY.flip(0) - 0.01, adapt_ms=6, state_bytes=1000),
            result("poor", HARD_AND_EASY - 0.1),
        ]
    )
    said = advise(rows)
    assert said.startswith("use big: 50.0 ± ")
    assert (
        "or small, which cannot be told from it on these pictures and is 15 times faster to adapt and 4.0 times" in said
    )
    assert "poor" not in said


def test_the_advice_does_not_leave_one_with_what_cannot_be_served() -> None:
    rows = rank([result("linear_probe on big", HARD_AND_EASY, shipped=False), result("big", HARD_AND_EASY - 0.05)])
    assert "of the models that are served as they are, big is the best (45.0 ± " in advise(rows)
    assert advise([]).startswith("none of them could be measured")


def test_queries_are_as_many_as_the_smallest_class_allows_and_this_is_said() -> None:
    plan, notes = fit_plan(made_up_pictures([30, 9, 30]), ways=3, shots=5, episodes=7)
    assert (plan.queries, plan.episodes) == (4, 7)
    assert any("4 queries a class, not 15" in note and "'class01' with its 9 pictures" in note for note in notes)
    plan, notes = fit_plan(made_up_pictures([30, 20, 30]), ways=3, shots=5, episodes=7)
    assert (plan.queries, notes) == (15, [])


def test_a_class_that_cannot_show_and_be_asked_is_left_out_by_name() -> None:
    plan, notes = fit_plan(made_up_pictures([30, 5, 30]), ways=2, shots=5, episodes=7)
    assert plan.queries == 15
    assert notes == ["left out, as 6 pictures a class are needed: 'class01' has 5"]
    _, notes = fit_plan(made_up_pictures([30, 12, 30]), ways=2, shots=5, queries=10, episodes=7)
    assert notes == ["left out, as 15 pictures a class are needed: 'class01' has 12"]


@pytest.mark.parametrize(
    ("counts", "asked", "told"),
    [
        ([9, 9, 9], {"ways": 4, "shots": 1}, "made-up has 3 classes; 4 ways need as many. Ask for fewer ways, or add"),
        (
            [9, 2, 1],
            {"ways": 2, "shots": 2},
            "'class02' has 1, 'class01' has 2; 2 shots and at least 1 queries need 3 a class, and 2 ways as many such "
            "classes; 1 have them. Add pictures, or ask for fewer shots, queries or ways",
        ),
        (
            [9] + [1] * 9,
            {"ways": 2, "shots": 2, "queries": 3},
            "and 4 more classes are as small; 2 shots and 3 queries",
        ),
    ],
)
def test_pictures_that_are_too_few_are_refused_with_what_to_do(
    counts: list[int], asked: dict[str, int], told: str
) -> None:
    with pytest.raises(InvalidDataset) as refused:
        fit_plan(made_up_pictures(counts), episodes=5, **asked)
    assert told in str(refused.value)


@pytest.mark.data
def test_real_hand_signs_are_told_apart_above_chance(data_folder: Path) -> None:
    models = Path(__file__).parents[2] / "models"
    data = data_folder / "sign_digits.zip"
    found = compare(models, data, ways=5, shots=5, episodes=4, only=["omniglot-protonet"])
    assert {"omniglot-protonet", "linear_probe on omniglot-protonet"} <= {row.name for row in found.rows}
    assert found.rows[0].accuracy > 50
    assert found.data == "sign_digits"


def test_a_baseline_is_the_registered_learner_on_the_models_own_backbone(shipped: Path) -> None:
    contestants, _ = gather(shipped, only=["gamma"])
    by_name: dict[str, Learner] = {each.name: each.learner for each in contestants}
    expected = by_name["gamma"].backbone.state_dict()
    for kind in HERE:
        learner = by_name[f"{kind} on gamma"]
        assert isinstance(learner, type(LEARNERS.build(kind, backbone=torch.nn.Identity())))
        assert all(torch.equal(value, expected[name]) for name, value in learner.backbone.state_dict().items())
        assert not any(parameter.requires_grad for parameter in learner.parameters())

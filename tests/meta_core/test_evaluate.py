"""Accuracy over episodes: right for learners whose accuracy is known, and the same questions for every learner."""

import contextlib
import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from meta_core.asking import ask, encoded_each_time
from meta_core.backbones import conv4
from meta_core.card import Accuracy, card_text
from meta_core.checkpoint import read_card
from meta_core.episode import State, SupportSet
from meta_core.errors import InvalidDataset, InvalidOptions
from meta_core.evaluate import (
    EpisodePlan,
    encode_pictures,
    episode_accuracy,
    evaluate_data,
    holds_lake_runs,
    lake_accuracy,
    mean_ci95,
)
from meta_core.learner import AdaptOptions
from meta_core.learners.fine_tuning import FineTuning
from meta_core.learners.protonet import ProtoNet
from meta_core.parallel import Workers
from meta_core.pictures import Pictures
from meta_core.preprocess import normalize
from meta_core.transductive import batch_statistics
from tests.made_up import SPEC, made_up_pictures, small_learner, write_npz

PLAN = EpisodePlan(ways=4, shots=2, queries=3, episodes=120)


class Recording(ProtoNet):
    """Notes what it is asked."""

    vectorized = False

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__(backbone=nn.Identity(), scale=scale)
        self.asked: list[Tensor] = []

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        self.asked.append(support.inputs)
        return super().adapt(support, options=options)

    def predict(self, state: State, query: Tensor) -> Tensor:
        self.asked.append(query)
        return super().predict(state, query)


@pytest.fixture
def pictures() -> Pictures:
    return made_up_pictures([6, 5, 8, 7, 5, 9])


@pytest.fixture
def learner() -> ProtoNet:
    return ProtoNet(backbone=nn.Identity())


def test_features_that_are_the_classes_are_always_right(learner: ProtoNet, pictures: Pictures) -> None:
    row = episode_accuracy(learner, torch.eye(6)[pictures.labels], pictures, PLAN)
    assert row.accuracy == 100
    assert row.ci95 == 0
    assert (row.ways, row.shots, row.queries, row.episodes) == (4, 2, 3, 120)
    assert row.data == "made-up"
    assert row.protocol == "episodes"


def test_features_that_say_nothing_are_right_by_chance(
    learner: ProtoNet, pictures: Pictures, generator: torch.Generator
) -> None:
    noise = torch.randn(len(pictures.labels), 16, generator=generator)
    row = episode_accuracy(learner, noise, pictures, PLAN)
    assert abs(row.accuracy - 100 / 4) < 4 * row.ci95
    assert 0.5 < row.ci95 < 5


def test_the_same_plan_asks_the_same_episodes_of_every_learner(pictures: Pictures) -> None:
    features = torch.arange(len(pictures.labels)).float()[:, None]
    first, second, other = Recording(), Recording(scale=3.0), Recording()
    for learner, seed in ((first, 0), (second, 0), (other, 1)):
        episode_accuracy(learner, features, pictures, EpisodePlan(ways=3, shots=1, queries=2, episodes=9, seed=seed))
    assert len(first.asked) == 18
    assert all(torch.equal(a, b) for a, b in zip(first.asked, second.asked, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.asked, other.asked, strict=True))


def test_an_episode_asks_of_pictures_it_has_not_shown(pictures: Pictures) -> None:
    learner = Recording()
    features = torch.arange(len(pictures.labels)).float()[:, None]
    episode_accuracy(learner, features, pictures, EpisodePlan(ways=5, shots=2, queries=3, episodes=20))
    shown, asked = learner.asked[:20], learner.asked[20:]
    for support, query in zip(shown, asked, strict=True):
        numbers = torch.cat([support, query]).flatten().tolist()
        assert len(set(numbers)) == len(numbers) == 5 * (2 + 3)


def test_classes_of_too_few_pictures_are_not_asked(learner: ProtoNet) -> None:
    uneven = made_up_pictures([5, 5, 2, 5])
    assert episode_accuracy(learner, torch.eye(4)[uneven.labels], uneven, EpisodePlan(3, 2, 3, 5)).accuracy == 100
    with pytest.raises(InvalidDataset, match=r"3 classes have the 5 pictures.*4 ways need as many.*fewer queries"):
        episode_accuracy(learner, torch.eye(4)[uneven.labels], uneven, EpisodePlan(4, 2, 3, 5))


def test_more_ways_than_classes_are_refused(learner: ProtoNet, pictures: Pictures) -> None:
    with pytest.raises(InvalidDataset, match="6 classes; 7 ways"):
        episode_accuracy(learner, torch.eye(6)[pictures.labels], pictures, EpisodePlan(ways=7, shots=1, queries=1))


def test_finished_episodes_are_told(learner: ProtoNet, pictures: Pictures) -> None:
    told: list[int] = []
    episode_accuracy(learner, torch.eye(6)[pictures.labels], pictures, PLAN, advance=told.append)
    assert sum(told) == 120
    assert len(told) > 1


def test_the_confidence_interval_is_the_textbooks() -> None:
    # Mean 0.7; deviations −0.1, 0.1, −0.3, 0.3; sample variance (0.01 + 0.01 + 0.09 + 0.09) / 3 = 0.0666…,
    # standard error √(0.0666… / 4) = 0.129099; half width 1.96 · 0.129099 = 0.253035.
    mean, half = mean_ci95(torch.tensor([0.6, 0.8, 0.4, 1.0], dtype=torch.float64))
    assert mean == pytest.approx(70)
    assert half == pytest.approx(25.3035, abs=1e-3)


def test_one_value_has_no_confidence_interval() -> None:
    mean, half = mean_ci95(torch.tensor([0.6]))
    assert mean == pytest.approx(60)
    assert math.isnan(half)


def test_pictures_are_encoded_in_order_and_the_mode_is_kept() -> None:
    learner, pictures = small_learner("protonet", shape=SPEC.shape), made_up_pictures([300, 307])
    learner.train()
    features = encode_pictures(learner, pictures.images, SPEC)
    assert learner.training
    assert not features.requires_grad
    with torch.no_grad():
        expected = learner.eval().encode(normalize(pictures.images[-9:], SPEC))
    torch.testing.assert_close(features[-9:], expected, rtol=1e-5, atol=1e-5)
    assert features.shape == (607, 8)


def test_a_data_set_is_evaluated_by_its_path(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "made.npz")
    plans = [EpisodePlan(ways=ways, shots=2, queries=2, episodes=10) for ways in (2, 5)]
    learner = ProtoNet(backbone=nn.Flatten())
    rows = evaluate_data(learner, SPEC, path, plans, split="evaluation")
    assert [row.ways for row in rows] == [2, 5]
    assert {row.data for row in rows} == {"made:evaluation"}
    assert min(row.accuracy for row in rows) > 90, "the drawings of a made-up class resemble each other"


def test_quarter_turns_are_further_classes_where_asked(tmp_path: Path) -> None:
    path, learner = write_npz(tmp_path / "made.npz"), ProtoNet(backbone=nn.Flatten())
    plans = [EpisodePlan(ways=30, shots=2, queries=2, episodes=5)]
    (row,) = evaluate_data(learner, SPEC, path, plans, split="evaluation", rotations=True)
    assert row.data == "made:evaluation with rotations as classes"
    assert row.accuracy > 90, "a turned drawing resembles its own class's, turned alike"
    with pytest.raises(InvalidDataset, match="8 classes; 30 ways"):
        evaluate_data(learner, SPEC, path, plans, split="evaluation")


class Batches(nn.Module):
    """A batch norm over pixels that notes the sizes of the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.norm = nn.BatchNorm1d(256)

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        normalized: Tensor = self.norm(inputs.flatten(1))
        return normalized


def test_transductive_rows_normalize_an_episodes_support_and_its_queries_each_as_one_batch(tmp_path: Path) -> None:
    path, backbone = write_npz(tmp_path / "made.npz"), Batches()
    learner = ProtoNet(backbone=backbone).eval()
    plans = [EpisodePlan(ways=5, shots=2, queries=3, episodes=4)]
    (row,) = evaluate_data(learner, SPEC, path, plans, split="evaluation", transductive=True)
    assert sorted(backbone.sizes) == [5 * 2] * 4 + [5 * 3] * 4
    assert not row.inductive
    assert row.mode == "transductive"
    (row,) = evaluate_data(learner, SPEC, path, plans, split="evaluation")
    assert row.inductive
    assert row.mode == "inductive"


def test_transductive_logits_are_those_of_layers_in_training() -> None:
    learner, pictures = small_learner("protonet", shape=SPEC.shape), made_up_pictures([8, 8])
    shown, asked = torch.tensor([[0, 1], [8, 9]]), torch.tensor([2, 3, 10])
    with batch_statistics(learner):
        (found,) = ask(learner, encoded_each_time(learner, pictures.images, SPEC), [shown], [asked])
    training = copy.deepcopy(learner).train()
    with torch.no_grad():
        prototypes = training.encode(normalize(pictures.images[shown.flatten()], SPEC)).view(2, 2, -1).mean(1)
        features = training.encode(normalize(pictures.images[asked], SPEC))
    torch.testing.assert_close(found, -(features[:, None] - prototypes).square().sum(-1), rtol=1e-4, atol=1e-4)


def test_transductive_answers_depend_on_the_other_queries_also_where_the_whole_network_adapts() -> None:
    backbone, pictures = conv4.build(input_shape=SPEC.shape, width=4), made_up_pictures([8, 8])
    learner = FineTuning(backbone=backbone, steps=2).eval()
    lookup, shown = encoded_each_time(learner, pictures.images, SPEC), [torch.tensor([[0, 1], [8, 9]])]
    few, many = torch.tensor([2, 3]), torch.tensor([2, 3, 4, 10, 11])

    def moved() -> float:
        (first,), (second,) = ask(learner, lookup, shown, [few]), ask(learner, lookup, shown, [many])
        return float((first - second[:2]).abs().max() / first.abs().max())

    assert moved() < 1e-4
    with batch_statistics(learner):
        assert moved() > 1e-2
    assert moved() < 1e-4


@pytest.mark.parametrize("training", [False, True])
def test_running_statistics_are_neither_changed_nor_lost(training: bool) -> None:
    learner = small_learner("protonet", shape=SPEC.shape).train(training)
    before, picture = copy.deepcopy(learner.state_dict()), torch.randn(3, *SPEC.shape)
    expected = copy.deepcopy(learner).eval()
    with contextlib.suppress(KeyboardInterrupt), batch_statistics(learner):
        learner.encode(picture)
        raise KeyboardInterrupt
    after = learner.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        assert torch.equal(learner.eval().encode(picture), expected.encode(picture))


def test_a_model_without_batch_norm_has_no_such_mode(tmp_path: Path) -> None:
    path, plans = write_npz(tmp_path / "made.npz"), [EpisodePlan(ways=2, shots=1, queries=1, episodes=2)]
    with pytest.raises(InvalidOptions, match="never depends on the other queries"):
        evaluate_data(small_learner("maml", shape=SPEC.shape), SPEC, path, plans, split=None, transductive=True)


def test_steps_and_rate_are_the_learners_to_allow_and_stand_in_the_row(tmp_path: Path) -> None:
    path, plans = write_npz(tmp_path / "made.npz"), [EpisodePlan(ways=3, shots=2, queries=2, episodes=6)]
    learner = small_learner("fine_tuning", shape=SPEC.shape)

    def measured(options: AdaptOptions) -> Accuracy:
        (row,) = evaluate_data(learner, SPEC, path, plans, split="evaluation", options=options)
        return row

    before, after = measured(AdaptOptions(steps=0)), measured(AdaptOptions(steps=6, rate=0.5))
    assert before.accuracy == pytest.approx(100 / 3), "equal logits: always the first class"
    assert before.mode == "inductive, steps 0"
    assert after.accuracy > before.accuracy + 20
    assert after.adapt == {"steps": 6, "rate": 0.5}
    with pytest.raises(InvalidOptions, match="'steps' is 1000; expected 0 to 100"):
        measured(AdaptOptions(steps=1000))
    with pytest.raises(InvalidOptions, match="no adaptation option 'steps'"):
        evaluate_data(ProtoNet(backbone=nn.Flatten()), SPEC, path, plans, split=None, options=AdaptOptions(steps=1))


def test_threads_give_the_accuracy_of_one() -> None:
    learner, pictures = small_learner("fine_tuning", shape=SPEC.shape, steps=2), made_up_pictures([6, 6, 6])
    plan, lookup = (
        EpisodePlan(ways=3, shots=2, queries=3, episodes=5),
        encoded_each_time(learner, pictures.images, SPEC),
    )
    alone = episode_accuracy(learner, lookup, pictures, plan)
    workers = Workers(learner, count=2)
    shared = episode_accuracy(learner, lookup, pictures, plan, workers=workers)
    workers.close()
    assert shared == alone


def test_a_card_says_which_of_its_rows_are_transductive() -> None:
    card = read_card(Path(__file__).parents[2] / "models" / "omniglot-protonet")
    row = Accuracy(data="made", ways=5, shots=1, queries=15, episodes=9, accuracy=50.0, ci95=1.0)
    assert "transductive" not in card_text(card.model_copy(update={"accuracy": [row]}))
    other = row.model_copy(update={"inductive": False, "adapt": {"steps": 3}})
    text = card_text(card.model_copy(update={"accuracy": [row, other]}))
    assert "| made | 9 episodes, 15 queries a class | 5 |" in text
    assert "| made | 9 episodes, 15 queries a class, transductive, steps 3 | 5 |" in text
    assert "where a row does not say transductive" in text


def lake_npz(path: Path, answers: list[list[int]]) -> Path:
    """Two runs of four ways. Positions are class · 6 + drawing; a run shows drawing 0 and asks drawing 3."""
    train = np.array([[0, 6, 12, 18], [24, 30, 36, 42]])
    test = np.array([[3, 9, 15, 21], [27, 33, 39, 45]])
    return write_npz(path, runs_train_index=train, runs_test_index=test, runs_answer=np.array(answers))


def test_lakes_runs_count_the_official_answers(tmp_path: Path) -> None:
    # Each picture resembles its own class; in the second run one of the four official answers says otherwise.
    path = lake_npz(tmp_path / "lake.npz", [[0, 1, 2, 3], [0, 1, 2, 0]])
    row = lake_accuracy(ProtoNet(backbone=nn.Flatten()), SPEC, path)
    assert row.accuracy == pytest.approx(100 * (1 + 0.75) / 2)
    assert row.protocol == "lake"
    assert (row.ways, row.shots, row.episodes) == (4, 1, 2)
    # The accuracies 1 and 0.75 deviate from their mean by 0.125 each: 1.96 · √(2 · 0.125²) / √2 = 0.245.
    assert row.ci95 == pytest.approx(24.5)


def test_lakes_runs_have_both_modes(tmp_path: Path) -> None:
    path, backbone = lake_npz(tmp_path / "lake.npz", [[0, 1, 2, 3]] * 2), Batches()
    row = lake_accuracy(ProtoNet(backbone=backbone).eval(), SPEC, path, transductive=True)
    assert backbone.sizes == [4] * 4
    assert (row.protocol, row.mode, row.accuracy) == ("lake", "transductive", 100)


def test_data_without_lakes_runs_are_refused(tmp_path: Path) -> None:
    without = write_npz(tmp_path / "made.npz")
    learner = ProtoNet(backbone=nn.Flatten())
    assert holds_lake_runs(lake_npz(tmp_path / "lake.npz", [[0, 1, 2, 3]] * 2))
    for path in (without, tmp_path / "folder"):
        assert not holds_lake_runs(path)
        with pytest.raises(InvalidDataset, match="runs_train_index"):
            lake_accuracy(learner, SPEC, path)


@pytest.mark.data
def test_lakes_real_runs_are_within_one_alphabet_by_other_drawers(data_folder: Path) -> None:
    path = data_folder / "omniglot_28_u8.npz"
    assert holds_lake_runs(path)
    with np.load(path) as arrays:
        alphabet, train, test = arrays["alphabet"], arrays["runs_train_index"], arrays["runs_test_index"]
        answers = arrays["runs_answer"]
    for shown, asked, answer in zip(train, test, answers, strict=True):
        assert len(set(alphabet[shown // 20])) == 1
        assert np.array_equal(shown[answer] // 20, asked // 20)
        assert not set(shown % 20) & set(asked % 20)

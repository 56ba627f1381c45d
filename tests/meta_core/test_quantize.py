"""An encoder in 8-bit integers: the same model to its user, faster, and nearly the same answers."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from meta_core.asking import encode_pictures
from meta_core.card import Card, card_text
from meta_core.checkpoint import ENCODER, load, read_card, rewrite_card
from meta_core.errors import InvalidCheckpoint, InvalidDataset, InvalidOptions
from meta_core.parallel import replica
from meta_core.quantize import quantize
from tests.made_up import SPEC, small_learner, write_model, write_npz


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantized")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return write_npz(folder / "data.npz", classes=20, drawings=30)


@pytest.fixture(scope="module")
def card(folder: Path, data: Path) -> Card:
    write_model(folder / "exact")
    return quantize(folder / "exact", folder / "exact-int8", data=data)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randint(0, 256, (9, *SPEC.shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_card_tells_what_it_was_made_of_and_what_was_lost(card: Card) -> None:
    assert (card.name, card.precision, card.version) == ("exact-int8", "int8", "1.2.3")
    assert card.reduced is not None
    assert card.reduced.of == "exact 1.2.3"
    assert 0 < card.reduced.feature_error < 0.1
    assert card.reduced.same_answers > 90
    assert [(row.ways, row.shots, row.episodes) for row in card.reduced.beside] == [(5, 1, 300), (5, 5, 300)]
    for row, measured in zip(card.reduced.beside, card.accuracy, strict=True):
        assert row.difference == pytest.approx(row.accuracy - row.fp32)
        assert row.accuracy == measured.accuracy
        assert row.fp32 > 50  # of classes that are easy to tell apart, so that there is something to lose
        assert abs(row.difference) < 3
    assert "8-bit integers" in card_text(card)


def test_it_loads_as_any_model_and_its_graph_holds_integers(card: Card, folder: Path) -> None:
    loaded = load(folder / card.name)
    assert loaded.card == card == read_card(folder / card.name)
    assert loaded.card.features == read_card(folder / "exact").features
    exact, reduced = (onnx.load(folder / name / ENCODER).graph for name in ("exact", card.name))
    assert "QuantizeLinear" not in {node.op_type for node in exact.node}
    assert "QuantizeLinear" in {node.op_type for node in reduced.node}
    weights = [each for each in reduced.initializer if len(each.dims) == 4]
    assert weights
    assert all(each.data_type == onnx.TensorProto.INT8 for each in weights)


def test_a_picture_is_encoded_alike_whatever_is_beside_it(card: Card, folder: Path, pictures: Tensor) -> None:
    learner = load(folder / card.name).learner
    together = encode_pictures(learner, pictures, SPEC)
    for number, picture in enumerate(pictures):
        alone = encode_pictures(learner, picture[None], SPEC)
        torch.testing.assert_close(alone[0], together[number], rtol=1e-5, atol=1e-5)


def test_it_differs_from_the_exact_one_by_no_more_than_the_card_says(
    card: Card, folder: Path, pictures: Tensor
) -> None:
    exact, reduced = (encode_pictures(load(folder / name).learner, pictures, SPEC) for name in ("exact", card.name))
    error = float((reduced - exact).norm() / exact.norm())
    assert 1e-4 < error < 0.2


def test_a_copy_for_another_thread_answers_the_same(card: Card, folder: Path, pictures: Tensor) -> None:
    learner = load(folder / card.name).learner
    assert torch.equal(encode_pictures(replica(learner), pictures, SPEC), encode_pictures(learner, pictures, SPEC))


def test_what_cannot_be_quantized_is_refused_and_nothing_is_left(folder: Path, data: Path, card: Card) -> None:
    with pytest.raises(InvalidCheckpoint, match="is there already"):
        quantize(folder / "exact", folder / card.name, data=data)
    with pytest.raises(InvalidCheckpoint, match="computes in int8 already"):
        quantize(folder / card.name, folder / "again", data=data)
    write_model(folder / "gradient", small_learner("maml", shape=SPEC.shape))
    found = read_card(folder / "gradient")
    learner = found.learner.model_copy(update={"name": "maml"})
    backbone = found.backbone.model_copy(update={"options": {"width": 8, "norm": "group"}})
    rewrite_card(folder / "gradient", found.model_copy(update={"learner": learner, "backbone": backbone}))
    with pytest.raises(InvalidOptions, match="adapts its whole network"):
        quantize(folder / "gradient", folder / "again", data=data)
    few = write_npz(folder / "few.npz", classes=4, drawings=1)
    with pytest.raises(InvalidDataset):
        quantize(folder / "exact", folder / "again", data=few)
    assert not (folder / "again").exists()


@pytest.mark.parametrize("name", ["mr_cnp", "mr_maml"])
def test_a_learner_that_needs_its_networks_weights_is_refused_with_the_reason(
    name: str, folder: Path, data: Path
) -> None:
    write_model(folder / name, small_learner(name, shape=SPEC.shape))
    found = read_card(folder / name)
    outputs = {"outputs": 5} if name == "mr_maml" else {}
    backbone = found.backbone.model_copy(update={"options": {"width": 8, "norm": "batch", **outputs}})
    learner = found.learner.model_copy(update={"name": name})
    rewrite_card(folder / name, found.model_copy(update={"learner": learner, "backbone": backbone}))
    with pytest.raises(InvalidOptions, match=f"is a {name}, which needs the weights of its network"):
        quantize(folder / name, folder / "again", data=data)
    assert not (folder / "again").exists()

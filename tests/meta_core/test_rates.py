"""Inner learning rates: whose they are, which are learned, and what follows the last step."""

import pytest
import torch

from meta_core.errors import InvalidRecipe
from meta_core.rates import InnerRates, RatesKind

SHAPES: dict[str, tuple[int, ...]] = {"conv.weight": (4, 1, 3, 3), "head.bias": ()}
INITIAL = {"conv.weight": 0.1, "head.bias": 2.0}


def made(kind: RatesKind) -> InnerRates:
    return InnerRates(SHAPES, INITIAL, steps=3, kind=kind)


@pytest.mark.parametrize("kind", ["fixed", "layer_step", "weight"])
def test_every_kind_starts_from_what_it_is_given(kind: RatesKind) -> None:
    rates = made(kind).at(0)
    assert rates.keys() == SHAPES.keys()
    for name, rate in rates.items():
        torch.testing.assert_close(rate.expand(SHAPES[name]), torch.full(SHAPES[name], INITIAL[name]))


@pytest.mark.parametrize(("kind", "numbers"), [("fixed", 0), ("layer_step", 3 * 2), ("weight", 4 * 9 + 1)])
def test_what_is_learned_is_nothing_one_a_tensor_and_step_or_one_a_weight(kind: RatesKind, numbers: int) -> None:
    assert sum(parameter.numel() for parameter in made(kind).parameters()) == numbers


def test_fixed_rates_are_saved_with_the_weights() -> None:
    assert set(made("fixed").state_dict()) == {"table"}


def test_steps_past_the_last_in_training_take_its_rates() -> None:
    rates = made("layer_step")
    rates.table.data = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert [float(rates.at(step)["head.bias"].detach()) for step in (0, 1, 2, 3, 19)] == [10, 20, 30, 30, 30]


@pytest.mark.parametrize("kind", ["fixed", "layer_step", "weight"])
def test_a_factor_multiplies_them_all(kind: RatesKind) -> None:
    plain, doubled = made(kind).at(1), made(kind).at(1, factor=2)
    for name, rate in plain.items():
        torch.testing.assert_close(doubled[name], 2 * rate)


def test_a_kind_of_rates_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidRecipe, match=r"'layer' is not known; expected one of fixed, layer_step, weight"):
        InnerRates({"w": (1,)}, {"w": 0.1}, steps=1, kind="layer")  # type: ignore[arg-type]

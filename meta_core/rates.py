"""Inner learning rates that are learned with the weights."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from meta_core.errors import InvalidRecipe

RatesKind = Literal["fixed", "layer_step", "weight"]


class InnerRates(nn.Module):
    """A learning rate for each named weight.

    Args:
        shapes: the weights' names and shapes.
        initial: the rate each starts from.
        steps: inner steps in training.
        kind: `fixed`, one number for ever (Finn et al. 2017); `layer_step`, one learned for each tensor and step
            (Antoniou et al. 2019, 4.5); `weight`, one learned for each single weight, the same in all steps
            (Li et al. 2017, Meta-SGD, eq. 2).

    Raises:
        InvalidRecipe: another kind.
    """

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], initial: dict[str, float], *, steps: int, kind: RatesKind
    ) -> None:
        super().__init__()
        if kind not in get_args(RatesKind):  # recipes are text
            raise InvalidRecipe(f"rates = {kind!r} is not known; expected one of {', '.join(get_args(RatesKind))}")
        self._names: Sequence[str] = list(shapes)
        self._kind = kind
        if kind == "weight":
            self.of_weights = nn.ParameterList(torch.full(shapes[name], initial[name]) for name in self._names)
            return
        table = torch.tensor([[float(initial[name]) for name in self._names]]).repeat(steps, 1)
        self.table = nn.Parameter(table) if kind == "layer_step" else nn.Buffer(table)

    def at(self, step: int, *, factor: float = 1.0) -> dict[str, Tensor]:
        """The rates of an inner step; steps past the last in training have that one's.

        Args:
            step: from 0.
            factor: on all of them.
        """
        if self._kind == "weight":
            return {name: factor * rate for name, rate in zip(self._names, self.of_weights, strict=True)}
        row = self.table[min(step, len(self.table) - 1)]
        return {name: factor * rate for name, rate in zip(self._names, row.unbind(), strict=True)}

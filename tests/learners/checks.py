"""Gradients of a loss by every parameter, and by finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), materialize_grads=True), strict=True))


def assert_agrees_with_finite_differences(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Central differences of a pure function of the parameters, along a random direction of each of them, float64."""
    exact, generator, width = gradients(module, loss()), torch.Generator().manual_seed(9), 1e-6
    assert max(float(gradient.abs().max()) for gradient in exact.values()) > 1e-3
    for name, parameter in module.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        start, sides = parameter.detach().clone(), []
        for sign in (1, -1):
            parameter.data.copy_(start + sign * width * direction)
            sides.append(float(loss().detach()))
        parameter.data.copy_(start)
        slope = (sides[0] - sides[1]) / (2 * width)
        assert slope == pytest.approx(float((exact[name] * direction).sum()), rel=1e-5, abs=1e-8), name

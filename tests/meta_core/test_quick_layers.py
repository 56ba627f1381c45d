"""Layers with derivatives of their own: torch's numbers, first and second derivative, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn

from meta_core.backbones import conv4
from meta_core.quick_layers import QuickBlock, quicken

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


def untracked(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def block(norm: nn.Module, *, stride: int = 1) -> nn.Sequential:
    """One of `conv4`'s, with a scale that falls in some channels."""
    made = nn.Sequential(nn.Conv2d(2, 8, 3, stride=stride, padding=1, bias=False), norm, nn.MaxPool2d(2), nn.ReLU())
    made.double()
    for parameter in made.parameters():
        parameter.data.copy_(random(*parameter.shape))
    return made


LAYERS = {
    "convolution": lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, bias=False)).double(),
    "strided convolution": lambda: nn.Sequential(nn.Conv2d(2, 8, 3, stride=2, padding=1, bias=False)).double(),
    "batch norm": lambda: nn.Sequential(untracked(2)).double(),
    "group norm": lambda: nn.Sequential(nn.Conv2d(2, 8, 1, bias=False), nn.GroupNorm(4, 8)).double(),
    "block with batch norm": lambda: block(untracked(8)),
    "block with group norm": lambda: block(nn.GroupNorm(4, 8)),
    "strided block": lambda: block(nn.GroupNorm(4, 8), stride=2),
}


def derivatives(module: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Output, gradients, and the gradients of a function of the gradients."""
    inputs = inputs.clone().requires_grad_()
    of = [inputs, *module.parameters()]
    output = module(inputs)
    first = torch.autograd.grad(output.sin().sum(), of, create_graph=True)
    second = torch.autograd.grad(sum((gradient.cos().sum() for gradient in first), output.sum()), of)
    return [output.detach(), *(gradient.detach() for gradient in first), *second]


@pytest.mark.parametrize("at_once", [1, 4 << 20], ids=["in parts", "whole"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_quick_layer_has_torchs_first_and_second_derivatives(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuickBlock, "bytes_at_once", at_once)
    plain, inputs = LAYERS[name](), random(5, 2, 8, 8)
    quick = quicken(copy.deepcopy(plain))
    assert type(quick[-1] if len(quick) < 4 else quick) is not type(plain[-1] if len(plain) < 4 else plain)  # type: ignore[index, arg-type]
    for found, expected in zip(derivatives(quick, inputs), derivatives(plain, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_gradients_agree_with_finite_differences() -> None:
    quick, inputs = quicken(block(nn.GroupNorm(4, 8))), random(2, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(quick, (inputs,))
    assert torch.autograd.gradgradcheck(quick, (inputs,))


def test_a_quick_network_is_torchs_own_by_class_name_and_weights() -> None:
    plain = conv4.build(input_shape=(1, 28, 28), width=8, norm="group")
    quick = quicken(copy.deepcopy(plain))
    assert list(quick.state_dict()) == list(plain.state_dict())
    pairs = zip(plain.modules(), quick.modules(), strict=True)
    assert all(isinstance(other, type(one)) for one, other in pairs)
    assert any(type(other) is not type(one) for one, other in zip(plain.modules(), quick.modules(), strict=True))


def test_layers_that_keep_statistics_or_have_more_to_do_stay_torchs() -> None:
    kept = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, bias=True), nn.Conv2d(4, 4, 3, groups=2, bias=False))
    before = [type(layer) for layer in kept]
    assert [type(layer) for layer in quicken(kept)] == before  # type: ignore[attr-defined]


def test_where_no_gradient_is_asked_for_the_answer_is_torchs_to_the_bit() -> None:
    plain, inputs = block(nn.GroupNorm(4, 8)), random(3, 2, 8, 8)
    quick = quicken(copy.deepcopy(plain))
    with torch.no_grad():
        assert torch.equal(quick(inputs), plain(inputs))

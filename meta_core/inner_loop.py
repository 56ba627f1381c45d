"""Adaptation by gradient: a few descent steps on the support set, differentiable to second order."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from meta_core.episode import SupportSet
from meta_core.objectives import Objective

Weights: TypeAlias = dict[str, Tensor]
"""What an inner loop moves, by name."""

Rates: TypeAlias = Mapping[str, Tensor]
"""Inner learning rates by the names of the weights, each of a shape that multiplies its weight."""


def balanced_cross_entropy(logits: Tensor, support: SupportSet) -> Tensor:
    """Cross-entropy of (S, C) logits in which every class has the same say, however many examples it has → ().

    Equal to the mean over examples, which the papers minimize, where shots are equal; with one shot of one class and
    fifty of another the mean would be of the second alone. Examples of weight 0 do not count.
    """
    shares = support.targets * support.weights[:, None]
    shares = shares / shares.sum(0) / shares.shape[1]
    return -(shares * torch.log_softmax(logits, dim=-1)).sum()


def mean_squared_error(outputs: Tensor, support: SupportSet) -> Tensor:
    """Squared distance of (S, C) outputs from the targets, mean over the examples that count → ()."""
    errors = (outputs - support.targets).square().sum(-1)
    return (support.weights * errors).sum() / support.weights.sum()


def support_loss(objective: Objective, outputs: Tensor, support: SupportSet) -> Tensor:
    """What adaptation descends: (S, C) outputs → ()."""
    return (balanced_cross_entropy if objective == "cross_entropy" else mean_squared_error)(outputs, support)


def gradient(loss: Callable[[Weights], Tensor], weights: Weights, *, second_order: bool, vmapped: bool) -> Weights:
    """Gradient of `loss` at `weights`; arguments as for `gradient_and_loss`."""
    found, _ = gradient_and_loss(loss, weights, second_order=second_order, vmapped=vmapped)
    return found


def gradient_and_loss(
    loss: Callable[[Weights], Tensor], weights: Weights, *, second_order: bool, vmapped: bool
) -> tuple[Weights, Tensor]:
    """Gradient of `loss` at `weights`, and what it is there.

    Args:
        loss: a pure function of the weights.
        weights: where.
        second_order: keep the graph, so that the results can be differentiated again; else they are constants.
        vmapped: whether this runs under `torch.vmap`, where autograd's own interface cannot be used.
    """
    if vmapped:
        found, height = torch.func.grad_and_value(loss)(weights)
    else:
        with torch.enable_grad():
            at = {name: _variable(value, second_order=second_order) for name, value in weights.items()}
            height = loss(at)
            values = torch.autograd.grad(height, list(at.values()), create_graph=second_order, materialize_grads=True)
        found = dict(zip(at, values, strict=True))
    if second_order:
        return found, height
    return {name: value.detach() for name, value in found.items()}, height.detach()


def _variable(value: Tensor, *, second_order: bool) -> Tensor:
    """The value as a variable of its own: a head that was made of the backbone's features is not to lead back to it."""
    if second_order and value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def descend(weights: Weights, direction: Weights, rates: Rates) -> Weights:
    """θ − α ∘ g for the weights that have a direction; the others stay (Finn et al. 2017, eq. 1)."""
    return weights | {name: weights[name] - rates[name] * value for name, value in direction.items()}


def is_vmapped(support: SupportSet) -> bool:
    """Whether this support set is a stack of tasks seen through `torch.vmap`."""
    return bool(torch._C._functorch.is_batchedtensor(support.inputs))

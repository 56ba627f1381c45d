"""An encoder's information bottleneck: noise, and the price of what gets through it (Yin et al. 2020, section 4)."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from meta_core.episode import Episode

Bottleneck: TypeAlias = Literal["weights", "activations", "none"]
"""Of the encoder's weights (4.2), of what it makes of its inputs (4.1), or none at all, to compare with."""


def first_spreads(bottleneck: Bottleneck, encoder: nn.Module, *, noise: float) -> nn.ParameterList:
    """log σ to begin training with, σ being `noise`: one for each weight, a single one for all activations, or none."""
    if bottleneck == "none":
        return nn.ParameterList()
    shapes = [tuple(weight.shape) for weight in encoder.parameters()] if bottleneck == "weights" else [()]
    return nn.ParameterList(torch.full(shape, math.log(noise)) for shape in shapes)


def encode_through(
    bottleneck: Bottleneck,
    encoder: nn.Module,
    log_spreads: nn.ParameterList,
    task: Episode,
    *,
    generator: torch.Generator,
) -> tuple[Episode, Tensor]:
    """One task with its inputs encoded behind the noise, and the nats that got through it → ().

    - `weights`: they are drawn from N(μ, σ²) once for the task; the nats are KL(N(μ, σ²) ‖ N(0, 1)), summed over all
      of them (eq. 5).
    - `activations`: z ~ N(μ(x), σ²) for each example and query; the nats are KL(N(μ(x), σ²) ‖ N(0, 1)), summed over a
      query's features, mean over the queries (eq. 4).
    - `none`: no noise, and 0 nats.

    Differs from the paper: σ of the activations is one learned number, where there the encoder gives a number for each
    feature and input, and the examples' activations are noisy as the queries' are.

    Args:
        bottleneck: of what.
        encoder: whose weights are the means.
        log_spreads: as `first_spreads` makes them.
        task: (S, *input) and (Q, *input).
        generator: of the noise.
    """
    shown, inputs = len(task.support.inputs), torch.cat([task.support.inputs, task.query.inputs])
    if bottleneck == "none":
        features, nats = encoder(inputs), inputs.new_zeros(())
    elif bottleneck == "weights":
        features, nats = _by_drawn_weights(encoder, log_spreads, inputs, generator)
    else:
        means = encoder(inputs)
        features = draw(means, log_spreads[0], generator)
        nats = divergence(means[shown:], log_spreads[0]).flatten(1).sum(1).mean()
    support, query = features.tensor_split([shown])
    return Episode(task.support._replace(inputs=support), task.query._replace(inputs=query)), nats


def draw(mean: Tensor, log_spread: Tensor, generator: torch.Generator) -> Tensor:
    """One sample of N(μ, σ²), differentiable in both."""
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean.device)
    return mean + log_spread.exp() * noise


def divergence(mean: Tensor, log_spread: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each number, nats: (μ² + σ² − 1) / 2 − log σ."""
    return (mean.square() + (2 * log_spread).exp() - 1) / 2 - log_spread


def _by_drawn_weights(
    encoder: nn.Module, log_spreads: nn.ParameterList, inputs: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    drawn, nats = {}, inputs.new_zeros(())
    for (name, mean), log_spread in zip(encoder.named_parameters(), log_spreads, strict=True):
        drawn[name] = draw(mean, log_spread, generator)
        nats = nats + divergence(mean, log_spread).sum()
    return functional_call(encoder, drawn, (inputs,)), nats

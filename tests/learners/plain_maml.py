"""MAML once more, as a beginner would write it: layer by layer, every weight in every step, no function of ours.

What the learners do in their own way (one head for any ways, a first step that skips the backbone, steps taken by
shared functions, stacked tasks) must come to the same numbers in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True)
class Net:
    """Two blocks of convolution, norm, ReLU and pooling, then a linear layer."""

    norm: str
    running: Sequence[tuple[Tensor, Tensor]] = ()

    def features(self, weights: Sequence[Tensor], pictures: Tensor) -> Tensor:
        """`weights`: convolution, scale and shift of each block."""
        x = pictures
        for block in range(len(weights) // 3):
            kernel, scale, shift = weights[3 * block : 3 * block + 3]
            x = F.conv2d(x, kernel, padding=1)
            x = self._norm(x, scale, shift, block)
            x = F.max_pool2d(F.relu(x), 2)
        return x.flatten(1)

    def _norm(self, x: Tensor, scale: Tensor, shift: Tensor, block: int) -> Tensor:
        n, channels, height, width = x.shape
        if self.norm == "group":
            grouped = x.reshape(n, max(1, channels // 8), -1)
            mean, var = grouped.mean(-1, keepdim=True), grouped.var(-1, unbiased=False, keepdim=True)
            x = ((grouped - mean) / torch.sqrt(var + 1e-5)).reshape(n, channels, height, width)
        elif self.norm == "batch":
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
            x = (x - mean) / torch.sqrt(var + 1e-5)
        else:
            mean, var = self.running[block]
            x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        return x * scale[:, None, None] + shift[:, None, None]


def meta_loss(
    net: Net,
    weights: Sequence[Tensor],
    support: tuple[Tensor, Tensor],
    query: tuple[Tensor, Tensor],
    *,
    rates: Sequence[Sequence[Tensor]],
    prototypes: float | None = None,
    first_order: bool = False,
) -> Tensor:
    """The queries' loss after one step a row of `rates`; the last two of a row are the head's.

    Args:
        net: whose `weights`.
        support: pictures and class numbers; as many of each class.
        query: likewise.
        rates: (steps, weights + 2), each a number or of its weight's shape.
        prototypes: the head starts from prototypes of this scale; from zero if None.
        first_order: inner gradients are constants.
    """
    pictures, labels = support
    ways = int(labels.max()) + 1
    features = net.features(weights, pictures)
    means = torch.stack([features[labels == c].mean(0) for c in range(ways)])
    centre = means.mean(0)
    head, bias = torch.zeros_like(means).requires_grad_(), features.new_zeros(ways).requires_grad_()
    if prototypes is not None:
        head = 2 * prototypes * (means - centre)
        bias = -prototypes * ((means - centre) ** 2).sum(1)
    current = [weight.clone() for weight in (*weights, head, bias)]  # variables of their own
    for row in rates:
        logits = (net.features(current[:-2], pictures) - centre) @ current[-2].T + current[-1]
        loss = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, current, create_graph=True)
        if first_order:
            gradients = tuple(gradient.detach() for gradient in gradients)
        factors = [1.0] * len(weights) + [float(ways)] * 2
        current = [w - factor * rate * g for w, factor, rate, g in zip(current, factors, row, gradients, strict=True)]
    logits = (net.features(current[:-2], query[0]) - centre) @ current[-2].T + current[-1]
    return F.cross_entropy(logits, query[1])

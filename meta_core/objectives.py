"""What meta-training minimizes and evaluation counts."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Objective: TypeAlias = Literal["cross_entropy", "squared_error"]
"""Of a classification, whose targets are one-hot, and of a regression, whose targets are real."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of (Q, C) logits against (Q, C) one-hot (or soft) targets → ()."""
    return -(targets * torch.log_softmax(logits, dim=-1)).sum(-1).mean(-1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared distance of (Q, C) outputs from (Q, C) targets, mean over the queries → ()."""
    return (outputs - targets).square().sum(-1).mean(-1)


def query_loss(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """The objective over a query set: (Q, C), (Q, C) → ()."""
    return (cross_entropy if objective == "cross_entropy" else squared_error)(outputs, targets)


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of queries whose largest logit is the target's: (…, Q, C), (…, Q, C) → (…)."""
    return (logits.argmax(-1) == targets.argmax(-1)).double().mean(-1)

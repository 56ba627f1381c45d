"""What meta-training minimizes and evaluation counts."""

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of (Q, C) logits against (Q, C) one-hot (or soft) targets → ()."""
    return -(targets * torch.log_softmax(logits, dim=-1)).sum(-1).mean(-1)


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of queries whose largest logit is the target's: (…, Q, C), (…, Q, C) → (…)."""
    return (logits.argmax(-1) == targets.argmax(-1)).double().mean(-1)

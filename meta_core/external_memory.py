"""A memory beside a controller: read by similarity, written over what was least used (Santoro et al. 2016, 3)."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

_ALMOST_EMPTY = 1e-6
"""Rows are not 0 at first, or they would have no direction to be similar in."""


class Memory(NamedTuple):
    """What is in it, and what its next write depends on.

    Attributes:
        rows: (M, W).
        read_weights: (H, M), of the last read.
        usage: (M,), how much each row was lately read and written.
    """

    rows: Tensor
    read_weights: Tensor
    usage: Tensor


class ExternalMemory(nn.Module):
    """The heads by which a controller writes to a memory and reads from it.

    Differs from the paper: a read is sharpened by a strength that the controller sets, as in Neural Turing Machines
    (Graves et al. 2014, eq. 5); the softmax of cosines alone is nearly even over a hundred rows.

    Args:
        controller: numbers that the heads see.
        rows: of the memory.
        width: of a row.
        heads: keys that read and write at once.
        usage_decay: γ (eq. 5).
    """

    def __init__(self, controller: int, *, rows: int, width: int, heads: int, usage_decay: float) -> None:
        super().__init__()
        self.rows, self.width, self.heads, self.usage_decay = rows, width, heads, usage_decay
        self.reads = heads * width
        self.keys = nn.Linear(controller, heads * width, bias=False)
        self.strengths = nn.Linear(controller, heads)
        self.gates = nn.Linear(controller, heads)

    def empty(self, like: Tensor) -> Memory:
        """At the start, of the kind of `like`."""
        rows = like.new_full((self.rows, self.width), _ALMOST_EMPTY)
        return Memory(rows, like.new_zeros(self.heads, self.rows), like.new_zeros(self.rows))

    def write(self, memory: Memory, output: Tensor) -> tuple[Memory, Tensor]:
        """Write, then read, by one output (U,) of the controller: the memory after it, and what is read (H · W,)."""
        least = memory.usage.topk(self.heads, largest=False).indices
        least_used = functional.one_hot(least, self.rows).to(output.dtype)  # (H, M): each head has a row of its own
        gates = self.gates(output).sigmoid()[:, None]
        write_weights = gates * memory.read_weights + (1 - gates) * least_used  # eq. 6
        kept = memory.rows * (1 - least_used.sum(0))[:, None]
        rows = kept + write_weights.T @ self._keys(output[None])[0]  # eq. 7
        read, read_weights = self._read(rows, output[None])
        usage = self.usage_decay * memory.usage + read_weights[0].sum(0) + write_weights.sum(0)  # eq. 5
        return Memory(rows, read_weights[0], usage), read[0]

    def read(self, rows: Tensor, outputs: Tensor) -> Tensor:
        """Outputs (Q, U) of the controller → what each reads, (Q, H · W); nothing is written."""
        return self._read(rows, outputs)[0]

    def _read(self, rows: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Eqs. 2 to 4."""
        cosines = functional.normalize(self._keys(outputs), dim=-1) @ functional.normalize(rows, dim=-1).T
        strengths = 3 * (1 + functional.softplus(self.strengths(outputs)))
        weights = (strengths[..., None] * cosines).softmax(-1)
        return (weights @ rows).flatten(1), weights

    def _keys(self, outputs: Tensor) -> Tensor:
        keys: Tensor = self.keys(outputs).tanh()
        return keys.view(len(outputs), self.heads, self.width)

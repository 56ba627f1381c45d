"""A device that is not the CPU, where there is no other: its tensors compute on the CPU and say they are elsewhere.

What a GPU refuses is refused here: an operation on tensors of both, but for a CPU number (a tensor of no dimension) and
CPU indices. So a tensor left behind on the CPU is found on any machine; what a GPU's own kernels do is not. It goes by
torch's `meta`, a device that autograd and `torch.vmap` know and whose own tensors hold nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")


class Elsewhere(Tensor):
    """A tensor that says it is on `DEVICE`; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        made: Elsewhere = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=DEVICE, layout=held.layout
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """Of the values: torch has none for tensors of other classes."""
        return self.held.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        """Torch makes one of its own `meta`, without values."""
        return Elsewhere(self.held.new_tensor(data, **options))

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees operations that have no tensor of ours yet: those that make one on `DEVICE`, or move one there."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


def _run(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = operation._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    if there and name not in ("_to_copy", "copy_"):
        _check(name, args, tensors)
    to = kwargs.get("device")
    if to is not None:
        there, kwargs = torch.device(to).type == DEVICE.type, kwargs | {"device": torch.device("cpu")}
    held = tree_map(lambda leaf: leaf.held if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
    result = operation(*held[0], **held[1])
    first = args[0] if args else None
    if isinstance(first, Elsewhere) and torch.Tag.inplace_view in operation.tags:
        with no_dispatch():
            operation(*args, **kwargs)
        return first
    if name.endswith("_") and isinstance(first, Tensor):
        return first
    return tree_map(lambda leaf: Elsewhere(leaf) if there and isinstance(leaf, Tensor) else leaf, result)


def _check(name: str, args: Any, tensors: list[Tensor]) -> None:
    indexes = name.startswith(("index", "_index_put", "_unsafe_index"))
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.ndim]
    allowed = indexes and isinstance(args[0], Elsewhere)
    if here and not allowed:
        shapes = [tuple(tensor.shape) for tensor in here]
        raise RuntimeError(f"{name}: expected all tensors on one device; tensors of shapes {shapes} are on the CPU")


def moved(module: nn.Module) -> nn.Module:
    """The module, its parameters and buffers on `DEVICE`, in place."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(Elsewhere(parameter.data), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Elsewhere(buffer)
    return module


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """While the block runs, `DEVICE` computes."""
    autocast, tensor = torch.autocast, torch.tensor

    def made(data: Any, *, device: torch.device | str | None = None, **options: Any) -> Tensor:
        found = tensor(data, **options)
        return Elsewhere(found) if torch.device(device or "cpu").type == DEVICE.type else found

    with monkeypatch.context() as patch:
        patch.setattr(torch, "tensor", made)  # which makes one of torch's own `meta`, without values
        # Autocast does not know the device; it is off in what is run here.
        patch.setattr(torch, "autocast", lambda _, *args, **kwargs: autocast("cpu", *args, **kwargs))
        with _Mode():
            yield DEVICE

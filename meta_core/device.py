"""Which device computes."""

import os
from collections.abc import Sequence

import psutil
import torch
from torch import Tensor

from meta_core.errors import MissingDevice


def pick_device(device: str) -> str:
    """`auto` → `cuda` where there is one, else `cpu`; TF32 is switched off, because the laws hold for fp32.

    Raises:
        MissingDevice: `cuda` is asked for, and torch sees none.
    """
    there = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if there else "cpu"
    if device.startswith("cuda") and not there:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise MissingDevice(
            f"the device {device} is asked for, and torch ({built}) sees none; look at nvidia-smi: a driver, and a "
            "container with --gpus all; or take the device cpu"
        )
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes(device: torch.device) -> int:
    """Memory that could be taken on the device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return int(psutil.virtual_memory().available)


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A CPU tensor on the device, without waiting for what that still computes.

    A plain copy to CUDA waits until it is done; from pinned memory it is but put in line. The pinned block is kept by
    torch until the copy is over, and used again.
    """
    device = torch.device(device)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors on the CPU; from CUDA with one wait for all of them, each in ordinary memory of its own."""
    if not any(tensor.is_cuda for tensor in tensors):
        return [tensor.detach().cpu() for tensor in tensors]
    copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
    torch.cuda.current_stream().synchronize()
    # Pinned memory is scarce: what is kept for long is not to hold it.
    return [copy.clone() for copy in copies]

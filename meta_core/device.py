"""Which device computes."""

import os

import psutil
import torch

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

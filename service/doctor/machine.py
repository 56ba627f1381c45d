"""What computes, and how much of it there is."""

from collections.abc import Iterator

import psutil
import torch

from meta_core.device import cores, pick_device
from service.cores import quota
from service.doctor.finding import Finding
from service.settings import Settings

_LITTLE_MEMORY_BYTES = 2**30


def machine(settings: Settings) -> Iterator[Finding]:
    """Device, cores and memory."""
    yield _device(settings)
    yield _threads(settings)
    memory = psutil.virtual_memory()
    found = f"{gigabytes(memory.available)} of {gigabytes(memory.total)} available"
    if memory.available < _LITTLE_MEMORY_BYTES:
        advice = "the shipped models with their caches take about 1 GB: stop something, or take fewer models"
        yield Finding("machine", "memory", "wrong", found, advice)
    else:
        yield Finding("machine", "memory", "ok", found)


def gigabytes(count: int) -> str:
    """As people say it."""
    return f"{count / 2**30:.1f} GB"


def _device(settings: Settings) -> Finding:
    there = torch.cuda.is_available()
    if settings.device == "cuda" and not there:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        return Finding(
            "machine",
            "device",
            "wrong",
            f"cuda is asked for, and torch ({built}) sees none",
            "look at nvidia-smi: a driver, and a container with --gpus all; or set KSHOT_DEVICE=cpu",
        )
    if pick_device(settings.device) == "cpu":
        why = "as KSHOT_DEVICE says" if settings.device == "cpu" else "there is no CUDA device"
        return Finding("machine", "device", "ok", f"cpu ({why}): ONNX Runtime encodes, torch adapts")
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    return Finding("machine", "device", "ok", f"cuda: {name}, {gigabytes(free)} of {gigabytes(total)} free")


def _threads(settings: Settings) -> Finding:
    found, share = f"{settings.threads} on {cores()} cores", quota()
    if settings.threads > cores():
        advice = "more threads than cores wait for one another: leave KSHOT_THREADS out"
        return Finding("machine", "threads", "note", found, advice)
    if share is not None and settings.threads > share + 0.5:
        advice = f"the container may use {share:g} cores: leave KSHOT_THREADS out"
        return Finding("machine", "threads", "note", found, advice)
    return Finding("machine", "threads", "ok", found)

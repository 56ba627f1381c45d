"""Which device computes."""

import torch


def pick_device(device: str) -> str:
    """`auto` → `cuda` where there is one, else `cpu`; TF32 is switched off, because the laws hold for fp32."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device

"""Which device computes, and how exactly."""

import pytest
import torch

from meta_core.device import pick_device


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_is_named_is_taken() -> None:
    assert pick_device("cpu") == "cpu"


@pytest.mark.gpu
def test_a_gpu_multiplies_in_full_precision() -> None:
    device = pick_device("cuda")
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(512, 512, generator=generator), torch.randn(512, 512, generator=generator)
    exact = (a.double() @ b.double()).float()
    torch.testing.assert_close((a.to(device) @ b.to(device)).cpu(), exact, rtol=1e-4, atol=1e-3)

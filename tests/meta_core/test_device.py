"""Which device computes, and how exactly."""

import pytest
import torch

from meta_core.device import pick_device
from meta_core.errors import MissingDevice


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_is_named_is_taken() -> None:
    assert pick_device("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_asked_for_and_is_not_there_is_an_error() -> None:
    with pytest.raises(MissingDevice, match=r"the device cuda is asked for.*nvidia-smi.*or take the device cpu"):
        pick_device("cuda")


@pytest.mark.gpu
def test_a_gpu_multiplies_in_full_precision() -> None:
    device = pick_device("cuda")
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(512, 512, generator=generator), torch.randn(512, 512, generator=generator)
    exact = (a.double() @ b.double()).float()
    torch.testing.assert_close((a.to(device) @ b.to(device)).cpu(), exact, rtol=1e-4, atol=1e-3)

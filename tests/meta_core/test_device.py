"""Which device computes, and how exactly."""

import pytest
import torch

from meta_core.device import pick_device, to_device, to_host
from meta_core.errors import MissingDevice


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_is_named_is_taken() -> None:
    assert pick_device("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_asked_for_and_is_not_there_is_an_error() -> None:
    with pytest.raises(MissingDevice, match=r"the device cuda is asked for.*nvidia-smi.*or take the device cpu"):
        pick_device("cuda")


def test_on_a_cpu_nothing_is_copied() -> None:
    tensor = torch.arange(3.0, requires_grad=True)
    assert to_device(tensor, "cpu") is tensor
    (there,) = to_host([tensor])
    assert there.data_ptr() == tensor.data_ptr()
    assert not there.requires_grad

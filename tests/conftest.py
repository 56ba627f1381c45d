"""What every test may use; a test that needs the real data or a GPU says so with its marker."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# The tests' tensors are tiny: a second thread would only wait for the first.
torch.set_num_threads(1)

DATA = Path(os.environ.get("KSHOT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    if item.get_closest_marker("data") and not DATA.is_dir():
        pytest.skip(f"the real data is not at {DATA}; set KSHOT_TEST_DATA to where it is")


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    """A command called in this process sets its own number for all of it; with another, sums round otherwise."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def data_folder() -> Path:
    return DATA


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)

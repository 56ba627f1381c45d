"""Training on CUDA: tasks are made of one resident tensor without waiting for the device, and are those of the CPU."""

from pathlib import Path

import pytest
import torch

from meta_core.device import pick_device
from meta_core.preprocess import InputSpec
from meta_core.registry import TASKS
from meta_core.train import train
from tests.made_up import made_up_pictures, tiny_recipe, write_npz

pytestmark = pytest.mark.gpu

AUGMENTATION = {
    "rotate_degrees": 12,
    "scale": 0.2,
    "shift": 0.1,
    "flip": 0.5,
    "crop": 0.4,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
}


def source(device: str) -> object:
    spec = InputSpec(channels=1, height=16, width=16, mean=(0.5,), std=(0.5,))
    options = {"ways": [5, 9], "shots": [1, 4], "queries": 3, "rotations": True, "augmentation": AUGMENTATION}
    return TASKS.build("pictures", pictures=made_up_pictures([12] * 12), spec=spec, device=device, **options)


def test_sampling_never_waits_for_the_device() -> None:
    tasks, generator = source("cuda"), torch.Generator().manual_seed(0)
    tasks.sample(4, generator)  # type: ignore[attr-defined]
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = tasks.sample(4, generator)  # type: ignore[attr-defined]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert drawn.support.inputs.is_cuda
    assert drawn.query.targets.is_cuda


def test_tasks_are_those_of_the_cpu() -> None:
    near, far = (
        source(device).sample(3, torch.Generator().manual_seed(4))  # type: ignore[attr-defined]
        for device in ("cpu", "cuda")
    )
    assert torch.equal(far.support.targets.cpu(), near.support.targets)
    for found, expected in ((far.support.inputs, near.support.inputs), (far.query.inputs, near.query.inputs)):
        difference = (found.cpu() - expected).abs()
        assert float(difference.mean()) < 1e-4, "interpolation rounds otherwise, and no more"


@pytest.mark.parametrize("learner", ["protonet", "maml", "anil"])
def test_a_run_trains_resumes_and_is_saved(tmp_path: Path, learner: str) -> None:
    norm = {"name": "conv4", "options": {"width": 8, "norm": "group"}}
    recipe = tiny_recipe(learner={"name": learner}, backbone=norm)
    data = write_npz(tmp_path / "data.npz")
    card = train(recipe, data=data, out=tmp_path / "model", device=pick_device("cuda"))
    assert card.training is not None
    assert card.training.device == "cuda"
    again = train(recipe, data=data, out=tmp_path / "model", device="cuda", resume=True)  # of a run that is over
    assert again.accuracy == card.accuracy


def test_matrices_are_multiplied_in_full_precision() -> None:
    device = pick_device("cuda")
    matrix = torch.randn(512, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact, found = matrix @ matrix, (matrix.float().to(device) @ matrix.float().to(device)).double().cpu()
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5

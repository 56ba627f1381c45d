"""Models that adapt by gradient, made in seconds: they have learned nothing, but are served like any other."""

import shutil
from pathlib import Path

import safetensors.torch
import torch

from meta_core import checkpoint
from meta_core.card import Part, Training
from meta_core.checkpoint import read_card
from meta_core.preprocess import InputSpec
from tests.service.running import MODELS

MAML, FRAGILE = "made-maml", "made-fragile"
SHIPPED = sorted(
    card.parent.name for card in MODELS.glob(f"*/{checkpoint.CARD}") if not read_card(card.parent).regresses
)

SPEC = InputSpec(channels=1, height=28, width=28, mean=(0.5,), std=(0.5,))
_TRAINING = Training(
    recipe="made-up",
    data="none",
    data_licence="none",
    steps=0,
    tasks_per_step=1,
    seed=0,
    validation_accuracy=0.0,
    seconds=0.0,
    device="cpu",
    torch=torch.__version__,
)


def write_models(folder: Path) -> Path:
    """A models folder with every shipped model, a narrow MAML, and one whose rates are too much for its limits."""
    folder.mkdir()
    for name in SHIPPED:
        (folder / name).symlink_to(MODELS / name)
    write_maml(folder / MAML)
    write_fragile(folder / MAML, folder / FRAGILE)
    return folder


def write_maml(folder: Path, *, seed: int = 0) -> None:
    """A checkpoint of an untrained MAML on a narrow Conv-4."""
    write_untrained(folder, Part(name="maml", options={"rate": 0.5}), norm="group", seed=seed)


def write_untrained(
    folder: Path, learner: Part, *, norm: str = "batch", outputs: int | None = None, seed: int = 0
) -> None:
    """A checkpoint of any learner on a narrow Conv-4, which answers itself where it has outputs."""
    answers = {} if outputs is None else {"outputs": outputs}
    backbone = Part(name="conv4", options={"width": 8, "norm": norm, **answers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = checkpoint.build_learner(learner, backbone, SPEC)
    description = {
        "name": folder.name,
        "version": "1.0.0",
        "description": "Made up by the tests.",
        "licence": "Apache-2.0",
        "learner": learner,
        "backbone": backbone,
        "input": SPEC,
        "training": _TRAINING,
    }
    checkpoint.save(folder, built, description=description)


def write_fragile(source: Path, folder: Path) -> None:
    """The same model with inner rates tenfold: thrice as much again, for ten steps, diverges on noise."""
    shutil.copytree(source, folder)
    weights = folder / checkpoint.WEIGHTS
    tensors = safetensors.torch.load_file(weights)
    tensors["rates.table"] *= 10
    safetensors.torch.save_file(tensors, weights)
    card = checkpoint.Card.model_validate_json((folder / checkpoint.CARD).read_bytes())
    files = card.files | {checkpoint.WEIGHTS: checkpoint.sha256(weights)}
    changed = card.model_copy(update={"name": folder.name, "files": files})
    (folder / checkpoint.CARD).write_text(changed.model_dump_json())

"""Small made-up data, learners and recipes, from which the tests build what they need."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from meta_core import checkpoint
from meta_core.card import Card, Part, Training
from meta_core.learner import Learner
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.recipe import Recipe
from meta_core.registry import BACKBONES, LEARNERS

SPEC = InputSpec(channels=1, height=16, width=16, mean=(0.5,), std=(0.5,))


def made_up_pictures(counts: list[int], *, groups: tuple[str, ...] | None = None, side: int = 16) -> Pictures:
    """`counts[c]` noise pictures of each class; no two pictures are alike."""
    generator = torch.Generator().manual_seed(7)
    names = tuple(f"class{number:02d}" for number in range(len(counts)))
    return Pictures(
        images=torch.randint(0, 256, (sum(counts), 1, side, side), generator=generator, dtype=torch.uint8),
        labels=torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        classes=names,
        groups=groups or names,
        source="made-up",
    )


def write_npz(path: Path, *, classes: int = 16, drawings: int = 6, side: int = 16, **arrays: Any) -> Path:
    """The npz reader's format: half the classes are `background`, half `evaluation`, two classes to an alphabet."""
    rng = np.random.default_rng(7)
    alike = rng.integers(0, 256, (classes, 1, side, side))  # a class's drawings resemble each other
    noise = rng.integers(-40, 41, (classes, drawings, side, side))
    content = {
        "images": (alike + noise).clip(0, 255).astype(np.uint8),
        "character": np.array([f"character{number:02d}" for number in range(classes)]),
        "alphabet": np.array([f"alphabet{number // 2}" for number in range(classes)]),
        "split": np.array(["background"] * (classes // 2) + ["evaluation"] * (classes - classes // 2)),
    }
    np.savez(path, **{name: array for name, array in (content | arrays).items() if array is not None})
    return path


def encodes(name: str) -> bool:
    """Whether a registered learner encodes at all; one that adapts the whole network needs a norm a picture."""
    return bool(_around_nothing(name).encodes)


def network_answers(name: str) -> bool:
    """Whether what a registered learner's backbone gives are its answers: here of at most five classes."""
    return bool(_around_nothing(name).network_answers)


def _around_nothing(name: str) -> Learner:
    options = {"features": 1} if LEARNERS.takes(name, "features") else {}
    learner: Learner = LEARNERS.build(name, backbone=torch.nn.Identity(), **options)
    return learner


def small_learner(name: str, *, shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0, **options: Any) -> Learner:
    """A registered learner on a narrow Conv-4 whose batch norms have seen pictures; in `eval` mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their first weights from the global generator
        backbone = BACKBONES.build("conv4", input_shape=shape, width=8, norm="batch" if encodes(name) else "group")
        if network_answers(name):
            backbone.append(torch.nn.Linear(backbone.eval()(torch.zeros(1, *shape)).shape[1], 5))
        if LEARNERS.takes(name, "features"):
            options = {"features": backbone.eval()(torch.zeros(1, *shape)).shape[1], **options}
        learner: Learner = LEARNERS.build(name, backbone=backbone, **options)
        with torch.no_grad():
            for _ in range(5):
                learner.train().encode(torch.randn(20, *shape))
    return learner.eval()


def tiny_recipe(**changes: Any) -> Recipe:
    """A recipe that trains in seconds on what `write_npz` writes; dropout and augmentation draw noise all along."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "description": "Made up by the tests.",
        "input": SPEC,
        "learner": {"name": "protonet"},
        "backbone": {"name": "resnet12", "options": {"width": 4, "dropout": 0.2}},
        "tasks": {
            "name": "pictures",
            "options": {"ways": [2, 4], "shots": [1, 2], "queries": 2, "augmentation": {"shift": 0.1}},
        },
        "data": {"train_split": "background", "validation_groups": ["alphabet3"], "test_split": "evaluation"},
        "optimizer": {"rate": 0.01, "steps": 7, "tasks_per_step": 2, "weight_decay": 0.001, "warmup_steps": 2},
        "validation": {"every": 2, "episodes": 5, "ways": 2, "shots": 1, "queries": 2},
        "test": {"ways": [2, 3], "shots": [1], "queries": 2, "episodes": 10},
    }
    return Recipe.model_validate(fields | changes)


def write_model(folder: Path, learner: Learner | None = None, *, spec: InputSpec = SPEC) -> Card:
    """A whole checkpoint of an untrained learner."""
    training = Training(
        recipe="tiny",
        data="made-up",
        data_licence="none",
        steps=10,
        tasks_per_step=1,
        seed=0,
        validation_accuracy=50.0,
        seconds=1.0,
        device="cpu",
        torch=torch.__version__,
    )
    description = {
        "name": folder.name,
        "version": "1.2.3",
        "description": "Made up by the tests.",
        "licence": "Apache-2.0",
        "learner": Part(name="protonet"),
        "backbone": Part(name="conv4", options={"width": 8}),
        "input": spec,
        "training": training,
    }
    return checkpoint.save(folder, learner or small_learner("protonet", shape=spec.shape), description=description)

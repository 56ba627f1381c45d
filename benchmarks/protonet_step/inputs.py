"""The initial weights, the tasks and the pictures, the same for every contestant, as one safetensors file."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from stepping.pictures import omniglot

from meta_core.backbones import conv4
from meta_core.recipe import load_recipe
from meta_core.tasks.pictures import PictureTaskOptions, PictureTasks
from protonet_step.settings import QUERIES, SHOTS, SIDE, WAYS, WIDTH

_TASKS = 4
"""Taken in turns, so that no contestant has its pictures in the processor's cache from the step before."""


def write(file: Path, *, seed: int) -> str:
    """Write everything, and return what the pictures are.

    Args:
        file: to write.
        seed: of the weights and of the draw.
    """
    spec = load_recipe("omniglot-protonet-vinyals").input
    pictures = omniglot(spec, of_a_class=SHOTS + QUERIES)
    options = PictureTaskOptions(ways=(WAYS, WAYS), shots=(SHOTS, SHOTS), queries=QUERIES)
    source = PictureTasks(pictures, spec=spec, options=options)
    episode = source.sample(_TASKS, torch.Generator().manual_seed(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = dict(conv4.build(input_shape=(1, SIDE, SIDE), width=WIDTH).named_parameters())
    tensors = {
        "tasks.support": episode.support.inputs,
        "tasks.query": episode.query.inputs,
        "pictures.images": pictures.images,
        "pictures.labels": pictures.labels,
    } | {f"weights.{name}": weight for name, weight in weights.items()}
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)
    return pictures.source

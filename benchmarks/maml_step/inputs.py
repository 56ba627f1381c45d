"""The initial weights and the tasks, the same for every contestant, as one safetensors file."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from stepping.pictures import omniglot
from torch import Tensor, nn

from maml_step.settings import QUERIES, SHOTS, SIDE, WAYS, WIDTH
from meta_core.backbones import conv4
from meta_core.preprocess import InputSpec
from meta_core.tasks.pictures import PictureTaskOptions, PictureTasks

SPEC = InputSpec(channels=1, height=SIDE, width=SIDE, fit="stretch", polarity="bright_ink")


def write(file: Path, *, tasks: int, seed: int) -> str:
    """Write weights and tasks, and return what the pictures are.

    Args:
        file: to write.
        tasks: how many.
        seed: of the weights and of the draw.
    """
    pictures = omniglot(SPEC, of_a_class=SHOTS + QUERIES)
    options = PictureTaskOptions(ways=(WAYS, WAYS), shots=(SHOTS, SHOTS), queries=QUERIES)
    source = PictureTasks(pictures, spec=SPEC, options=options)
    episode = source.sample(tasks, torch.Generator().manual_seed(seed))
    tensors = {
        "tasks.support": episode.support.inputs,
        "tasks.support_labels": episode.support.targets.argmax(-1),
        "tasks.query": episode.query.inputs,
        "tasks.query_labels": episode.query.targets.argmax(-1),
    } | {f"weights.{name}": weight for name, weight in _weights(seed).items()}
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)
    return pictures.source


def _weights(seed: int) -> dict[str, Tensor]:
    """Random, convolutions by Glorot & Bengio's rule, as Finn et al. 2017 and learn2learn start theirs.

    From torch's default, float32 rounding, which decides what pixel is a maximum, changes the meta-gradient by up to 4
    parts in a thousand, in torch's own layers as in any other; from this start by a twentieth of that.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = conv4.build(input_shape=(1, SIDE, SIDE), width=WIDTH)
        for layer in backbone.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, 1, SIDE, SIDE)).shape[1]
        head = nn.Linear(features, WAYS)
    return dict(backbone.named_parameters()) | {f"head.{name}": row for name, row in head.named_parameters()}

"""A run at step 0: the learner with its first weights, its optimizer, its source of randomness."""

from pathlib import Path
from typing import Any

import torch

from meta_core import checkpoint
from meta_core.learner import Learner
from meta_core.quick_layers import quicken
from meta_core.recipe import Recipe
from meta_core.run import Run

_NOT_DECAYED = ("rates.", "log_spreads.")
"""Decay would pull inner rates to no adaptation, and the noise on weights to 1."""


def start(recipe: Recipe, device: str, *, models: Path = Path("models")) -> Run:
    """A run at step 0.

    Raises:
        InvalidCheckpoint: the model to start from is not there, or its backbone does not fit.
        InvalidWeights: the pretrained weights cannot be had, or are another network's.
    """
    torch.manual_seed(recipe.seed)  # torch's layers draw their first weights, and dropout, from the global generator
    learner = checkpoint.build_learner(recipe.learner, recipe.backbone, recipe.input)
    origin = _first_weights(learner, recipe, models)
    learner.backbone.requires_grad_(not recipe.freeze_backbone)
    learner = learner.to(device)
    quick = not learner.encodes and device == "cpu" and recipe.optimizer.precision == "fp32"
    if quick:
        quicken(learner.backbone)
    if learner.encodes or quick:  # in bf16 the few pictures of one task are faster as they are
        learner = learner.to(memory_format=torch.channels_last)
    named = {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}
    weights = [weight for name, weight in named.items() if not name.startswith(_NOT_DECAYED)]
    others = [weight for name, weight in named.items() if name.startswith(_NOT_DECAYED)]
    groups: list[dict[str, Any]] = [{"params": weights}, *([{"params": others, "weight_decay": 0.0}] if others else [])]
    optimizer = torch.optim.AdamW(groups, lr=recipe.optimizer.rate, weight_decay=recipe.optimizer.weight_decay)
    generator = torch.Generator().manual_seed(recipe.seed)
    return Run(learner=learner, optimizer=optimizer, generator=generator, origin=origin)


def _first_weights(learner: Learner, recipe: Recipe, models: Path) -> str | None:
    """Give the backbone the weights that the recipe starts with; whose they are, in words."""
    if recipe.start_from is not None:
        return checkpoint.take_backbone(learner, models / recipe.start_from).origin
    if recipe.pretrained is None:
        return None
    from meta_core.pretrained import take_pretrained  # timm takes seconds to import, and most recipes need none

    return take_pretrained(learner.backbone, recipe.pretrained, input_shape=recipe.pictures.shape).text

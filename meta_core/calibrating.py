"""Calibrating a model's folder: its domains, encoded, and its card, rewritten."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from meta_core import checkpoint, domains
from meta_core.asking import encode_pictures
from meta_core.backbones.timm import TimmBackbone
from meta_core.calibrate import QUERIES, WAYS_OF_NONE, Domain, calibrate
from meta_core.calibration import Calibration
from meta_core.card import Card, StateSize
from meta_core.datasets import read_pictures
from meta_core.errors import InvalidDataset, InvalidRecipe
from meta_core.learner import Learner
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.progress import EpisodesBar, episodes_bar
from meta_core.recipe import Data, load_recipe
from meta_core.support_summary import SCALES

_NAMED = 100.0
"""Weight of pictures that somebody named beside those made of them, in the temperatures: users' pictures are more like
these. What is made decides where the named ones leave it open."""


def calibrate_model(
    folder: Path,
    data: Sequence[Path],
    *,
    measured: Sequence[Path] = (),
    made: bool = True,
    episodes: int = 60,
    seed: int = 0,
) -> Calibration:
    """Fit a model's calibration and write it to its card and README.

    Args:
        folder: of the model.
        data: labelled pictures, a domain each.
        measured: domains that nothing is fitted to.
        made: whether to add domains made of `data`, textures and digits.
        episodes: of each domain, ways and shots.
        seed: of the episodes.

    Raises:
        InvalidCheckpoint: the folder is no model.
        InvalidDataset: pictures cannot be read, are too few, or are of one domain only.
        MissingExtra: scikit-learn is not installed.
    """
    model = checkpoint.load(folder)
    with episodes_bar("calibrating") as bar:
        encoded = [
            _encoded(model.learner, model.card.input, each, bar)
            for each in _domains(model.card, data, measured=measured, made=made)
        ]
        found = calibrate(model.learner, encoded, episodes=episodes, seed=seed, advance=bar.advance)
    update = {"calibration": found, "state_bytes": _state_bytes(model)}
    checkpoint.rewrite_card(folder, model.card.model_copy(update=update))
    return found


def _state_bytes(model: checkpoint.Model) -> StateSize:
    """With the summary of the support set that the service keeps beside the state of a calibrated model."""
    own, features = checkpoint.measure_state(model.learner, model.card.features), math.prod(model.card.features)
    if not model.learner.encodes:
        return own
    return own.model_copy(
        update={"fixed": own.fixed + 2 * features + 4 * SCALES, "per_way": own.per_way + 2 * 2 * features}
    )


def _domains(
    card: Card, data: Sequence[Path], *, measured: Sequence[Path], made: bool
) -> Iterator[tuple[Domain, Pictures]]:
    """What is fitted to and measured, not yet encoded."""
    trained = _training_data(card)
    for path in data:
        pictures = read_pictures(path, card.input, split=None)
        pictures = pictures.where(lambda name, _: name not in trained.leave_out)
        held = [group for group in trained.test_groups if group in pictures.groups]
        if held:
            pictures, test = pictures.hold_out(held)
            yield Domain(test.source, pictures.source, torch.empty(0), [], known_as="held-out classes"), test
        _check_size(pictures)
        some = domains.sample(pictures, classes=100, a_class=40)
        yield Domain(some.source, some.source, torch.empty(0), [], weight=_NAMED), some
        if made:
            for one in domains.made_of(pictures, card.input, family=some.source):
                yield Domain(one.name, one.family, torch.empty(0), []), one.pictures
    for one in (domains.textures(card.input), domains.handwritten_digits(card.input)) if made else ():
        yield Domain(one.name, one.family, torch.empty(0), []), one.pictures
    for path in measured:
        pictures = read_pictures(path, card.input, split=None)
        yield Domain(pictures.source, pictures.source, torch.empty(0), [], known_as="evaluation only"), pictures


def _check_size(pictures: Pictures) -> None:
    enough = sum(len(own) > QUERIES for own in pictures.by_class())
    if enough < WAYS_OF_NONE:
        raise InvalidDataset(
            f"{pictures.source}: {enough} classes have more than {QUERIES} pictures; calibration needs "
            f"{WAYS_OF_NONE} such classes"
        )


def _encoded(learner: Learner, spec: InputSpec, domain: tuple[Domain, Pictures], bar: EpisodesBar) -> Domain:
    about, pictures = domain
    bar.show(0, of=0, note=f"encoding {len(pictures.images)} pictures: {about.name}")
    features = encode_pictures(learner, pictures.images, spec)
    pooled = learner.backbone.pooled(features) if isinstance(learner.backbone, TimmBackbone) else None
    return about._replace(features=features, pooled=pooled, members=pictures.by_class())


def _training_data(card: Card) -> Data:
    """What the recipe of a meta-trained model kept from it."""
    nothing = Data(validation_groups=["-"], test_groups=["-"])
    if card.training is None:
        return nothing
    try:
        return load_recipe(card.training.recipe).data
    except InvalidRecipe:  # somebody's own
        return nothing

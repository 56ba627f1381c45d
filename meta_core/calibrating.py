"""Calibrating a model's folder: its domains, encoded, and its card, rewritten."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from meta_core import checkpoint, domains
from meta_core.asking import encode_pictures
from meta_core.backbones.timm import TimmBackbone
from meta_core.calibrate import QUERIES, WAYS_OF_NONE, Domain, calibrate
from meta_core.calibration import Calibration, KnownAs
from meta_core.card import Card, StateSize
from meta_core.datasets import read_pictures
from meta_core.errors import InvalidDataset, InvalidRecipe
from meta_core.learner import Learner
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.progress import EpisodesBar, episodes_bar
from meta_core.recipe import load_recipe
from meta_core.support_summary import SCALES

_NAMED = 100.0
"""Weight of pictures that somebody named beside those made of them, in the temperatures: users' pictures are more like
these. What is made decides where the named ones leave it open."""


class _Source(NamedTuple):
    """A domain, not yet encoded; the fields are those of `Domain`."""

    pictures: Pictures
    name: str
    family: str
    known_as: KnownAs = "left out"
    weight: float = 1.0


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
            _encoded(model.learner, model.card.pictures, each, bar)
            for each in _sources(model.card, data, measured=measured, made=made)
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


def _sources(card: Card, data: Sequence[Path], *, measured: Sequence[Path], made: bool) -> Iterator[_Source]:
    """What is fitted to and measured."""
    kept_out, tested = _kept_from_training(card)
    for path in data:
        pictures = read_pictures(path, card.pictures, split=None)
        pictures = pictures.where(lambda name, _: name not in kept_out)
        held = [group for group in tested if group in pictures.groups]
        if held:
            pictures, test = pictures.hold_out(held)
            yield _Source(test, test.source, pictures.source, known_as="held-out classes")
        _check_size(pictures)
        some = domains.sample(pictures, classes=100, a_class=40)
        yield _Source(some, some.source, some.source, weight=_NAMED)
        if made:
            for one in domains.made_of(pictures, card.pictures, family=some.source):
                yield _Source(one.pictures, one.name, one.family)
    for one in (domains.textures(card.pictures), domains.handwritten_digits(card.pictures)) if made else ():
        yield _Source(one.pictures, one.name, one.family)
    for path in measured:
        pictures = read_pictures(path, card.pictures, split=None)
        yield _Source(pictures, pictures.source, pictures.source, known_as="evaluation only")


def _check_size(pictures: Pictures) -> None:
    enough = sum(len(own) > QUERIES for own in pictures.by_class())
    if enough < WAYS_OF_NONE:
        raise InvalidDataset(
            f"{pictures.source}: {enough} classes have more than {QUERIES} pictures; calibration needs "
            f"{WAYS_OF_NONE} such classes"
        )


def _encoded(learner: Learner, spec: InputSpec, source: _Source, bar: EpisodesBar) -> Domain:
    images = source.pictures.images
    bar.show(0, of=0, note=f"encoding {len(images)} pictures: {source.name}")
    features = encode_pictures(learner, images, spec)
    return Domain(
        name=source.name,
        family=source.family,
        features=features,
        members=source.pictures.by_class(),
        weight=source.weight,
        pooled=learner.backbone.pooled(features) if isinstance(learner.backbone, TimmBackbone) else None,
        known_as=source.known_as,
    )


def _kept_from_training(card: Card) -> tuple[Sequence[str], Sequence[str]]:
    """Classes that a meta-trained model's recipe left out altogether, and groups of classes that it was tested on."""
    if card.training is None:
        return (), ()
    try:
        data = load_recipe(card.training.recipe).labelled
    except InvalidRecipe:  # somebody's own, or without data
        return (), ()
    return data.leave_out, data.test_groups

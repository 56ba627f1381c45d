"""A servable model out of a backbone that others trained: nothing is meta-trained, a head stands on its features."""

from pathlib import Path
from typing import Any

import torch

from meta_core import checkpoint
from meta_core.asking import looking_up
from meta_core.backbones.timm import input_spec
from meta_core.calibrating import calibrate_model
from meta_core.card import Accuracy, Card, Part
from meta_core.datasets import default_split, read_pictures
from meta_core.errors import InvalidCheckpoint, InvalidDataset, InvalidOptions
from meta_core.evaluate import episode_accuracy
from meta_core.learner import Learner
from meta_core.plan import EpisodePlan, fit_plan
from meta_core.preprocess import InputSpec
from meta_core.pretrained import Origin, take_pretrained, usual_source
from meta_core.progress import episodes_bar, say

_WAYS, _SHOTS, _EPISODES = 5, (1, 5), 200


def adopt(
    folder: Path,
    *,
    backbone: Part,
    head: Part,
    weights: str | None = None,
    side: int | None = None,
    licence: str | None = None,
    data: Path | None = None,
    split: str | None = None,
) -> Card:
    """Write a model's folder around a backbone of timm, and say each step.

    Args:
        folder: to be written; its name is the model's.
        backbone: of timm.
        head: a learner that encodes.
        weights: where they come from, as `take_pretrained` takes it; the usual source where not given.
        side: height and width of the input, pixels; as pretrained where not given.
        licence: of the model; that of the weights where not given.
        data: labelled pictures to measure and calibrate it on; neither without.
        split: which part of the data; see `default_split`.

    Raises:
        UnknownName: there is no such backbone or head, or timm has no such model.
        InvalidWeights: the weights cannot be had, or are another network's.
        InvalidOptions: the head adapts the whole network, or the backbone does not run on pictures of `side`.
        InvalidDataset: the data cannot be read, or hold too little for one episode.
        InvalidCheckpoint: the folder is there, or torch cannot write the backbone as ONNX.
    """
    if folder.exists():
        raise InvalidCheckpoint(f"{folder} is there already: take another name, or remove it")
    model = backbone.options["model"]
    spec = input_spec(model, side=side)
    say(f"building {model} for {spec.width}×{spec.height} px")
    learner = checkpoint.build_learner(head, backbone, spec).eval()
    if not learner.encodes:
        raise InvalidOptions(f"the learner {head.name} adapts the whole network, and must be meta-trained; take a head")
    source = weights or usual_source(model)
    say(f"loading its weights from {source}")
    origin = take_pretrained(learner.backbone, source, input_shape=spec.shape)
    features = _features(learner, spec, model)
    table = [] if data is None else _measured(learner, spec, data, split=split or default_split(data))
    say(f"writing {folder}: weights, and the encoder of {features[0]} features as ONNX")
    description = _description(folder.name, backbone, head, origin)
    description |= {"licence": licence or origin.licence, "input": spec, "accuracy": table}
    try:
        card = checkpoint.save(folder, learner, description=description)
    except torch.onnx.errors.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise InvalidCheckpoint(f"torch {torch.__version__} cannot write {model} as ONNX: {first}") from error
    return card if data is None else _calibrated(folder, data)


def _calibrated(folder: Path, data: Path) -> Card:
    """The card with a calibration, or without where the pictures do not suffice for one."""
    try:
        calibrate_model(folder, [data])
    except InvalidDataset as error:
        say(f"not calibrated: {error}")
    return checkpoint.read_card(folder)


def _description(name: str, backbone: Part, head: Part, origin: Origin) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1.0.0",
        "description": f"A {head.name} head on the features of timm's `{backbone.options['model']}`, which others "
        "trained for something else and which is taken as it is.",
        "learner": head,
        "backbone": backbone,
        "origin": f"{origin.text} ({origin.licence} licence)",
    }


def _features(learner: Learner, spec: InputSpec, model: str) -> tuple[int, ...]:
    try:
        return checkpoint.feature_shape(learner, spec)
    except (AssertionError, RuntimeError) as error:
        raise InvalidOptions(f"{model} does not run on {spec.width}×{spec.height} px: {error}") from error


def _measured(learner: Learner, spec: InputSpec, data: Path, *, split: str | None) -> list[Accuracy]:
    """5-way 1- and 5-shot, or as much of it as somebody's pictures allow."""
    pictures = read_pictures(data, spec, split=split)
    plans = list[EpisodePlan]()
    for shots in _SHOTS:
        try:
            plan, notes = fit_plan(pictures, ways=min(_WAYS, len(pictures.classes)), shots=shots, episodes=_EPISODES)
        except InvalidDataset as error:
            if not plans:
                raise
            notes = [f"not measured: {error}"]
        else:
            plans.append(plan)
        for note in notes:
            say(f"{shots} shot(s): {note}")
    lookup = looking_up(learner, pictures.images, spec)
    with episodes_bar("measuring", total=sum(plan.episodes for plan in plans)) as bar:
        return [episode_accuracy(learner, lookup, pictures, plan, advance=bar.advance) for plan in plans]

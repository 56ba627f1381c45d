"""Sine waves: every point of a task lies on one wave, drawn as the paper says."""

import math

import pytest
import torch

from meta_core.errors import InvalidRecipe, UnknownName
from meta_core.preprocess import InputSpec
from meta_core.registry import TASKS
from meta_core.tasks.sinusoid import Sinusoids
from meta_core.vectors import VectorSpec


def source(**options: object) -> Sinusoids:
    made: Sinusoids = TASKS.build("sinusoid", spec=VectorSpec(numbers=1), part="training", **options)
    return made


def test_all_points_of_a_task_lie_on_one_wave(generator: torch.Generator) -> None:
    episode = source(shots=(5, 5), queries=40).sample(30, generator)
    points = torch.cat([episode.support.inputs, episode.query.inputs], 1).double()
    values = torch.cat([episode.support.targets, episode.query.targets], 1).double()
    # A sin(x − φ) = a sin x − b cos x: least squares find a and b, and nothing is left over.
    waves = torch.cat([points.sin(), -points.cos()], -1)
    found = torch.linalg.lstsq(waves, values).solution
    assert float((waves @ found - values).abs().max()) < 1e-5
    amplitudes, phases = found.square().sum(1).sqrt(), torch.atan2(found[:, 1], found[:, 0])
    assert 0.1 <= float(amplitudes.min()) < 1
    assert 4 < float(amplitudes.max()) <= 5
    assert float(phases.min()) >= -1e-5
    assert float(phases.max()) <= math.pi
    assert 4.5 < float(points.abs().max()) <= 5


def test_shots_are_drawn_anew_for_each_meta_batch(generator: torch.Generator) -> None:
    waves = source(shots=(5, 10), queries=3)
    shapes = [waves.sample(2, generator).support.inputs.shape for _ in range(60)]
    assert {shape[1] for shape in shapes} == {5, 6, 7, 8, 9, 10}
    assert {(shape[0], shape[2]) for shape in shapes} == {(2, 1)}


def test_the_same_generator_draws_the_same_tasks() -> None:
    first, second = (source().sample(3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first.support.inputs, second.support.inputs)
    assert torch.equal(first.query.targets, second.query.targets)


def test_pictures_and_empty_ranges_are_refused() -> None:
    with pytest.raises(InvalidRecipe, match="numbers = 1"):
        TASKS.build("sinusoid", spec=InputSpec(height=28, width=28), part="training")
    for options in ({"shots": (0, 5)}, {"amplitude": (5, 1)}, {"waves": 3}):
        with pytest.raises(UnknownName):
            source(**options)

"""Turned solids: views differ by their angle alone, objects of the parts differ, a task is of one object."""

import math

import pytest
import torch

from meta_core.errors import InvalidRecipe
from meta_core.preprocess import InputSpec
from meta_core.registry import TASKS
from meta_core.solids import Solid, random_solid, render
from meta_core.tasks.pose import Poses

SPEC = InputSpec(channels=1, height=16, width=16)
BOX = Solid(torch.zeros(1, 3), torch.tensor([[0.6, 0.2, 0.3]]), torch.zeros(1), torch.ones(1))


def source(part: str = "training", **options: object) -> Poses:
    small = {"objects": 4, "held_out": 3, "views": 8, "shots": (3, 3), "queries": 2}
    made: Poses = TASKS.build("pose", spec=SPEC, part=part, **(small | options))
    return made


def test_a_box_turned_by_a_half_circle_looks_the_same_and_by_a_quarter_narrower() -> None:
    whole, half, quarter = render(BOX, torch.tensor([0.0, math.pi, math.pi / 2]), side=64)
    assert float((whole - half).abs().mean()) < 1e-2
    widths = [int((picture > 0).any(0).sum()) for picture in (whole, quarter)]
    assert widths[0] == pytest.approx(64 * 1.2 / 2.1, abs=2)
    assert widths[1] == pytest.approx(64 * 0.4 / 2.1, abs=2)


def test_what_is_nearer_hides_what_is_behind() -> None:
    front = Solid(
        torch.tensor([[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]]),
        torch.tensor([[0.2, 0.2, 0.2], [0.5, 0.2, 0.5]]),
        torch.zeros(2),
        torch.tensor([0.2, 1.0]),
    )
    alone = Solid(*(part[1:] for part in front))
    angles = torch.zeros(1)
    seen, nearer = render(front, angles, side=48)[0], render(alone, angles, side=48)[0]
    assert torch.equal(seen[nearer > 0], nearer[nearer > 0])


def test_a_solid_points_to_where_its_brightest_box_stands(generator: torch.Generator) -> None:
    for points in (0.0, 1.0, 3.0, 5.0):
        solid = random_solid(generator, points=points)
        tower = int(solid.greys.argmax())
        x, y, _z = (solid.centres[tower] - solid.centres[0]).tolist()
        end = math.hypot(x, y) + float(solid.halves[tower, 0])
        assert end == pytest.approx(float(solid.halves[0, 0]), rel=1e-5)
        assert math.remainder(math.atan2(y, x) - points, 2 * math.pi) == pytest.approx(0, abs=1e-5)


def test_turning_a_solid_is_turning_its_boxes() -> None:
    solid, angle = random_solid(torch.Generator().manual_seed(1)), torch.tensor(0.7)
    c, s = angle.cos(), angle.sin()
    x, y, z = solid.centres.unbind(-1)
    turned = Solid(torch.stack([c * x - s * y, s * x + c * y, z], -1), solid.halves, solid.turns + angle, solid.greys)
    by_hand, by_angle = render(turned, torch.zeros(1), side=32), render(solid, angle[None], side=32)
    assert float((by_hand - by_angle).abs().mean()) < 1e-3


def test_a_task_is_of_one_object_and_its_views_are_not_repeated(generator: torch.Generator) -> None:
    poses = source()
    episode = poses.sample(6, generator)
    for task in range(6):
        angles = torch.cat([episode.support.targets[task], episode.query.targets[task]]).flatten()
        assert len(angles.unique()) == 5
        owners = [number for number, own in enumerate(poses.angles) if torch.isin(angles, own).all()]
        assert len(owners) == 1
    assert float(poses.angles.abs().max()) <= math.pi / 2
    assert episode.support.inputs.shape == (6, 3, 1, 16, 16)


def test_the_parts_have_objects_of_their_own_and_the_same_each_time() -> None:
    parts = {name: source(name).views for name in ("training", "validation", "test")}
    assert [len(views) for views in parts.values()] == [4, 3, 3]
    assert torch.equal(parts["test"], source("test").views)
    seen = {view.numpy().tobytes() for view in parts["training"].flatten(0, 1)}
    others = torch.cat([parts["validation"], parts["test"]]).flatten(0, 1)
    assert not any(view.numpy().tobytes() in seen for view in others)


def test_more_examples_than_views_are_refused() -> None:
    with pytest.raises(InvalidRecipe, match="more than an object's 8 views"):
        source(shots=(7, 7))
    with pytest.raises(InvalidRecipe, match="square grey pictures"):
        TASKS.build("pose", spec=InputSpec(height=16, width=24), part="training")

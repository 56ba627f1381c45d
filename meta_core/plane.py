"""Features on the plane that shows most of how they differ."""

from typing import NamedTuple

import torch
from torch import Tensor

from meta_core.functional import unit_rows


class Plane(NamedTuple):
    """Points (S, 2), float64, and the percentage of the variance along each axis."""

    points: Tensor
    shares: tuple[float, float]


def principal_plane(features: Tensor) -> Plane:
    """Features (S, D), each made of length 1, → their first two principal components.

    Axes point to where their farthest point is, so that the same features always look the same.
    """
    rows = unit_rows(features.flatten(1))
    rows = rows - rows.mean(0)
    # Of the two matrices with the same eigenvalues the smaller one.
    examples, width = rows.shape
    values, vectors = torch.linalg.eigh(rows @ rows.T if examples <= width else rows.T @ rows)
    values, vectors = values.clamp_min(0).flip(0)[:2], vectors.flip(1)[:, :2]
    points = vectors * values.sqrt() if examples <= width else rows @ vectors
    farthest = points.gather(0, points.abs().argmax(0, keepdim=True))
    points = points * torch.where(farthest < 0, -1.0, 1.0)
    total = float(rows.square().sum())
    shares = [100 * float(value) / total if total > 0 else 0.0 for value in values] + [0.0, 0.0]
    return Plane(torch.nn.functional.pad(points, (0, 2 - points.shape[1])), (shares[0], shares[1]))

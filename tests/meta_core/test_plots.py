"""Plots are pictures, for light pages and dark ones, whatever the figures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from meta_core import plots
from meta_core.plane import principal_plane


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(int)


@pytest.mark.parametrize(("examples", "features", "classes"), [(30, 8, 3), (2, 5, 2), (40, 1, 40)])
def test_a_map_shows_few_examples_and_many_labels(examples: int, features: int, classes: int) -> None:
    rows = torch.randn(examples, features, generator=torch.Generator().manual_seed(0))
    names = [f"label {number}" for number in range(classes)]
    png = plots.embedding_map(rows, torch.arange(examples) % classes, names, marked=[0])
    assert pixels(png).std() > 0


def test_a_map_of_equal_pictures_is_one_spot() -> None:
    assert pixels(plots.embedding_map(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]), ["a", "b"])).std() > 0


def test_names_of_any_kind_are_drawn() -> None:
    """matplotlib would read formulas between dollars, leave out what begins with an underscore, and warn of scripts."""
    names = ["$x^{2", "_hidden", "鍵", "a" * 300]
    png = plots.confusions(torch.arange(16).view(4, 4), names)
    assert pixels(png).std() > 0
    assert plots.embedding_map(torch.randn(8, 4), torch.arange(8) % 4, names)


def test_dark_plots_are_bright_on_nothing() -> None:
    points = [plots.Point(1, 60.0, 2.0), plots.Point(5, 80.0, float("nan"))]
    light, dark = (pixels(plots.accuracy_against_shots(points, dark=dark)) for dark in (False, True))
    assert (light[0, 0, 3], dark[0, 0, 3]) == (0, 0)
    written = [image[..., :3][image[..., 3] > 200].mean() for image in (light[:, :50], dark[:, :50])]
    assert written[0] < 128 < written[1]


def test_reliability_has_the_bins_that_hold_answers() -> None:
    confidences = torch.tensor([0.55, 0.58, 0.95, 1.0, 1.0])
    right = torch.tensor([True, False, True, True, False])
    first, second = plots.reliability_bins(confidences, right)
    assert (first.answers, second.answers) == (2, 3)
    assert (first.accuracy, second.accuracy) == (0.5, pytest.approx(2 / 3))
    assert first.confidence == pytest.approx(0.565)
    assert pixels(plots.reliability(confidences, right)).std() > 0


def test_the_plane_is_that_of_principal_components() -> None:
    """Beside scikit-learn's, whose axes may point the other way."""
    rows = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    for features in (rows, rows.T):
        lengths = features.double().norm(dim=1, keepdim=True)
        pca = PCA(2, svd_solver="full")
        expected = torch.from_numpy(pca.fit_transform((features.double() / lengths).numpy()))
        plane = principal_plane(features)
        torch.testing.assert_close(plane.points.abs(), expected.abs(), atol=1e-9, rtol=0)
        assert plane.shares == pytest.approx(100 * pca.explained_variance_ratio_)

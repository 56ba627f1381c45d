"""A model's folder calibrated on folders of pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from meta_core import checkpoint
from meta_core.asking import support_of
from meta_core.batching import adapt_many
from meta_core.calibrating import calibrate_model
from meta_core.card import Part
from meta_core.errors import InvalidDataset
from meta_core.learner import AdaptOptions
from meta_core.preprocess import InputSpec
from meta_core.support_summary import summarize

SPEC = InputSpec(channels=3, height=16, width=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    learner, backbone = Part(name="r2d2"), Part(name="conv4", options={"width": 8})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = checkpoint.build_learner(learner, backbone, SPEC)
    folder = tmp_path_factory.mktemp("models") / "small"
    about = {"name": "small", "version": "1.0.0", "description": "a test", "licence": "MIT", "origin": "nobody's"}
    checkpoint.save(folder, built, description={**about, "learner": learner, "backbone": backbone, "input": SPEC})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of noisy colours, six classes of twelve."""
    folders = []
    for seed in range(2):
        random, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("data") / f"colours{seed}"
        for number, colour in enumerate(random.uniform(40, 215, (6, 3))):
            (folder / f"colour {number}").mkdir(parents=True)
            for copy in range(12):
                pixels = colour + random.normal(0, 25, 3) + random.normal(0, 10, (16, 16, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"colour {number}" / f"{copy}.png")
        folders.append(folder)
    return folders


def test_the_card_keeps_the_calibration_and_what_states_then_take(model: Path, data: list[Path]) -> None:
    found = calibrate_model(model, data, made=False, episodes=10)
    loaded = checkpoint.load(model)
    assert loaded.card.calibration == found
    assert found.data == "colours0, colours1"
    assert "## Calibration" in (model / "README.md").read_text("utf-8")
    features = torch.rand(9, *loaded.card.features, generator=torch.Generator().manual_seed(0))
    support = support_of(features, ways=3)
    (state,) = adapt_many(loaded.learner, [support], options=AdaptOptions())
    state |= summarize(loaded.learner, support, options=AdaptOptions())
    taken = sum(tensor.nbytes for tensor in state.values())
    assert taken == loaded.card.state_bytes.at(ways=3, examples=9)


def test_data_that_is_only_measured_is_not_fitted_to(model: Path, data: list[Path]) -> None:
    with pytest.raises(InvalidDataset, match="leaves out one domain after the other"):
        calibrate_model(model, data[:1], measured=data[1:], made=False, episodes=10)


def test_pictures_that_are_too_few_are_refused_with_what_to_do(model: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "few" / f"label {number}").mkdir(parents=True)
        for copy in range(3):
            Image.new("RGB", (8, 8), (30 * number, 60 * copy, 0)).save(
                tmp_path / "few" / f"label {number}" / f"{copy}.png"
            )
    with pytest.raises(InvalidDataset, match="0 classes have more than 8 pictures; calibration needs 5 such classes"):
        calibrate_model(model, [tmp_path / "few"], episodes=10)


def test_a_domain_made_of_the_pictures_is_left_out_with_them(model: Path, data: list[Path]) -> None:
    found = calibrate_model(model, data[:1], measured=data[1:], episodes=10)
    rows = {row.domain: row.known_as for row in found.domains}
    assert rows["colours1"] == "evaluation only"
    assert rows["outlines of colours0"] == rows["made textures"] == rows["digits"] == "left out"

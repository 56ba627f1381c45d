"""What CONTRIBUTING.md tells people to write works as it stands."""

import importlib
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import torch

from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.registry import BACKBONES, LEARNERS, TASKS
from service.app import create_app
from service.settings import Settings
from tests.learners.laws import LAWS, Law
from tests.made_up import small_learner
from tests.service.running import MODELS, digits, examples, serving

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
FILES = dict(re.findall(r"`([\w/]+\.py)`\n\n```python\n(.*?)```", PAGE, re.DOTALL))
SPEC = InputSpec(channels=3, height=8, width=8)


@contextmanager
def added(file: str, folder: Path) -> Iterator[ModuleType]:
    """The page's file as if it stood where the page says."""
    package = importlib.import_module(str(Path(file).parent).replace("/", "."))
    (folder / Path(file).name).write_text(FILES[file], "utf-8")
    package.__path__.append(str(folder))
    try:
        yield package
    finally:
        package.__path__.remove(str(folder))
        sys.modules.pop(f"{package.__name__}.{Path(file).stem}", None)


def test_every_kind_of_addition_is_shown() -> None:
    assert [str(Path(file).parent) for file in FILES] == [
        "meta_core/learners",
        "meta_core/backbones",
        "meta_core/tasks",
        "service/routes",
    ]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_learner_of_one_new_file_obeys(law: Law, tmp_path: Path) -> None:
    with added("meta_core/learners/nearest_example.py", tmp_path):
        assert "nearest_example" in LEARNERS.names()
        law(small_learner("nearest_example"))


def test_the_backbone_of_one_new_file_is_built_by_its_name(tmp_path: Path) -> None:
    with added("meta_core/backbones/mean_colour.py", tmp_path):
        backbone = BACKBONES.build("mean_colour", input_shape=SPEC.shape, features=4)
        assert backbone(torch.rand(2, *SPEC.shape)).shape == (2, 4)


def test_the_task_source_of_one_new_file_makes_tasks(tmp_path: Path) -> None:
    pictures = Pictures(
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), ("a",), ("a",), "x"
    )
    with added("meta_core/tasks/gaussians.py", tmp_path):
        source = TASKS.build("gaussians", pictures=pictures, spec=SPEC, spread=0.1)
        episode = source.sample(3, torch.Generator().manual_seed(0))
    assert episode.support.inputs.shape == (3, 25, 8)
    assert episode.query.targets.shape == (3, 25, 5)


def test_the_endpoint_of_one_new_file_answers_and_is_documented(tmp_path: Path) -> None:
    settings = Settings(models_dir=MODELS, data_dir=tmp_path / "data", device="cpu")
    with (
        added("service/routes/shots.py", tmp_path),
        serving(create_app(settings)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        created = client.post("/v1/classifiers", json={"examples": examples(digits(2))}).json()
        assert client.get(f"/v1/classifiers/{created['id']}/shots").json() == {"examples": 20}
        assert "get_shots" in client.get("/openapi.json").text

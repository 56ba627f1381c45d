"""Model folders that come, change, break and go while the service runs."""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.catalog import Catalog
from tests.hostile.requests import GOOD, asked
from tests.made_up import write_model
from tests.service.running import MODELS, REPOSITORY, assert_same, examples, running

RELOAD = "/v1/admin/models/reload"


def change_version(folder: Path, version: str) -> None:
    card = folder / "card.json"
    card.write_text(re.sub('"version": "[0-9.]+"', f'"version": "{version}"', card.read_text(), count=1))


def test_models_come_change_break_and_go_beside_the_traffic(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS / "omniglot-protonet", models / "omniglot-protonet")
    with running(tmp_path / "data", models_dir=models) as service, service.client() as client:
        identifier = client.post("/v1/classifiers", json={"examples": examples(GOOD)}).json()["id"]
        expected, over, rounds = asked(client, identifier), threading.Event(), list[int]()

        def traffic() -> None:
            with service.client() as another:
                while not over.is_set():
                    assert_same(asked(another, identifier), expected)
                    rounds.append(1)

        beside = threading.Thread(target=traffic)
        beside.start()
        shutil.copytree(MODELS / "omniglot-proto-logistic", models / "new")
        came = client.post(RELOAD).json()
        assert (came["added"], came["unchanged"]) == (["omniglot-proto-logistic"], ["omniglot-protonet"])
        chosen = {"examples": examples(GOOD), "model": "omniglot-proto-logistic"}
        created = client.post("/v1/classifiers", json=chosen)
        assert created.status_code == 201

        change_version(models / "new", "2.0.0")
        assert client.post(RELOAD).json()["replaced"] == ["omniglot-proto-logistic"]
        asks = {"images": [example["image"] for example in examples(GOOD)]}
        gone = client.post(f"{created.headers['location']}/classify", json=asks)
        assert (gone.status_code, gone.json()["code"]) == (409, "model_version_missing")

        change_version(models / "new", "3.0.0")
        (models / "new" / "learner.safetensors").write_bytes(b"no weights")
        broken = client.post(RELOAD).json()
        assert list(broken["damaged_models"]) == ["new"]
        assert "learner.safetensors" in client.get("/readyz").json()["damaged_models"]["new"]
        assert client.get("/v1/models/omniglot-proto-logistic").json()["version"] == "2.0.0"

        shutil.rmtree(models / "new")
        assert client.post(RELOAD).json()["removed"] == ["omniglot-proto-logistic"]
        over.set()
        beside.join()
        assert len(rounds) > 3
        assert client.get("/readyz").json()["models"] == ["omniglot-protonet"]


def test_what_was_served_stays_where_its_folder_breaks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / name)
    catalog = Catalog()
    catalog.load(tmp_path, device="cpu", threads=1)
    before = catalog.models["b"]
    (tmp_path / "b" / "card.json").write_text("{}")
    changes = catalog.load(tmp_path, device="cpu", threads=1)
    assert (changes.unchanged, changes.retired, list(catalog.damaged)) == (["a", "b"], [], ["b"])
    assert catalog.models["b"] is before
    shutil.rmtree(tmp_path / "a")
    changes = catalog.load(tmp_path, device="cpu", threads=1)
    assert (changes.removed, catalog.default) == (["a"], "b")
    catalog.close()


def test_a_default_that_is_damaged_keeps_no_other_model_from_answering_who_names_it(tmp_path: Path) -> None:
    write_model(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    catalog = Catalog(default="bad")
    catalog.load(tmp_path, device="cpu", threads=1)
    assert catalog.choose("good")[0].card.name == "good"
    assert "default model 'bad' is not among those loaded" in catalog.reasons()[0]
    catalog.close()


@pytest.mark.parametrize("link", [False, True])
def test_the_command_removes_no_model_that_classifiers_need(tmp_path: Path, link: bool) -> None:
    models, original = tmp_path / "models", tmp_path / "original"
    shutil.copytree(MODELS / "omniglot-protonet", original)
    models.mkdir()
    if link:
        (models / "mine").symlink_to(original)
    else:
        original.rename(models / "mine")

    def remove(name: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "service", "models", "remove", name, "--models-dir", str(models)]
        command += ["--data-dir", str(tmp_path / "data")]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)

    if not link:
        with running(tmp_path / "data", models_dir=models) as service, service.client() as client:
            created = client.post("/v1/classifiers", json={"examples": examples(GOOD)})
            refused = remove("omniglot-protonet")
            assert refused.returncode == 2
            assert "1 classifiers were adapted with omniglot-protonet" in " ".join(refused.stderr.split())
            client.delete(created.headers["location"])
    assert remove("nothing").returncode == 2
    assert remove("omniglot-protonet").returncode == 0
    assert not (models / "mine").exists()
    assert original.exists() is link

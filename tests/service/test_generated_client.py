"""A client generated from the live document makes every kind of call against the live server."""

import base64
import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.service.running import Service, assert_same, digits

SUPPORT = digits(5, labels=(1, 3, 7))
QUERIES = digits(3, start=5, labels=(1, 3, 7))
LABELS = [label for label, _ in SUPPORT]


@pytest.fixture(scope="module")
def generated(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that `openapi-python-client` makes of the service's document."""
    folder = tmp_path_factory.mktemp("generated")
    document = folder / "openapi.json"
    with service.client() as client:
        document.write_bytes(client.get("/openapi.json").raise_for_status().content)
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--path", str(document)]
    made = subprocess.run(
        [*command, "--output-path", str(folder / "kshot_client"), "--meta", "none", "--fail-on-warning"],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},  # it calls ruff
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("kshot_client")
    sys.path.remove(str(folder))


@pytest.fixture
def api(generated: ModuleType, service: Service) -> Iterator[Any]:
    with generated.Client(base_url=service.url, timeout=60) as api:
        yield api


def call(group: str, operation: str, api: Any, *arguments: Any, **options: Any) -> Any:
    """The parsed answer of an operation."""
    module = importlib.import_module(f"kshot_client.api.{group}.{operation}")
    return module.sync(*arguments, client=api, **options)


def model(name: str, /, **fields: Any) -> Any:
    return getattr(importlib.import_module("kshot_client.models"), name)(**fields)


def files(pairs: list[tuple[str, bytes]]) -> list[Any]:
    file = importlib.import_module("kshot_client.types").File
    return [file(io.BytesIO(data), f"{n}.png", "image/png") for n, (_, data) in enumerate(pairs)]


def as_json(pairs: list[tuple[str, bytes]]) -> list[Any]:
    return [model("ExampleIn", label=label, image=base64.b64encode(data).decode()) for label, data in pairs]


def images() -> list[str]:
    return [base64.b64encode(data).decode() for _, data in QUERIES]


def answers(classification: Any) -> list[dict[str, float]]:
    return [{item.label: item.probability for item in result.predictions} for result in classification.results]


def test_json_and_multipart_calls_all_give_the_same_answers(api: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (label, data) in enumerate(SUPPORT):
            archive.writestr(f"{label}/{number}.png", data)
    once = answers(
        call("classify", "classify_once", api, body=model("ClassifyOnce", examples=as_json(SUPPORT), images=images()))
    )
    body = model("BodyClassifyOnceUpload", support=files(SUPPORT), labels=LABELS, queries=files(QUERIES))
    assert_same(answers(call("classify", "classify_once_upload", api, body=body)), once)

    zipped = importlib.import_module("kshot_client.types").File(io.BytesIO(packed.getvalue()), "digits.zip")
    bodies = {
        "create_classifier": model("CreateClassifier", examples=as_json(SUPPORT), name="json"),
        "create_classifier_upload": model(
            "BodyCreateClassifierUpload", files=files(SUPPORT), labels=LABELS, name="files", adapt="{}"
        ),
        "create_classifier_archive": model("BodyCreateClassifierArchive", archive=zipped, ttl_seconds=600),
    }
    for operation, body in bodies.items():
        created = call("classifiers", operation, api, body=body)
        assert (created.adapt.steps, created.adapt.rate) == (None, None)
        assert [(entry.label, entry.shots) for entry in created.labels] == [("1", 5), ("3", 5), ("7", 5)]
        by_json = call("classify", "classify", api, created.id, body=model("ClassifyImages", images=images()))
        by_files = call(
            "classify", "classify_upload", api, created.id, body=model("BodyClassifyUpload", files=files(QUERIES))
        )
        assert_same(answers(by_json), once)
        assert_same(answers(by_files), once)
        assert call("classifiers", "get_classifier", api, created.id).id == created.id
        assert call("classifiers", "delete_classifier", api, created.id) is None


def test_errors_come_back_typed(api: Any) -> None:
    problem = call("classifiers", "get_classifier", api, "clf_none")
    assert type(problem).__name__ == "Problem"
    assert (problem.status, problem.code) == (404, "unknown_classifier")
    body = model("BodyCreateClassifierUpload", files=files(SUPPORT), labels=LABELS[:-1])
    problem = call("classifiers", "create_classifier_upload", api, body=body)
    assert (problem.status, problem.code) == (422, "invalid_request")
    assert "14 labels came with 15 files" in problem.detail
    adapt = model("AdaptIn", steps=5, rate=0.5)
    bodies = {
        "create_classifier": model("CreateClassifier", examples=as_json(SUPPORT), adapt=adapt),
        "create_classifier_upload": model(
            "BodyCreateClassifierUpload", files=files(SUPPORT), labels=LABELS, adapt=json.dumps(adapt.to_dict())
        ),
    }
    for operation, body in bodies.items():
        problem = call("classifiers", operation, api, body=body)
        assert (problem.status, problem.code) == (422, "invalid_options")
        assert "adapt.steps is 5" in problem.detail


def test_models_and_health_come_back_typed(api: Any) -> None:
    assert "omniglot-protonet" in [card.name for card in call("models", "list_models", api).data]
    assert call("models", "get_model", api, "omniglot-protonet").default is True
    assert call("health", "ready", api).status == "ready"
    assert call("health", "version", api).limits.ways > 2

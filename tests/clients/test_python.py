"""openapi-python-client's client of the live document type-checks and makes every kind of call."""

import base64
import importlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.clients.conftest import Place, page_blocks, shown
from tests.service.running import assert_same, digits

pytestmark = pytest.mark.clients

SESSION = Path(__file__).parent / "session.py"
# The generator's own file passes `*args: object` on to httpx, which is typed more narrowly.
MYPY = """
[mypy]
strict = true
[mypy-kshot_client.client]
disable_error_code = arg-type
"""

SUPPORT = digits(5, labels=(1, 3, 7))
QUERIES = digits(3, start=5, labels=(1, 3, 7))
LABELS = [label for label, _ in SUPPORT]


@pytest.fixture(scope="module")
def generated(place: Place) -> Iterator[ModuleType]:
    """The package that `openapi-python-client` makes of the service's document, as the page says, without a warning."""
    (generate,) = (block for block in page_blocks("sh") if "openapi-python-client generate" in block.text)
    command = f"{place.command(generate).strip()} --fail-on-warning"
    made = run(place, "bash", "-euo", "pipefail", "-c", command)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(place.folder))
    yield importlib.import_module("kshot_client")
    sys.path.remove(str(place.folder))


@pytest.fixture
def api(generated: ModuleType, place: Place) -> Iterator[Any]:
    with generated.AuthenticatedClient(base_url=place.service.url, token=place.key, timeout=60) as api:
        yield api


def run(place: Place, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**place.environment(), "PYTHONPATH": str(place.folder)}
    return subprocess.run(
        command, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_page_shows_what_the_session_does() -> None:
    assert shown(SESSION, rule="# ---") == [block.text.strip() for block in page_blocks("python")]


def test_the_client_type_checks_and_passes_its_session(place: Place, generated: ModuleType) -> None:
    place.session(SESSION, to=place.folder / "session.py")
    (place.folder / "mypy.ini").write_text(MYPY, "utf-8")
    checked = run(place, "mypy", "--config-file", "mypy.ini", "-p", "kshot_client", "-m", "session")
    assert checked.returncode == 0, checked.stdout
    done = run(place, sys.executable, "session.py")
    assert done.stdout.endswith("the session is over\n"), done.stdout + done.stderr


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
    body = model("ClassifyOnceUploadForm", support=files(SUPPORT), labels=LABELS, queries=files(QUERIES))
    assert_same(answers(call("classify", "classify_once_upload", api, body=body)), once)

    zipped = importlib.import_module("kshot_client.types").File(io.BytesIO(packed.getvalue()), "digits.zip")
    bodies = {
        "create_classifier": model("CreateClassifier", examples=as_json(SUPPORT), name="json"),
        "create_classifier_upload": model(
            "CreateClassifierUploadForm", files=files(SUPPORT), labels=LABELS, name="files", adapt="{}"
        ),
        "create_classifier_archive": model("CreateClassifierArchiveForm", archive=zipped, ttl_seconds=600),
    }
    for operation, body in bodies.items():
        created = call("classifiers", operation, api, body=body)
        assert (created.adapt.steps, created.adapt.rate) == (None, None)
        assert [(entry.label, entry.shots) for entry in created.labels] == [("1", 5), ("3", 5), ("7", 5)]
        by_json = call("classify", "classify", api, created.id, body=model("ClassifyImages", images=images()))
        by_files = call(
            "classify", "classify_upload", api, created.id, body=model("ClassifyUploadForm", files=files(QUERIES))
        )
        assert_same(answers(by_json), once)
        assert_same(answers(by_files), once)
        assert call("classifiers", "get_classifier", api, created.id).id == created.id
        assert call("classifiers", "delete_classifier", api, created.id) is None


def test_errors_come_back_typed(api: Any) -> None:
    problem = call("classifiers", "get_classifier", api, "clf_none")
    assert type(problem).__name__ == "Problem"
    assert (problem.status, problem.code) == (404, "unknown_classifier")
    body = model("CreateClassifierUploadForm", files=files(SUPPORT), labels=LABELS[:-1])
    problem = call("classifiers", "create_classifier_upload", api, body=body)
    assert (problem.status, problem.code) == (422, "invalid_request")
    assert "14 labels came with 15 files" in problem.detail
    adapt = model("AdaptIn", steps=5, rate=0.5)
    bodies = {
        "create_classifier": model("CreateClassifier", examples=as_json(SUPPORT), adapt=adapt),
        "create_classifier_upload": model(
            "CreateClassifierUploadForm", files=files(SUPPORT), labels=LABELS, adapt=json.dumps(adapt.to_dict())
        ),
    }
    for operation, body in bodies.items():
        problem = call("classifiers", operation, api, body=body)
        assert (problem.status, problem.code) == (422, "invalid_options")
        assert "adapt.steps is 5" in problem.detail


def test_models_and_health_come_back_typed(api: Any) -> None:
    assert [card.name for card in call("models", "list_models", api).data] == ["omniglot-protonet"]
    assert call("models", "get_model", api, "omniglot-protonet").default is True
    assert call("health", "ready", api).status == "ready"
    assert call("health", "version", api).limits.ways > 2

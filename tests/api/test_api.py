"""schemathesis, all checks, over every operation of the live document: with keys and without."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.callers import Scope
from service.settings import Settings
from tests.service.running import REPOSITORY, Service, running
from tests.service.test_keys import make

pytestmark = [pytest.mark.api, pytest.mark.timeout(1800)]

_EXAMPLES = os.environ.get("KSHOT_TEST_API_EXAMPLES", "20")
_SEED = os.environ.get("KSHOT_TEST_API_SEED", "1")


def schemathesis(service: Service, folder: Path, *options: str) -> None:
    command: Sequence[str] = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={REPOSITORY / 'tests' / 'api' / 'schemathesis.toml'}",
        "run",
        f"{service.url}/openapi.json",
        "--checks=all",
        "--phases=examples,coverage,fuzzing,stateful",
        f"--max-examples={_EXAMPLES}",
        "--continue-on-failure",
        "--request-timeout=60",
        "--max-response-time=60",  # an export as ONNX takes seconds
        f"--seed={_SEED}",  # so that what was green is not red tomorrow; another one looks elsewhere
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    print(done.stdout[-1500:])


def test_every_operation_keeps_to_the_document(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        schemathesis(service, tmp_path)


def test_every_operation_keeps_to_the_document_where_keys_are_needed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    key = make(Settings(data_dir=tmp_path / "data"), scopes=Scope)
    with running(tmp_path / "data", KSHOT_AUTH="keys") as service:
        schemathesis(service, tmp_path, "--header", f"Authorization: Bearer {key}")

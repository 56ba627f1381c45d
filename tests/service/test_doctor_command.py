"""`kshot doctor`: what is as it should be, and everything that can be wrong."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from service.cli import app
from tests.service.postgres import Server
from tests.service.running import MODELS, Service, drawings, free_port

HERE = {"KSHOT_DEVICE": "cpu", "KSHOT_DEFAULT_MODEL": "omniglot-protonet"}


def examined(tmp_path: Path, **environment: str) -> tuple[Result, dict[str, dict[str, Any]]]:
    """The command's end, and its findings by name."""
    places = {"KSHOT_MODELS_DIR": str(drawings()), "KSHOT_DATA_DIR": str(tmp_path / "data")}
    port = {"KSHOT_PORT": str(free_port())}
    done = CliRunner().invoke(app, ["doctor", "--json"], env=HERE | places | port | environment)
    told = json.loads(done.stdout)
    assert told["ok"] is (done.exit_code == 0)
    return done, {finding["name"]: finding for finding in told["findings"]}


def wrong(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is wrong, with what to do; nothing is wrong without the latter."""
    bad = {name: finding for name, finding in findings.items() if finding["status"] == "wrong"}
    assert all(finding["advice"] for finding in bad.values())
    return {name: f"{finding['found']} → {finding['advice']}" for name, finding in bad.items()}


def test_where_nothing_is_wrong_it_says_what_there_is_and_leaves_it_so(tmp_path: Path) -> None:
    done, findings = examined(tmp_path)
    assert done.exit_code == 0, wrong(findings)
    assert "CPU" in findings["onnxruntime"]["found"]
    assert findings["page at /"]["found"] == "built"
    assert findings["device"]["found"].startswith("cpu (as KSHOT_DEVICE says)")
    assert "onnxruntime-cpu, uncalibrated, the default" in findings["omniglot-protonet"]["found"]
    assert findings["KSHOT_DATA_DIR"]["found"] == str(tmp_path / "data")
    assert "no database yet" in findings["SQLite"]["found"]
    assert {"python", "torch", "threads", "memory", "disk", "data folder"} <= findings.keys()
    assert not list(tmp_path.iterdir())


def test_people_get_a_table_and_what_to_do(tmp_path: Path) -> None:
    environment = HERE | {"KSHOT_PROT": "80", "KSHOT_DATA_DIR": str(tmp_path), "KSHOT_MODELS_DIR": str(drawings())}
    done = CliRunner().invoke(app, ["doctor"], env=environment | {"KSHOT_PORT": str(free_port())})
    assert done.exit_code == 1
    assert "did you mean KSHOT_PORT?" in done.stdout
    assert "1 thing is wrong" in done.stdout


def test_every_wrong_thing_is_told_with_what_to_do(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "omniglot-protonet", tmp_path / "models" / "damaged")
    weights = tmp_path / "models" / "damaged" / "learner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (tmp_path / "file").write_text("no folder")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done, findings = examined(
            tmp_path,
            KSHOT_MODELS_DIR=str(tmp_path / "models"),
            KSHOT_DATA_DIR=str(tmp_path / "file" / "data"),
            KSHOT_PORT=port,
            KSHOT_LOG_LEVEL="loud",
            KSHOT_LIMITS__PIXEL="5",
            KSHOT_DATABASE_URL=f"postgresql+asyncpg://me:secret@127.0.0.1:{free_port()}/kshot",
        )
    told = wrong(findings)
    assert done.exit_code == 1
    assert "learner.safetensors is damaged" in told["damaged"]
    assert "is no folder" in told["data folder"]
    assert "stop what listens there" in told[f"127.0.0.1:{port}"]
    assert "'debug', 'info', 'warning' or 'error'" in told["KSHOT_LOG_LEVEL"]
    assert "did you mean KSHOT_LIMITS__PIXELS?" in told["KSHOT_LIMITS__PIXEL"]
    assert "see that the server is up" in told["PostgreSQL"]
    assert "secret" not in done.output


def test_what_strangers_reach_needs_a_key(tmp_path: Path) -> None:
    told = wrong(examined(tmp_path, KSHOT_HOST="0.0.0.0")[1])  # noqa: S104
    assert list(told) == ["keys"]
    assert "kshot keys create NAME" in told["keys"]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kshot.sqlite3").write_bytes(b"not a database at all" * 100)
    assert "not a database" in wrong(examined(tmp_path)[1])["SQLite"]


def test_a_running_service_is_found_and_no_fault(service: Service, tmp_path: Path) -> None:
    port, data = service.url.rpartition(":")[2], service.log.parent / "data"
    done, findings = examined(tmp_path, KSHOT_PORT=port, KSHOT_DATA_DIR=str(data))
    assert done.exit_code == 0, wrong(findings)
    assert "kshot 0.1.0 answers there" in findings[f"127.0.0.1:{port}"]["found"]
    assert "schema 000" in findings["SQLite"]["found"]


def test_postgresql_is_reached_and_not_made_into_anything(postgres: Server, tmp_path: Path) -> None:
    done, findings = examined(tmp_path, KSHOT_DATABASE_URL=postgres.new_database())
    assert done.exit_code == 0, wrong(findings)
    assert "schema none yet" in findings["PostgreSQL"]["found"]
    assert findings["KSHOT_DATABASE_URL"]["found"] == "(not shown)"

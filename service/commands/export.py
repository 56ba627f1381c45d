"""`kshot export`: a stored classifier as one file."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from service.callers import DEFAULT_TENANT
from service.commands.console import explained, with_database
from service.commands.naming import MODELS_DIR_HELP

if TYPE_CHECKING:
    from service.database import Database
    from service.exporting import Stored
    from service.settings import Settings

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 120.0
"""A large network takes a minute to be written as ONNX."""


class Format(StrEnum):
    """What is written."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"


def export(
    classifier: Annotated[str, typer.Argument(metavar="CLASSIFIER", help="Its id, clf_….")],
    out: Annotated[Path, typer.Option(help="The file to write; one that is there is replaced.")],
    file_format: Annotated[
        Format,
        typer.Option("--format", help="safetensors: for kshot, here or elsewhere; onnx: for ONNX Runtime alone."),
    ] = Format.SAFETENSORS,
    url: Annotated[
        str | None,
        typer.Option(help="Of a running service, such as http://127.0.0.1:8000; the data folder unless set."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="KSHOT_KEY", show_default=False, help="That the service asks for, with --url."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose classifier it is, without --url.")] = DEFAULT_TENANT,
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")] = None,
) -> None:
    """Write a stored classifier into one file, which answers elsewhere as it does here.

    From the data folder, also beside a running service, and then asked without one:

        kshot export clf_5f0c8a1e9b7d4c2f5f0c8a1e --out mine.safetensors
        kshot predict --support mine.safetensors --queries new/

    From a service on another machine, for ONNX Runtime alone:

        KSHOT_KEY=… kshot export clf_5f0c8a1e9b7d4c2f5f0c8a1e --url https://kshot.example --format onnx --out mine.onnx
    """
    with explained():
        if not out.absolute().parent.is_dir():
            raise ValueError(f"{out}: its folder does not exist; make it, or give another --out")
        draft = out.with_name(f".{out.name}.tmp")
        try:
            if url is None:
                _from_store(classifier, draft, file_format, tenant, models_dir, data_dir)
            else:
                where = f"{url.rstrip('/')}/v1/classifiers/{quote(classifier, safe='')}/export"
                _download(where, draft, file_format, key)
            draft.replace(out)
        except OSError as error:
            raise ValueError(f"{out} cannot be written: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)
    typer.echo(f"→ {out} ({out.stat().st_size:,} bytes)", err=True)


def _from_store(
    classifier: str, draft: Path, file_format: Format, tenant: str, models_dir: Path | None, data_dir: Path | None
) -> None:
    from meta_core import checkpoint, portable
    from meta_core.errors import InvalidClassifierFile
    from service.exporting import portable_of
    from service.settings import Settings

    settings = Settings.given(models_dir=models_dir, data_dir=data_dir)
    _check_there(settings)
    stored = with_database(data_dir, lambda database: _read(database, settings, classifier, tenant))
    model = checkpoint.load(settings.models_dir / stored.classifier.model)
    whole = portable_of(stored, model.card)
    if problem := portable.check_model(whole.card, model.card, encodes=model.learner.encodes):
        raise InvalidClassifierFile(f"{classifier} cannot be written with {model.folder}: {problem}")
    if file_format is Format.ONNX:
        from meta_core.portable_onnx import to_onnx

        to_onnx(whole, model, draft)
    else:
        draft.write_bytes(portable.dumps(whole))


async def _read(database: "Database", settings: "Settings", classifier: str, tenant: str) -> "Stored":
    from service.exporting import read
    from service.receipts import Receipts
    from service.store import Store

    receipts = Receipts(database, seconds=settings.idempotency_seconds, most=settings.limits.idempotency_keys)
    return await read(Store(database, receipts, state_cache_bytes=0), classifier, tenant=tenant)


def _check_there(settings: "Settings") -> None:
    """Where nothing was ever stored, nothing is to be made by looking for it."""
    if settings.database_url is None and not (settings.data_dir / "kshot.sqlite3").is_file():
        raise ValueError(
            f"{settings.data_dir} holds no classifiers; give the service's folder with --data-dir, or ask it with --url"
        )


def _download(url: str, draft: Path, file_format: Format, key: str | None) -> None:
    import httpx

    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    seconds = httpx.Timeout(_CONNECT_SECONDS, read=_READ_SECONDS)
    try:
        with httpx.stream("GET", url, params={"format": file_format.value}, headers=headers, timeout=seconds) as answer:
            if not answer.is_success:
                raise ValueError(_refusal(answer.read(), answer.status_code))
            with draft.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(f"{url} does not answer: {error}; see that --url is that of a running kshot") from error


def _refusal(body: bytes, status: int) -> str:
    """What a problem document says; the status alone where there is none."""
    import json

    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return f"the service answered {status} without saying why; see that --url is that of a running kshot"
    return f"the service answered {status}: {detail}" + ("; give --key, or KSHOT_KEY" if status == 401 else "")

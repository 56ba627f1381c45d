"""`kshot keys`: make one, list them, revoke one."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from service.callers import DEFAULT_TENANT, Scope
from service.commands.console import explained, output, table, with_database

if TYPE_CHECKING:
    from service.keys import Key, Keys

Result = TypeVar("Result")

keys = typer.Typer(help="Who may use the service: make keys, list them, revoke them.", no_args_is_help=True)

DataDir = Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Yours to recognize it by.")],
    tenant: Annotated[
        str, typer.Option(help="Whose classifiers it sees; keys of one tenant share them, others do not see them.")
    ] = DEFAULT_TENANT,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do: read, write, admin. May be repeated.", show_default=False),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="No limit of its own unless set.")] = None,
    max_classifiers: Annotated[
        int | None, typer.Option(min=1, help="Of its tenant; no limit of its own unless set.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it: this once, for only its hash is stored.

    A running service takes it at once. Without --scope it may read and write.

        kshot keys create laptop
        kshot keys create prometheus --scope admin
    """
    with explained():
        text = _run(
            data_dir,
            lambda keys: keys.create(
                name=_short(name, "a name", 200),
                tenant=_short(tenant, "a tenant", 64),
                scopes=scope or [Scope.READ, Scope.WRITE],
                requests_per_minute=requests_per_minute,
                max_classifiers=max_classifiers,
            ),
        )
    sys.stdout.write(f"{text}\n")
    typer.echo("This is shown once. Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.", err=True)


@keys.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    data_dir: DataDir = None,
) -> None:
    """All keys, without their texts.

    kshot keys list --json
    """
    with explained():
        found = _run(data_dir, lambda keys: keys.list())
    rows = [_row(key) for key in found]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    columns = ("id", "name", "tenant", "scopes", "created", "revoked")
    made = table("keys", [(column, "left") for column in columns], caption="times are UTC")
    for row in rows:
        made.add_row(
            row["id"], row["name"], row["tenant"], " ".join(row["scopes"]), row["created_at"], row["revoked_at"]
        )
    output().print(made)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `kshot keys list` has it.")], data_dir: DataDir = None
) -> None:
    """Let nobody in by a key any more, from the next request on.

    kshot keys revoke 5f0c8a1e9b7d4c2f
    """
    with explained():
        _run(data_dir, lambda keys: keys.revoke(key_id))
    typer.echo(f"{key_id} is revoked", err=True)


def _run(data_dir: Path | None, call: "Callable[[Keys], Awaitable[Result]]") -> Result:
    from service.keys import Keys

    return with_database(data_dir, lambda database: call(Keys(database)))


def _short(text: str, what: str, most: int) -> str:
    if not 0 < len(text.strip()) <= most or not text.isprintable():
        raise ValueError(f"{text[:80]!r} is not {what}: expected 1 to {most} printable characters")
    return text.strip()


def _row(key: "Key") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.caller.tenant,
        "scopes": sorted(key.caller.scopes),
        "requests_per_minute": key.caller.requests_per_minute,
        "max_classifiers": key.caller.max_classifiers,
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "revoked_at": None if key.revoked_at is None else key.revoked_at.isoformat(timespec="seconds"),
    }

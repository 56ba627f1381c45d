"""`kshot doctor`: what the service would find here, and what is wrong."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from service.commands.console import output, print_json, table
from service.commands.naming import MODELS_DIR_HELP
from service.commands.verify import MARKS

if TYPE_CHECKING:
    from service.doctor.finding import Finding
    from service.settings import Settings


def doctor(
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Look at what the service needs, say what is wrong and what to do about it.

    Versions, device, cores, memory, settings of the environment, data folder and database, every model, the address.
    Nothing is changed, and a running service is not disturbed. Exit code 1 if something is wrong.

        kshot doctor
        KSHOT_DATABASE_URL=postgresql+asyncpg://kshot@db/kshot kshot doctor --json
    """
    from service.doctor import environment

    logging.getLogger("service").addHandler(logging.NullHandler())  # what is logged of a model is a finding here
    given = {"models_dir": models_dir, "data_dir": data_dir}
    settings, told = environment.read(**{name: value for name, value in given.items() if value is not None})
    found = list(_examined(settings, told))
    wrong = [finding for finding in found if finding.status == "wrong"]
    if as_json:
        print_json({"ok": not wrong, "findings": [finding._asdict() for finding in found]})
    else:
        _print(found, wrong)
    if wrong:
        raise typer.Exit(1)


def _examined(settings: "Settings", told: "list[Finding]") -> "Iterator[Finding]":
    import asyncio

    from service.doctor import address, machine, models, software, store

    yield from software.software()
    yield from machine.machine(settings)
    yield from told
    yield from asyncio.run(store.store(settings))
    yield from models.models(settings)
    yield address.address(settings)


def _print(found: "list[Finding]", wrong: "list[Finding]") -> None:
    made = table("", [(name, "left") for name in ("", "", "", "found")], caption="✓ as it should be  • a note  ✗ wrong")
    section = ""
    for finding in found:
        if section and finding.section != section:
            made.add_section()
        own, section = ("" if finding.section == section else finding.section), finding.section
        advice = f"\n→ {escape(finding.advice)}" if finding.advice else ""
        made.add_row(own, MARKS[finding.status], escape(finding.name), f"{escape(finding.found)}{advice}")
    console = output()
    console.print(made)
    for finding in wrong:
        console.print(f"✗ {finding.name}: {finding.found}", style="bold red", highlight=False, markup=False)
        console.print(f"  → {finding.advice}", highlight=False, markup=False)
    summary = f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} wrong" if wrong else "nothing is wrong"
    console.print(summary, style="bold", highlight=False)

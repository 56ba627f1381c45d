"""`kshot models verify`: are the models whole, and do they run?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from service.commands.console import bars, explained, output, print_json, table
from service.commands.naming import MODELS_DIR_HELP, complete_model, models_folder

if TYPE_CHECKING:
    from service.verifying import Step

MARKS = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "wrong": "[bold red]✗[/]"}
"""How a status is shown."""


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models of the folder; all unless set.", autocompletion=complete_model)
    ] = None,
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check that models are whole and run: hashes, a forward pass, ONNX beside torch, calibration.

    After a copy or a download, or before a deployment. Exit code 1 if a model is damaged or does not run, 2 if there
    is none.

        kshot models verify
        kshot models verify photos --json
    """
    from meta_core.checkpoint import CARD

    with explained():
        folder = models_folder(models_dir)
        there = [path.name for path in sorted(folder.glob("[!.]*")) if path.is_dir()]
        if missing := sorted({*(names or [])} - {*there}):
            raise ValueError(f"{folder} holds no model {', '.join(missing)}; there are: {', '.join(there) or 'none'}")
        chosen = [folder / name for name in names or there]
        if not any((path / CARD).is_file() for path in chosen) and not names:
            raise ValueError(f"{folder} holds no model; `kshot models add` makes one, `kshot train` trains one")
        found = {path.name: steps for path, steps in zip(chosen, _verified(chosen), strict=True)}
    if as_json:
        print_json([_told(name, steps) for name, steps in found.items()])
    else:
        _print(folder, found)
    if any(step.status == "wrong" for steps in found.values() for step in steps):
        raise typer.Exit(1)


def _verified(folders: list[Path]) -> "list[list[Step]]":
    from meta_core.device import pick_device
    from service import verifying
    from service.settings import Settings

    settings, found = Settings(), list[list["Step"]]()
    with bars() as advance:
        for done, folder in enumerate(folders, 1):
            steps = verifying.verify(folder, device=pick_device(settings.device), threads=settings.threads)
            found.append(list(steps))
            advance("verifying", done, len(folders))
    return found


def _told(name: str, steps: "list[Step]") -> dict[str, Any]:
    return {
        "name": name,
        "ok": all(step.status != "wrong" for step in steps),
        "steps": [step._asdict() for step in steps],
    }


def _print(folder: Path, found: "dict[str, list[Step]]") -> None:
    columns = ("model", "", "step", "found")
    made = table(str(folder), [(name, "left") for name in columns], caption="✓ as it should be  • a note  ✗ wrong")
    for name, steps in found.items():
        for place, step in enumerate(steps):
            made.add_row(name if place == 0 else "", MARKS[step.status], step.name, escape(step.found))
    output().print(made)

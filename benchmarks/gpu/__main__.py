"""kshot on a GPU, beside what the GPU itself allows.

- `encode`: pictures a second of the raw network at its best batch and layout, of ONNX Runtime's CUDA provider where it
  is installed, of the encoder, and of the engine with many users; Conv-4, ResNet-18, EfficientNet-Lite0.
- `users`: a hundred users' MAML adaptations at once against one user's.
- `maml`: the second-order meta-gradient of 32 tasks against a loop over cloned weights, which must agree first.
- `serving`: adapt to 5 × 5 photos and classify 15 over HTTP at 70 % of capacity, decoded pictures and JPEGs.
- `protonet`: Omniglot's accuracy after 30 seconds of training.

Every ratio is of figures of one run; rounds go in turns, and tables give their medians. `--device cpu --tiny` runs
every line in a minute where there is no GPU: its figures say nothing.
"""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.gpu import encoding, many_users, meta_step, protonet, serving
from benchmarks.gpu.part import Found, Part, Plan
from benchmarks.stepping.comparing import processor
from meta_core.device import pick_device

PARTS = (
    Part("users", many_users.measure),
    Part("maml", meta_step.measure),
    Part("encode", encoding.measure),
    Part("protonet", protonet.measure),
    Part("serving", serving.measure),
)
_DATA = Path(__file__).parents[3] / "shared" / "data"
_PACKAGES = ("torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "timm", "numpy", "pillow", "fastapi", "uvicorn")

out, err = Console(), Console(stderr=True)
if out.width < 140 and not out.is_terminal:
    out = Console(width=140)
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(help=__doc__)
def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu to see that all of it runs")] = "cuda",
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(part.name for part in PARTS)}; all")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="in which everything has its turn")] = 7,
    seconds: Annotated[float, typer.Option(min=0.2, help="of each load")] = 5,
    data: Annotated[Path, typer.Option(help="the data sets' folder", envvar="KSHOT_TEST_DATA")] = _DATA,
    tiny: Annotated[bool, typer.Option("--tiny", help="the smallest sizes, to see that all of it runs")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures there")] = None,
) -> None:
    """Measure, print the tables, and judge; exit with 1 where a target is missed, with 2 where there is no device."""
    if device == "cuda" and not torch.cuda.is_available():
        said = "there is no CUDA device: nothing was measured (--device cpu --tiny runs every line without one)"
        err.print(said, soft_wrap=True, highlight=False)
        raise typer.Exit(2)
    plan = Plan(pick_device(device), rounds, seconds, data, tiny)
    figures: dict[str, Any] = {"about": about(plan), "parts": {}}
    out.print("; ".join(f"{name} {value}" for name, value in figures["about"].items()), highlight=False)
    found: list[Found] = []
    with Progress(console=err, transient=True) as progress:
        for part in [part for part in PARTS if not only or part.name in only]:
            bar = progress.add_task(part.name, total=None)
            found.append(part.measure(plan))
            progress.remove_task(bar)
            figures["parts"][part.name] = found[-1].figures
            _print(found[-1])
            if json_file is not None:  # after each, for a run that is cut short
                json_file.write_text(json.dumps(figures, indent=2) + "\n")
    verdicts = [verdict for each in found for verdict in each.verdicts]
    for verdict in verdicts:
        said = {True: "met", False: "MISSED", None: "not measured"}[verdict.met]
        out.print(f"{verdict.text}: {said}", highlight=False)
    if not all(verdict.met for verdict in verdicts):
        raise typer.Exit(1)


def about(plan: Plan) -> dict[str, str]:
    """The device and the versions, without which no figure means anything."""
    found = {"device": torch.cuda.get_device_name() if plan.device == "cuda" else processor()}
    found |= {"CUDA": str(torch.version.cuda), "cores": str(len(os.sched_getaffinity(0)))}
    found |= {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _print(found: Found) -> None:
    table = Table(title=found.title, title_justify="left")
    for number, name in enumerate(found.columns):
        table.add_column(name, justify="right" if number else "left")
    for row in found.rows:
        table.add_row(*row)
    out.print(table)
    sys.stdout.flush()


if __name__ == "__main__":
    app()

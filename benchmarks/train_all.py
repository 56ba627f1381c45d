"""The full-length recipes on a GPU, one after another, in as many sittings as it takes.

Each recipe runs in a process of its own and goes on where it stopped; what is finished is not begun again. With
`--minutes` a sitting ends in time: a run loses at most what it did since its last look at the validation episodes.

What a sitting leaves stands in RUNS: a folder for each model and its run, and in RUNS/bring an archive each of what is
small enough to be carried (16 MiB): card, curve, weights, or the file that an unfinished run goes on from. Archives
that lie there when a sitting begins, on another machine say, are gone on from.

Exit codes: 0 all is finished, 3 there is more to do (run it again), 2 there is no CUDA device, 1 a recipe failed.
"""

import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import torch
import typer
from rich.console import Console

from meta_core.checkpoint import CARD
from meta_core.loop import RESUME
from meta_core.recipe import Recipe, load_recipe

MOST_BYTES = 16 * 2**20
_DATA = Path(__file__).parents[2] / "shared" / "data"
_OMNIGLOT, _MINI = "omniglot_28_u8.npz", "miniimagenet.zip"

err = Console(stderr=True)
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


class Entry(NamedTuple):
    """A run of the list.

    Attributes:
        name: of its model.
        base: the shipped recipe.
        file: of the data.
        changes: to the recipe's fields.
    """

    name: str
    base: str
    file: str
    changes: Mapping[str, Any] = MappingProxyType({})

    def recipe(self) -> Recipe:
        """The whole of it."""
        fields = load_recipe(self.base).model_dump()
        for key, value in self.changes.items():
            fields[key] = fields[key] | value if isinstance(value, dict) else value
        return Recipe.model_validate(fields | {"name": self.name})


def _of_vinyals(name: str, base: str, **changes: Any) -> Entry:
    """The same on the split of the published tables, quarter turns as classes in its test too."""
    data = load_recipe("omniglot-protonet-vinyals").labelled.model_dump()
    return Entry(name, base, _OMNIGLOT, {"data": data, "test": {"rotations": True, "lake": False}, **changes})


_META_SGD = {"learner": {"name": "meta_sgd"}}

ENTRIES: tuple[Entry, ...] = (
    Entry("omniglot-protonet", "omniglot-protonet", _OMNIGLOT),
    Entry("omniglot-protonet-vinyals", "omniglot-protonet-vinyals", _OMNIGLOT),
    Entry("omniglot-anil", "omniglot-anil", _OMNIGLOT),
    _of_vinyals("omniglot-anil-vinyals", "omniglot-anil"),
    Entry("mini-protonet-conv4", "mini-protonet-conv4", _MINI),
    Entry("omniglot-maml", "omniglot-maml", _OMNIGLOT),
    _of_vinyals("omniglot-maml-vinyals", "omniglot-maml"),
    Entry("mini-maml-conv4", "mini-maml-conv4", _MINI),
    Entry("mini-protonet-resnet12", "mini-protonet-resnet12", _MINI),
    Entry("omniglot-meta-sgd", "omniglot-maml", _OMNIGLOT, _META_SGD),
    _of_vinyals("omniglot-meta-sgd-vinyals", "omniglot-maml", **_META_SGD),
)
"""Those that are short and change what is shipped first, so that an hour that is cut off was still well spent."""


@app.command(help=__doc__)
def main(
    runs: Annotated[Path, typer.Option(help="where everything is written")] = Path("runs/gpu"),
    data: Annotated[Path, typer.Option(help="the data sets' folder", envvar="KSHOT_TEST_DATA")] = _DATA,
    minutes: Annotated[float, typer.Option(min=0.0, help="end the sitting after so many; 0: when all is done")] = 0,
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(each.name for each in ENTRIES)}; all")] = None,
    device: Annotated[str, typer.Option(help="cuda; cpu takes days")] = "cuda",
    one: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train what is not finished, in order."""
    if device == "cuda" and not torch.cuda.is_available():
        err.print(
            "there is no CUDA device: nothing was trained (make train-omniglot trains one model on a CPU)",
            soft_wrap=True,
        )
        raise typer.Exit(2)
    if one is not None:
        train_one(entry(one), runs=runs, data=data, device=device)
        return
    until = time.monotonic() + 60 * minutes if minutes else float("inf")
    (runs / "bring").mkdir(parents=True, exist_ok=True)
    left, failed = [], False
    for each in [each for each in ENTRIES if not only or each.name in only]:
        unpack(runs, each.name)
        code = 0 if (runs / each.name / CARD).is_file() else _sit(each, runs, data, device, until)
        pack(runs, each.name)
        failed |= code not in (0, None)
        left += [each.name] if code is None else []
    if failed:
        raise typer.Exit(1)
    if left:
        err.print(f"the sitting is over; run it again for {', '.join(left)}")
        raise typer.Exit(3)


def entry(name: str) -> Entry:
    """By its name."""
    found = {each.name: each for each in ENTRIES}
    if name not in found:
        raise typer.BadParameter(f"there is no run {name!r}; there are: {', '.join(found)}")
    return found[name]


def train_one(chosen: Entry, *, runs: Path, data: Path, device: str) -> None:
    """One run, from where it stopped."""
    from meta_core.train import train

    card = train(chosen.recipe(), data=data / chosen.file, out=runs / chosen.name, device=device, resume=True)
    for row in card.accuracy:
        err.print(f"{card.name}: {row.ways} ways {row.shots} shots: {row.accuracy:.2f} ± {row.ci95:.2f} %")


def _sit(chosen: Entry, runs: Path, data: Path, device: str, until: float) -> int | None:
    """Its exit code, or None where time ended first."""
    remaining = until - time.monotonic()
    if remaining <= 0:
        return None
    if not (data / chosen.file).is_file():
        err.print(f"{chosen.name} is left out: {data / chosen.file} is not there")
        return 0
    err.print(f"[bold]{chosen.name}[/]")
    command = [sys.executable, "-m", "benchmarks.train_all", "--one", chosen.name, "--device", device]
    command += ["--runs", str(runs), "--data", str(data)]
    process = subprocess.Popen(command, cwd=Path.cwd())
    try:
        return process.wait(timeout=None if remaining == float("inf") else remaining)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def pack(runs: Path, name: str) -> Sequence[str]:
    """Write RUNS/bring/NAME.tar.gz; the names of the files in it.

    A finished model's folder, or the file that an unfinished one goes on from; what is too large is told.
    """
    model, resume = runs / name, runs / f"{name}.run" / RESUME
    files = sorted(model.iterdir()) if (model / CARD).is_file() else [file for file in [resume] if file.is_file()]
    archive = runs / "bring" / f"{name}.tar.gz"
    if not files:
        return []
    small = [file for file in files if file.stat().st_size <= MOST_BYTES]
    _write(archive, small, runs)
    if archive.stat().st_size > MOST_BYTES:  # together too large: the graph can be exported again
        small = [file for file in small if file.suffix != ".onnx"]
        _write(archive, small, runs)
    left = [file for file in files if file not in small]
    missing = [f"{file.relative_to(runs)} ({file.stat().st_size / 2**20:.0f} MiB)" for file in left]
    if missing:
        err.print(f"too large to be carried, left in {runs}: {', '.join(missing)}")
    return [str(file.relative_to(runs)) for file in small]


def _write(archive: Path, files: Sequence[Path], runs: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for file in files:
            tar.add(file, arcname=str(file.relative_to(runs)))


def unpack(runs: Path, name: str) -> None:
    """What an earlier sitting brought, where nothing newer is here."""
    archive = runs / "bring" / f"{name}.tar.gz"
    if archive.is_file() and not (runs / name).exists() and not (runs / f"{name}.run").exists():
        with tarfile.open(archive) as tar:
            tar.extractall(runs, filter="data")


if __name__ == "__main__":
    app()

"""The command `kshot`. What takes seconds to import is imported by the command that needs it."""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand

from meta_core.errors import MetaCoreError
from service.errors import DataFolderError

if TYPE_CHECKING:
    from meta_core.card import Accuracy

app = typer.Typer(
    help="Few-shot image classification: serve it, train models for it, measure them.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DATA_HELP = "Labelled pictures: a folder or zip of class/file, an .npz (docs/data.md), or `omniglot` to download it."


class Protocol(StrEnum):
    """What `evaluate` asks."""

    EPISODES = "episodes"
    LAKE = "lake"


class _ManyValues(TyperCommand):
    """Lets an option that may be repeated take several numbers at once: `--ways 5 20` for `--ways 5 --ways 20`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {name for param in self.params if getattr(param, "multiple", False) for name in param.opts}
        spread: list[str] = []
        option = ""
        for argument in args:
            further = argument.isdecimal() and option in repeatable and spread[-1] != option
            spread += [option, argument] if further else [argument]
            if not argument.isdecimal():
                option = argument
        return super().parse_args(ctx, spread)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless set.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8000 unless set, 0 for any free one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of model folders; ./models unless set.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
) -> None:
    """Serve the models over HTTP.

    Every option can also be set in the environment (KSHOT_HOST, KSHOT_PORT, KSHOT_MODELS_DIR, KSHOT_DATA_DIR,
    KSHOT_DEVICE), as can the limits (KSHOT_LIMITS__BODY_BYTES=…, see GET /version). Docs are at /docs.
    """
    import uvicorn

    from service.app import create_app
    from service.protocol import BoundedHttp
    from service.settings import Settings
    from service.store import locked

    given = {"host": host, "port": port, "models_dir": models_dir, "data_dir": data_dir, "device": device}
    with _explained():
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        # uvicorn drains at SIGTERM and then raises it again: a stop that was asked for is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with locked(settings.data_dir):  # here too, so that a second process is told in one line
            uvicorn.run(
                create_app(settings),
                host=settings.host,
                port=settings.port,
                timeout_graceful_shutdown=settings.drain_seconds,
                log_config=None,
                access_log=False,
                http=BoundedHttp,
            )


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a path to a .toml.")],
    data: Annotated[Path, typer.Option(help=_DATA_HELP)],
    out: Annotated[Path, typer.Option(help="The model's folder, to be written; beside it, OUT.run holds the logs.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run of OUT stopped.")] = False,
) -> None:
    """Meta-train a model and write its checkpoint.

    Shows loss, validation accuracy, episodes a second and time left; the same goes to TensorBoard events in OUT.run.
    Interrupt it whenever you like: with --resume it ends with the same weights.

        kshot train omniglot-protonet --data omniglot --out models/mine
    """
    from meta_core.recipe import load_recipe
    from meta_core.train import train as run

    with _explained():
        card = run(load_recipe(recipe), data=data, out=out, device=device, resume=resume)
    _print_table(f"{card.name} {card.version} → {out}", card.accuracy)


@app.command(cls=_ManyValues)
def evaluate(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    data: Annotated[Path, typer.Option(help=_DATA_HELP)],
    ways: Annotated[list[int], typer.Option(help="Classes of an episode; several make several rows.")] = [5, 20],  # noqa: B006
    shots: Annotated[list[int], typer.Option(help="Examples a class; several make several rows.")] = [1, 5],  # noqa: B006
    episodes: Annotated[int, typer.Option(min=2, help="Episodes a row.")] = 1000,
    queries: Annotated[int, typer.Option(min=1, help="Queries a class.")] = 15,
    split: Annotated[
        str | None, typer.Option(help="Which part of the data; `evaluation` where the data has it, else all.")
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option(help="lake: the 20 official one-shot runs within an alphabet.")
    ] = Protocol.EPISODES,
    seed: Annotated[int, typer.Option(help="The same seed asks the same episodes of every model.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON instead of a table.")] = False,
) -> None:
    """Accuracy on labelled pictures, ± 95 % confidence interval, inductive.

    kshot evaluate models/omniglot-protonet --data omniglot_28_u8.npz --ways 5 20 --shots 1 5
    """
    from meta_core.checkpoint import load
    from meta_core.datasets import default_split
    from meta_core.evaluate import EpisodePlan, evaluate_data, lake_accuracy

    with _explained():
        loaded = load(model)
        learner, spec = loaded.learner, loaded.card.input
        if protocol is Protocol.LAKE:
            rows = [lake_accuracy(learner, spec, data)]
        else:
            plans = [
                EpisodePlan(ways=way, shots=shot, queries=queries, episodes=episodes, seed=seed)
                for way in ways
                for shot in shots
            ]
            rows = evaluate_data(learner, spec, data, plans, split=split or default_split(data))
    if as_json:
        sys.stdout.write(json.dumps([row.model_dump() for row in rows], indent=2) + "\n")
    else:
        _print_table(f"{loaded.card.name} {loaded.card.version}", rows)


@app.command()
def demo() -> None:
    """Start the service on the shipped models, classify real handwritten digits over HTTP, print what it says."""
    from service.demo import run_demo

    with _explained():
        raise typer.Exit(run_demo())


@app.command("version")
def show_version() -> None:
    """Print the version."""
    sys.stdout.write(f"kshot {version('kshot')}\n")


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that are somebody's input end in one sentence and exit code 2, not in a traceback."""
    try:
        yield
    except (MetaCoreError, DataFolderError, ValueError) as error:
        if os.environ.get("KSHOT_TRACEBACK"):
            raise
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False)
        raise typer.Exit(2) from error


def _print_table(title: str, rows: "list[Accuracy]") -> None:
    table = Table(title=title, caption="percent ± 95 % CI, inductive", title_justify="left", caption_justify="left")
    columns: tuple[tuple[str, Any], ...] = (
        ("data", "left"),
        ("protocol", "left"),
        ("ways", "right"),
        ("shots", "right"),
        ("queries", "right"),
        ("episodes", "right"),
        ("accuracy", "right"),
    )
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(
            row.data,
            row.protocol,
            str(row.ways),
            str(row.shots),
            str(row.queries),
            str(row.episodes),
            f"{row.accuracy:.2f} ± {row.ci95:.2f}",
        )
    Console().print(table)

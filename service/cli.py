"""The command `kshot`. What takes seconds to import is imported by the command that needs it."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from service.commands.calibrate import calibrate
from service.commands.compare import compare
from service.commands.console import DATA_HELP, ManyValues, explained, print_measured
from service.commands.data import data
from service.commands.doctor import doctor
from service.commands.evaluate import evaluate
from service.commands.export import export
from service.commands.keys import keys
from service.commands.models import models
from service.commands.predict import predict
from service.commands.report import report
from service.commands.serve import serve
from service.commands.tune import tune

app = typer.Typer(
    help="Few-shot image classification: serve it, ask it from here, train models for it, measure them.\n\n"
    "Exit codes: 0 done, 1 done and something is wrong with what was looked at, 2 nothing was done, and why is said.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve)
app.command()(predict)
app.command()(export)
app.command()(doctor)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a path to a .toml.")],
    out: Annotated[Path, typer.Option(help="The model's folder, to be written; beside it, OUT.run holds the logs.")],
    data: Annotated[
        Path | None, typer.Option(help=f"{DATA_HELP} Recipes that generate their tasks need none.", show_default=False)
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            help="Pictures without labels to train on, at any depth of a folder or zip; --data, where it is given too, "
            "only tests. For recipes that say `unlabelled = true`.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs, or processes on the CPU, that share the tasks of each step.")
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run of OUT stopped.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="The paper's setting, where the recipe holds it beside a shorter one.")
    ] = False,
) -> None:
    """Meta-train a model and write its checkpoint.

    Shows loss, validation accuracy, episodes a second and time left; the same goes to TensorBoard events in OUT.run.
    Interrupt it whenever you like: with --resume it ends with the same weights, also on another number of --devices.

        kshot train omniglot-protonet --data omniglot --out models/mine
        kshot train omniglot-maml --data omniglot --out models/mine --devices 2

    A regression on generated tasks needs no data:

        kshot train sinusoid-maml --out models/sinusoid-maml

    Without labels: each picture is a class, and changed copies of it are what is to be recognized.

        kshot train unlabelled --unlabelled my_scans/ --out models/mine
    """
    from meta_core.allocator import keep_freed_memory
    from meta_core.recipe import load_recipe
    from meta_core.train import train as run
    from meta_core.train_regression import train_regression

    keep_freed_memory()
    with explained():
        loaded = load_recipe(recipe, full=full)
        if loaded.data is None and (data is not None or unlabelled is not None):
            raise ValueError(f"{loaded.name} generates its tasks; leave --data and --unlabelled out")
        if loaded.data is None:
            card = train_regression(loaded, out=out, device=device, devices=devices, resume=resume)
        elif data is None and unlabelled is None:
            raise ValueError(f"{loaded.name} trains on pictures: give --data, or --unlabelled for some without labels")
        else:
            card = run(loaded, data=data, unlabelled=unlabelled, out=out, device=device, devices=devices, resume=resume)
    if card.accuracy or card.errors:
        print_measured(f"{card.name} {card.version} → {out}", card)
    else:
        sys.stderr.write(
            f"{card.name} {card.version} → {out}: not measured; kshot evaluate does, on labelled pictures\n"
        )


app.command()(tune)
app.command(cls=ManyValues)(evaluate)
app.command()(compare)
app.command()(calibrate)
app.command()(report)
app.add_typer(models, name="models")
app.add_typer(data, name="data")
app.add_typer(keys, name="keys")


@app.command()
def demo() -> None:
    """Start the service on the shipped models, classify real digits and photos over HTTP, print what it says.

    kshot demo
    """
    from service.demo import run_demo

    with explained():
        raise typer.Exit(run_demo())


@app.command("version")
def show_version() -> None:
    """Print the version.

    kshot version
    """
    sys.stdout.write(f"kshot {version('kshot')}\n")

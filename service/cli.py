"""The command `kshot`. What takes seconds to import is imported by the command that needs it."""

import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from service.commands.calibrate import calibrate
from service.commands.compare import compare
from service.commands.console import DATA_HELP, ManyValues, explained, print_accuracies, with_database
from service.commands.evaluate import evaluate
from service.commands.keys import keys
from service.commands.models import models
from service.commands.report import report

app = typer.Typer(
    help="Few-shot image classification: serve it, train models for it, measure them.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_FAILED = 70
"""Status of a process that can go on no longer, as when its device is lost: whoever started it should do so again."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless set.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8000 unless set, 0 for any free one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of model folders; ./models unless set.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    supervise: Annotated[
        bool, typer.Option("--supervise", help="Start again what dies, where no container or init system does.")
    ] = False,
) -> None:
    """Serve the models over HTTP.

    Every option can also be set in the environment (KSHOT_HOST, KSHOT_PORT, KSHOT_MODELS_DIR, KSHOT_DATA_DIR,
    KSHOT_DEVICE), as can the limits (KSHOT_LIMITS__BODY_BYTES=…, see GET /version). Docs are at /docs.
    """
    import uvicorn

    from service import logs
    from service.access import is_loopback
    from service.app import create_app
    from service.authentication import check_exposure
    from service.data_folder import held
    from service.drain import DrainingServer
    from service.keys import Keys
    from service.protocol import BoundedHttp
    from service.settings import Settings
    from service.supervisor import Supervisor

    given = {"host": host, "port": port, "models_dir": models_dir, "data_dir": data_dir, "device": device}
    if supervise:
        with explained():
            logs.configure(style=Settings().log_format, level=Settings().log_level)
        raise typer.Exit(Supervisor(_command_without("--supervise")).run())
    with explained():
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        logs.configure(style=settings.log_format, level=settings.log_level)
        # uvicorn drains at SIGTERM and then raises it again: a stop that was asked for is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with held(settings):  # here too, so that a second process is told in one line
            if not is_loopback(settings.host):  # here too, so that it is told in one line
                with_database(settings.data_dir, lambda database: check_exposure(settings, Keys(database)))
            asgi = create_app(settings)
            config = uvicorn.Config(
                asgi,
                host=settings.host,
                port=settings.port,
                timeout_keep_alive=75,  # longer than balancers keep theirs: who closes first must be who asks
                timeout_graceful_shutdown=5,  # for what is left when the drain is over, to be told so
                log_config=None,
                access_log=False,
                http=BoundedHttp,
            )
            server = DrainingServer(config, drain=asgi.state.drain)
            server.run()
            if not server.started:
                raise typer.Exit(3)
            if asgi.state.drain.failed:
                raise typer.Exit(_FAILED)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a path to a .toml.")],
    data: Annotated[Path, typer.Option(help=DATA_HELP)],
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

    with explained():
        card = run(load_recipe(recipe), data=data, out=out, device=device, resume=resume)
    print_accuracies(f"{card.name} {card.version} → {out}", card.accuracy)


app.command(cls=ManyValues)(evaluate)
app.command()(compare)
app.command()(calibrate)
app.command()(report)
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")


@app.command()
def demo() -> None:
    """Start the service on the shipped models, classify real digits and photos over HTTP, print what it says."""
    from service.demo import run_demo

    with explained():
        raise typer.Exit(run_demo())


@app.command("version")
def show_version() -> None:
    """Print the version."""
    sys.stdout.write(f"kshot {version('kshot')}\n")


def _command_without(option: str) -> list[str]:
    """This process's own command line, but for an option."""
    return [sys.executable, "-m", "service", *(argument for argument in sys.argv[1:] if argument != option)]

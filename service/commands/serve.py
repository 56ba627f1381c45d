"""`kshot serve`: the models over HTTP."""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.console import explained, with_database

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from service.settings import Settings


class Engine(StrEnum):
    """What runs the app."""

    UVICORN = "uvicorn"
    RAY = "ray"


_NOT_STARTED = 3
"""Status of a process that could not listen."""
_FAILED = 70
"""Status of a process that can go on no longer, as when its device is lost: whoever started it should do so again."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless set.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8000 unless set, 0 for any free one.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of model folders; ./models unless set.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="uvicorn: this process; ray: replicas, on Ray Serve and PostgreSQL.")
    ] = Engine.UVICORN,
    replicas: Annotated[int | None, typer.Option(min=1, help="Of --engine ray, at least; 2 unless set.")] = None,
    supervise: Annotated[
        bool, typer.Option("--supervise", help="Start again what dies, where no container or init system does.")
    ] = False,
) -> None:
    """Serve the models over HTTP.

    Most options can also be set in the environment (KSHOT_HOST, KSHOT_PORT, KSHOT_MODELS_DIR, KSHOT_DATA_DIR,
    KSHOT_DEVICE, KSHOT_FLEET__REPLICAS), as can the limits (KSHOT_LIMITS__BODY_BYTES=…, see GET /version). Docs are at
    /docs.

        kshot serve --port 8080 --data-dir /var/lib/kshot
        KSHOT_DATABASE_URL=postgresql+asyncpg://… kshot serve --engine ray --replicas 4

    Exit code 0 after SIGTERM, 2 for a setting that cannot be, 3 where it could not listen, 70 where its device failed.
    """
    from service import logs
    from service.settings import Settings

    with explained():
        fleet = None if replicas is None else {"replicas": replicas}
        settings = Settings.given(
            host=host, port=port, models_dir=models_dir, data_dir=data_dir, device=device, fleet=fleet
        )
        logs.configure(style=settings.log_format, level=settings.log_level)
        if engine is Engine.RAY:
            if supervise:
                raise typer.BadParameter("Ray starts its replicas again by itself; leave --supervise out")
            _run_replicas(settings)
            return
        if replicas is not None:
            raise typer.BadParameter("--replicas are those of --engine ray; this engine is one process")
        if supervise:
            raise typer.Exit(_supervised())
        # uvicorn drains at SIGTERM and then raises it again: a stop that was asked for is no failure.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        _run(settings)


def _run_replicas(settings: "Settings") -> None:
    """Serve by Ray's replicas."""
    from service.ray_app import check
    from service.ray_serving import serve_on_ray

    check(settings)
    _ensure_keys(settings)
    serve_on_ray(settings)


def _ensure_keys(settings: "Settings") -> None:
    """Before anything starts, so that it is told in one line."""
    from service.access import is_loopback
    from service.first_key import ensure_keys
    from service.keys import Keys

    if not is_loopback(settings.host):
        with_database(settings.data_dir, lambda database: ensure_keys(settings, Keys(database)))


def _supervised() -> int:
    """This very command without its option, kept alive; the last process's status."""
    from service.supervisor import Supervisor

    without = (argument for argument in sys.argv[1:] if argument != "--supervise")
    return Supervisor([sys.executable, "-m", "service", *without]).run()


def _run(settings: "Settings") -> None:
    """Serve until it ends, and end with a status that says how."""
    from meta_core.device import pick_device
    from service.app import create_app
    from service.data_folder import held
    from service.drain import DrainingServer

    pick_device(settings.device)  # here too, so that one that is not there is told in one line
    with held(settings):  # here too, so that a second process is told in one line
        _ensure_keys(settings)
        asgi = create_app(settings)
        server = DrainingServer(_listening(asgi, settings), drain=asgi.state.drain)
        server.run()
        if not server.started:
            raise typer.Exit(_NOT_STARTED)
        if asgi.state.drain.failed:
            raise typer.Exit(_FAILED)


def _listening(asgi: "FastAPI", settings: "Settings") -> "uvicorn.Config":
    import uvicorn

    from service.protocol import BoundedHttp

    return uvicorn.Config(
        asgi,
        host=settings.host,
        port=settings.port,
        timeout_keep_alive=75,  # longer than balancers keep theirs: who closes first must be who asks
        timeout_graceful_shutdown=5,  # for what is left when the drain is over, to be told so
        log_config=None,
        access_log=False,
        http=BoundedHttp,
    )

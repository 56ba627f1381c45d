"""The same app as a Ray Serve deployment: replicas on one machine or many, which share a PostgreSQL database."""

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meta_core.errors import MissingExtra
from service import logs
from service.app import create_app
from service.errors import ReplacedTogether, UnsafeSettings
from service.settings import Fleet, Settings

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "kshot"
_RELOAD = "/v1/admin/models/reload"

_MOST_IN_FLIGHT = 1000
"""Requests in a replica. It judges by itself how many it can take, and says so in a problem document; Ray would have
more of them wait without a word."""


def application(settings: Settings) -> "Application":
    """What `serve.run` takes; replicas that run already are replaced one after the other.

    Raises:
        MissingExtra: Ray is not installed.
        UnsafeSettings: replicas cannot share what the settings name.
    """
    check(settings)
    from ray import serve

    fleet, own = settings.fleet, of_a_replica(settings)

    def build() -> Hosted:
        logs.configure(style=own.log_format, level=own.log_level)
        return Hosted(_of_many(create_app(own)))

    class Replica:
        app: Hosted

        async def check_health(self) -> None:
            """Asked by Ray, which replaces a replica that raises."""
            self.app.check_health()

    deployment = serve.deployment(
        name=NAME,
        **_size(fleet),
        max_ongoing_requests=_MOST_IN_FLIGHT,
        ray_actor_options={"num_cpus": fleet.cpus, "num_gpus": fleet.gpus},
        graceful_shutdown_timeout_s=settings.drain_seconds,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2,
        health_check_timeout_s=30,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return deployment(serve.ingress(build)(Replica)).bind()


def check(settings: Settings) -> None:
    """Whether several replicas can be made of the settings.

    Raises:
        UnsafeSettings: replicas cannot share what the settings name.
        MissingExtra: Ray is not installed.
    """
    if settings.database_url is None:
        raise UnsafeSettings(
            "replicas share what they store, and KSHOT_DATABASE_URL is unset: give them a PostgreSQL database, as "
            "postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE (SQLite in the data folder is for one process)"
        )
    if settings.metrics_port is not None:
        raise UnsafeSettings(
            f"replicas of one machine cannot all listen on KSHOT_METRICS_PORT={settings.metrics_port}; leave it unset"
        )
    if find_spec("ray") is None:
        raise MissingExtra("replicas are Ray's, which is not installed; install kshot[ray]")


def of_a_replica(settings: Settings) -> Settings:
    """The settings of each: with the cores and the GPUs that Ray gives it, and paths that hold in any folder."""
    fleet = settings.fleet
    changes: dict[str, Any] = {"models_dir": settings.models_dir.resolve(), "data_dir": settings.data_dir.resolve()}
    if "threads" not in settings.model_fields_set:
        changes["threads"] = max(1, int(fleet.cpus))
    if settings.device == "auto" and not fleet.gpus:
        changes["device"] = "cpu"
    return settings.model_copy(update=changes)


def _size(fleet: Fleet) -> dict[str, Any]:
    if fleet.most_replicas is None:
        return {"num_replicas": fleet.replicas}
    scaling = {
        "min_replicas": fleet.replicas,
        "max_replicas": fleet.most_replicas,
        "target_ongoing_requests": fleet.requests_per_replica,
    }
    return {"autoscaling_config": scaling}


def _of_many(app: FastAPI) -> FastAPI:
    """An app that refuses to take up models alone: nobody could say which replicas have."""

    async def refuse(_: Request) -> Response:
        raise ReplacedTogether(
            "this is one of several replicas and would take up models alone; to replace all of them, one after the "
            "other, send SIGHUP to `kshot serve --engine ray`, or where Ray was running before, give the command again"
        )

    app.router.routes.insert(0, Route(_RELOAD, refuse, methods=["POST"], include_in_schema=False))
    return app


class Hosted:
    """The app within Ray Serve, which runs its start and end but hands to no request what the start yields.

    It has started when its models are loaded: no request comes to a replica that knows none.

    Args:
        app: the service's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            self._state = scope["state"]
            await self._app(scope, receive, self._once_loaded(send))
        else:
            await self._app({**scope, "state": dict(self._state)}, receive, _without_id(send))

    def check_health(self) -> None:
        """Whether this replica can go on.

        Raises:
            RuntimeError: its device is lost.
        """
        if self._state["services"].engine.lost:
            raise RuntimeError(f"the device is lost: {self._state['services'].engine.lost}")

    def _once_loaded(self, send: Send) -> Send:
        async def told(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                catalog = self._state["services"].catalog
                while catalog.loaded_from is None:  # noqa: ASYNC110 - a thread loads
                    await asyncio.sleep(0.05)
                if reasons := catalog.reasons():
                    message = {"type": "lifespan.startup.failed", "message": "; ".join(reasons)}
            await send(message)

        return told


def _without_id(send: Send) -> Send:
    """Leave the answer's `X-Request-ID` to Ray's proxy, which adds the one it saw, or made, to every answer."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [header for header in message["headers"] if header[0].lower() != b"x-request-id"]
            message = {**message, "headers": headers}
        await send(message)

    return told

"""The app factory."""

import asyncio
import gc
import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import TypedDict

from fastapi import FastAPI
from prometheus_client import start_http_server
from starlette.middleware.cors import CORSMiddleware

from meta_core.device import pick_device
from service import routes
from service.access import Guard, allowed_hosts, always_keyed, cors
from service.admission import Lane
from service.authentication import Authenticated
from service.bodies import form_limits
from service.catalog import Catalog
from service.data_folder import held
from service.database import open_database
from service.decoding import Decoder
from service.dependencies import Services
from service.docs_pages import add_docs
from service.doorkeeper import Doorkeeper
from service.drain import Drain, InFlight
from service.encoded import EncodedCache
from service.engine import Engine
from service.errors import UnsafeSettings
from service.first_key import ensure_keys
from service.keys import Keys
from service.metrics import Metrics
from service.middleware import BodyLimit, RequestId, Watch
from service.openapi import corrected_openapi
from service.patience import Patient
from service.problems import add_problem_handlers
from service.receipts import Receipts
from service.reporting import Reporter
from service.settings import Settings
from service.start_page import add_start_page
from service.store import Store
from service.sweeping import sweep_on
from service.timing import ServerTiming
from service.turns import Line, Turns

logger = logging.getLogger(__name__)

_DESCRIPTION = """
Five pictures of each thing, a classifier in the same request: send labelled examples, the service adapts a
meta-trained model to them, and classify queries, by a stored classifier or in the very same call.

Every error is an `application/problem+json` document (RFC 9457) that says what came, what was expected and what to
do; `code` is stable, for programs. Limits are in `GET /version`.
"""

_TAGS = [
    {"name": "classifiers", "description": "Create from labelled pictures, list, get, delete."},
    {"name": "examples", "description": "Add to a classifier, relabel, remove; the others are not encoded again."},
    {"name": "classify", "description": "By a stored classifier, or adapting in the same call."},
    {"name": "regress", "description": "Numbers for labels: adapt to targets and answer in the same call."},
    {"name": "insight", "description": "Evaluate a classifier on labelled pictures; look at its examples."},
    {"name": "transfer", "description": "Take a classifier along as a file, and bring one."},
    {"name": "models", "description": "What the loaded models take, and how accurate they are."},
    {"name": "admin", "description": "For operators."},
    {"name": "health", "description": "For supervisors and people who wonder."},
]


class State(TypedDict):
    """What the lifespan gives every request."""

    services: Services


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI app.

    Args:
        settings: where they come from if not from the environment.
    """
    settings = settings or Settings()
    forms = form_limits(settings.limits)
    metrics = Metrics()
    drain = Drain(notice_seconds=settings.drain_notice_seconds, max_seconds=settings.drain_seconds)

    app = FastAPI(
        title="kshot",
        summary="Few-shot image classification: a handful of pictures in, a classifier out, in one request.",
        description=_DESCRIPTION,
        version=version("kshot"),
        openapi_tags=_TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan(settings, metrics, drain),
        docs_url=None,
        redoc_url=None,
        form_limits={"max_files": forms["max_files"], "max_fields": forms["max_fields"]},
    )
    for module in pkgutil.iter_modules(routes.__path__):
        app.include_router(importlib.import_module(f"{routes.__name__}.{module.name}").router)
    add_docs(app)
    add_start_page(app)
    add_problem_handlers(app)
    app.state.drain = drain
    app.add_middleware(BodyLimit, max_bytes=settings.limits.body_bytes)
    app.add_middleware(Patient, limits=settings.limits, drain=drain)
    app.add_middleware(Authenticated)
    app.add_middleware(InFlight, drain=drain)
    app.add_middleware(Guard, hosts=allowed_hosts(settings), origins=settings.allowed_origins)
    app.add_middleware(Watch, metrics=metrics)
    app.add_middleware(Doorkeeper, metrics=metrics)
    if settings.allowed_origins:  # outside of what refuses: a page is to read that as well
        app.add_middleware(CORSMiddleware, **cors(settings.allowed_origins))
    app.add_middleware(RequestId)
    app.add_middleware(ServerTiming)
    app.openapi = lambda: corrected_openapi(app, keys_needed=always_keyed(settings))  # type: ignore[method-assign]

    return app


def _lifespan(
    settings: Settings, metrics: Metrics, drain: Drain
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        with held(settings), _metrics_port(settings, metrics):
            services = await _services(settings, metrics, drain)
            metrics.watch(services)
            services.engine.start()
            # In the background, so that /livez answers from the first moment.
            loading = asyncio.create_task(_load(services))
            sweeping = asyncio.create_task(sweep_on(services.store, every_seconds=settings.sweep_seconds))
            try:
                yield {"services": services}
            finally:
                sweeping.cancel()
                await asyncio.gather(loading, sweeping, return_exceptions=True)
                await services.engine.stop()
                services.catalog.close()
                services.decoder.close()
                services.reporter.close()
                await services.store.close()

    return lifespan


@contextmanager
def _metrics_port(settings: Settings, metrics: Metrics) -> Iterator[None]:
    """`/metrics` on a port of its own, where the settings say so."""
    if settings.metrics_port is None:
        yield
        return
    server, thread = start_http_server(settings.metrics_port, settings.metrics_host, metrics.registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _services(settings: Settings, metrics: Metrics, drain: Drain) -> Services:
    limits = settings.limits
    database = await open_database(settings)
    keys = Keys(database)
    try:
        await ensure_keys(settings, keys)
    except UnsafeSettings:
        await database.close()
        raise
    receipts = Receipts(database, seconds=settings.idempotency_seconds, most=limits.idempotency_keys)
    return Services(
        settings=settings.model_copy(update={"device": pick_device(settings.device)}),
        catalog=Catalog(default=settings.default_model),
        decoder=Decoder(threads=settings.threads, limits=limits, metrics=metrics),
        engine=Engine(
            max_pictures=limits.waiting_pictures,
            max_waiting_seconds={
                Lane.CREATE: limits.waiting_seconds,
                Lane.CLASSIFY: limits.classify_waiting_seconds,
            },
            max_seconds=limits.request_seconds,
            metrics=metrics,
            encoded=EncodedCache(max_bytes=settings.encoded_cache_bytes),
            on_lost=drain.fail,
        ),
        reporter=Reporter(threads=settings.threads),
        store=Store(database, receipts, state_cache_bytes=settings.state_cache_bytes),
        keys=keys,
        turns=Turns(),
        metrics=metrics,
        drain=drain,
        exports=Line(most_waiting=4),
    )


async def _load(services: Services) -> None:
    settings = services.settings
    await asyncio.to_thread(
        services.catalog.load, settings.models_dir, device=settings.device, threads=settings.threads
    )
    # What is there now stays: looking through it again and again for garbage took a quarter of the time of small calls.
    gc.collect()
    gc.freeze()
    if not services.catalog.ready:
        logger.error("no request can be answered: %s", "; ".join(services.catalog.reasons()))

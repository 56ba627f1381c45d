"""`kshot serve --engine ray`: a Ray of its own until it is asked to end, or the replicas of one that runs."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator

import psutil

from service.errors import NotReady
from service.ray_app import NAME, application, check
from service.settings import Settings

_LAST_WORDS_SECONDS = 10
"""For Ray's processes to end, some of which write to its folder until they have."""

logger = logging.getLogger(__name__)

_ENVIRONMENT = {
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell Ray's makers
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.ray_proxy:middleware",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # where starting is slow Serve would end its own proxy
}


def serve_on_ray(settings: Settings) -> None:
    """Start replicas, or replace those that run one after the other.

    Where the settings name a running Ray they stay there when this returns. Else a Ray is started that ends, with all
    it wrote, at SIGTERM or an interrupt; SIGHUP replaces its replicas, as when models have changed.

    Raises:
        MissingExtra: Ray is not installed.
        UnsafeSettings: replicas cannot share what the settings name.
        NotReady: the replicas could not start; their log says why.
    """
    check(settings)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if settings.fleet.address is not None:
        with _connected(settings.fleet.address):
            _deploy(settings)
        return
    replace = threading.Semaphore(0)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, lambda *_: replace.release())
    with _ray_of_its_own():
        _deploy(settings)
        while True:
            replace.acquire()
            try:
                _deploy(settings)
            except NotReady:
                logger.exception("the replicas were not replaced, those that answer go on")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    ray.init(address=address, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _ray_of_its_own() -> Iterator[None]:
    """Until SIGTERM or an interrupt, which end the process when its replicas have finished what is in flight."""
    import ray
    from ray import serve

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            include_dashboard=False,
            logging_level=logging.WARNING,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # Ray has set its own
            signal.signal(number, _end)
        try:
            yield
        finally:
            started = psutil.Process().children(recursive=True)
            with contextlib.ExitStack() as stack:
                stack.callback(psutil.wait_procs, started, timeout=_LAST_WORDS_SECONDS)
                stack.callback(ray.shutdown)
                stack.callback(serve.shutdown)
                serve.delete(NAME)  # what is in flight is finished before `shutdown` takes the proxies away


def _end(*_: object) -> None:
    sys.exit(0)


def _deploy(settings: Settings) -> None:
    from ray import serve

    try:
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": settings.host, "port": settings.port, "keep_alive_timeout_s": 75},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
        serve.run(application(settings), name=NAME, route_prefix="/")
    except (RuntimeError, TimeoutError) as error:  # Serve has tried several times
        raise NotReady(f"the replicas did not start, the log above says why ({error})") from error

"""Whether the address is free to listen on."""

import contextlib
import socket

import httpx

from service.access import is_loopback
from service.doctor.finding import Finding
from service.settings import Settings

_PRIVILEGED = 1024
_ANSWER_SECONDS = 2.0


def address(settings: Settings) -> Finding:
    """Taken by kshot is no fault: the doctor may be asked beside a running service."""
    host, port = settings.host, settings.port
    name = f"{host}:{port}"
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        advice = "set KSHOT_HOST to an address of this machine, 127.0.0.1 or 0.0.0.0"
        return Finding("address", name, "wrong", f"{host} is no address: {error.strerror}", advice)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except PermissionError:
            advice = f"ports below {_PRIVILEGED} are for root: set KSHOT_PORT=8000 and put a proxy in front"
            return Finding("address", name, "wrong", "may not be listened on", advice)
        except OSError as error:
            return _taken(settings, name, error)
    found = "free" if is_loopback(host) else f"free, and open to other machines (KSHOT_AUTH={settings.auth})"
    return Finding("address", name, "ok", found)


def _taken(settings: Settings, name: str, error: OSError) -> Finding:
    host = settings.host if is_loopback(settings.host) else "127.0.0.1"
    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
        told = httpx.get(f"http://{host}:{settings.port}/version", timeout=_ANSWER_SECONDS).json()
        found = f"kshot {told['version']} answers there; its default model is {told['default_model']}"
        return Finding("address", name, "ok", found)
    advice = "stop what listens there, or set KSHOT_PORT to another port (0: any free one)"
    return Finding("address", name, "wrong", f"cannot be listened on: {error.strerror}", advice)

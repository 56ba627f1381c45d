"""By which name the service may be asked, and from which web pages: what a browser would do for a stranger's page.

A page of any site can make a browser post here, also to loopback, and with a name of its own that it points to this
machine (DNS rebinding) it could read the answers. Neither works where the name and the page are checked.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ForeignOrigin, ServiceError, UnknownHost
from service.problems import BAD_REQUEST, error_response, problem_response
from service.settings import Settings

ANY = "*"

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)
_ASKED_HEADERS = (
    "Authorization",
    "X-API-Key",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "X-Request-ID",
    "X-Request-Timeout",
)
_TOLD_HEADERS = (
    "Location",
    "ETag",
    "Retry-After",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "X-Request-ID",
    "Server-Timing",
)
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address that is bound so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def always_keyed(settings: Settings) -> bool:
    """Whether requests must show a key from the first one on."""
    return settings.auth == "keys" or (settings.auth == "auto" and not is_loopback(settings.host))


def allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """The names of `KSHOT_ALLOWED_HOSTS`, else this machine's own. Addresses are taken anyway: nobody rebinds one.

    Where keys are needed any name is taken: a page that is read by a name of its own has no key.
    """
    if settings.allowed_hosts:
        return settings.allowed_hosts
    if always_keyed(settings):
        return (ANY,)
    return ("localhost", settings.host.lower(), socket.gethostname().lower())


def cors(origins: Sequence[str]) -> dict[str, Any]:
    """What browsers are told, so that pages of these origins may call the service and read its answers."""
    return {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "allow_headers": _ASKED_HEADERS,
        "expose_headers": _TOLD_HEADERS,
    }


class Guard:
    """Refuses requests by a name that is not this service's, and writes that another site's page has a browser send.

    Args:
        app: what is guarded.
        hosts: names taken in `Host`, `*` for any.
        origins: of pages on other hosts that may write, as `https://example.org`.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self.app = app
        self.hosts, self.origins = frozenset(hosts), frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answerer = self.app
        if len(headers.getlist("host")) != 1 and scope["http_version"] != "1.0":  # RFC 9112, section 3.2
            detail = f"{len(headers.getlist('host'))} Host headers came; expected one, the name that the client asked"
            answerer = problem_response(Request(scope), BAD_REQUEST, detail, headers={"Connection": "close"})
        elif error := self._unknown_host(headers.get("host")) or self._foreign(scope["method"], headers):
            answerer = error_response(Request(scope), error)
        await answerer(scope, receive, send)

    def _unknown_host(self, host: str | None) -> ServiceError | None:
        if host is None or ANY in self.hosts:
            return None
        found = _HOST.fullmatch(host)
        name = found[1].lower().removesuffix(".") if found else ""
        if name in self.hosts or name.endswith(".localhost") or _is_address(name.strip("[]")):
            return None
        return UnknownHost(
            f"the request came for the host {host[:100]!r}, which this service does not answer for (so that no web "
            "page reads it by a name of its own); ask it by its address, or add the name to KSHOT_ALLOWED_HOSTS"
        )

    def _foreign(self, method: str, headers: Headers) -> ServiceError | None:
        """The error of a write that a page of another site has a browser send; other clients send neither header."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if method in _SAFE or origin in self.origins:
            return None
        if site is None and (origin is None or _host_of(origin) == headers.get("host", "").lower()):
            return None
        if site in ("same-origin", "none"):
            return None
        return ForeignOrigin(
            f"a browser sent this {method[:20]} for a page of another site ({(origin or site or '')[:100]!r}); such "
            "pages may not write here: add the page's origin to KSHOT_ALLOWED_ORIGINS if it may"
        )


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

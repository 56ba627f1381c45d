"""Who sent a request, and whether they may: asked before anything of it is read."""

from typing import TYPE_CHECKING

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import always_keyed, is_loopback
from service.callers import Caller, needed_scope
from service.errors import InvalidKey, MissingKey, MissingScope, RateLimited, ServiceError, UnsafeSettings
from service.keys import Keys
from service.problems import error_response, path_of
from service.rates import Rates
from service.settings import Settings

if TYPE_CHECKING:
    from service.dependencies import Services

_REALM = 'Bearer realm="kshot"'


async def keys_are_needed(settings: Settings, keys: Keys) -> bool:
    """Whether a request must show a key: unless the settings say, off loopback, and where one was ever made."""
    return always_keyed(settings) or (settings.auth == "auto" and await keys.any_made())


async def check_exposure(settings: Settings, keys: Keys) -> None:
    """Do not open a service that lets strangers in, unless that was said aloud.

    Raises:
        UnsafeSettings: keys are needed, as the address is not loopback, and there are none.
    """
    if settings.auth != "off" and not is_loopback(settings.host) and not await keys.any_made():
        raise UnsafeSettings(
            f"bound to {settings.host} it needs keys, and there are none: make one with `kshot keys create NAME`, bind "
            "it to 127.0.0.1 (KSHOT_HOST), or set KSHOT_AUTH=off to let everybody in"
        )


class Authenticated:
    """Finds the caller of a request, `request.state.caller`, or refuses it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        needed = needed_scope(scope["method"], path_of(scope))
        told: dict[str, str] = {}
        try:
            caller = Caller() if needed is None else await self._caller(scope)
            if needed is not None and needed not in caller.scopes:
                raise MissingScope(
                    f"the key has the scopes {', '.join(sorted(caller.scopes))}; {needed.value} is needed here",
                    headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{needed.value}"'},
                )
            told = self._count(scope, caller)
        except ServiceError as error:
            await error_response(Request(scope), error)(scope, receive, send)
            return
        scope["state"]["caller"] = caller

        async def send_told(message: Message) -> None:
            if told and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        await self.app(scope, receive, send_told)

    async def _caller(self, scope: Scope) -> Caller:
        services: Services = scope["state"]["services"]
        if not await keys_are_needed(services.settings, services.keys):
            return Caller()
        headers = Headers(scope=scope)
        kind, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        if not text:
            raise MissingKey(
                "no key came; send one as `Authorization: Bearer KEY` or as `X-API-Key: KEY`",
                headers={"WWW-Authenticate": _REALM},
            )
        try:
            return await services.keys.caller(text)
        except InvalidKey as error:
            error.headers["WWW-Authenticate"] = f'{_REALM}, error="invalid_token"'
            raise

    def _count(self, scope: Scope, caller: Caller) -> dict[str, str]:
        """The headers that tell what is left to a key that may not ask as often as it likes."""
        services: Services = scope["state"]["services"]
        per_minute = caller.requests_per_minute or services.settings.limits.requests_per_minute
        if caller.key_id is None or per_minute is None:
            return {}
        left = self._rates.take(caller.key_id, per_minute=per_minute)
        if left.wait_seconds:
            raise RateLimited(
                f"the key has sent more than its {per_minute} requests a minute; ask again in {left.wait_seconds} s",
                retry_after_seconds=left.wait_seconds,
                headers=left.headers(),
            )
        return left.headers()

"""Bodies read strictly: JSON and forms as their standards have them, whole, and of a bounded number of values."""

import codecs
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypedDict, cast

import orjson
from fastapi import HTTPException, Request, Response, params
from fastapi.routing import APIRoute
from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from service.dependencies import Services
from service.errors import InvalidRequest
from service.settings import Limits

_LARGE_BYTES = 2**20
_FORM = "Expected multipart/form-data with its boundary, and a part for each file, to the last."


class WholeForm(MultiPartParser):
    """Starlette's parser, which takes a form that is cut off for one with fewer files."""

    ended = False

    def on_end(self) -> None:
        """The closing boundary came."""
        self.ended = True

    async def parse(self) -> FormData:
        """The form.

        Raises:
            MultiPartException: it is not one, or not all of it came.
        """
        form = await super().parse()
        if not self.ended:
            await form.close()
            raise MultiPartException("It ends before its closing boundary: a part of it is missing.")
        return form


class StrictRequest(Request):
    """JSON as its standard has it: UTF-8, no NaN, no infinity, bounded depth; forms in UTF-8, and whole."""

    async def json(self) -> Any:
        """The body, parsed once.

        Raises:
            json.JSONDecodeError: not such JSON.
            HTTPException: more values than any request within the limits has.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            most = _most_values(cast(Services, self.state.services).settings.limits)
            self._json = _parsed(body, most)
        return self._json

    async def _get_form(self, **limits: Any) -> FormData:
        if self._form is None:
            _check_charset(self)
            try:
                self._form = await WholeForm(self.headers, self.stream(), **limits).parse()
            except MultiPartException as error:
                if "maximum" in error.message.lower():
                    raise HTTPException(413, f"the form is over a limit: {error.message}") from error
                raise HTTPException(400, f"the form cannot be read: {error.message} {_FORM}") from error
        return self._form


class StrictRoute(APIRoute):
    """A route that reads its body by `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given a strict request."""
        handler, body = super().get_route_handler(), self.body_field

        async def strict(request: Request) -> Response:
            if body is not None:
                _check_content_type(request, form=isinstance(body.field_info, params.Form))
            return await self.respond(handler, StrictRequest(request.scope, request.receive))

        return strict

    async def respond(self, handler: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        """Answer by the route's handler; a place for what else a kind of route does."""
        return await handler(request)


class FormLimits(TypedDict):
    """Of Starlette's parser."""

    max_files: int
    max_fields: int


def form_limits(limits: Limits) -> FormLimits:
    """Those of the service."""
    return {"max_files": limits.files, "max_fields": limits.files + 16}


def _parsed(body: bytes, most_values: int) -> Any:
    # Each value costs a hundred times its byte, and a wrong one an error on top: 10 MB of zeros took 6 GB.
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > most_values:
        raise HTTPException(413, f"the body has about {values} JSON values; at most {most_values} are taken")
    if len(body) < _LARGE_BYTES:
        return orjson.loads(body)
    try:  # a quarter of the time on long strings, in which the event loop stands still; but it reads 1e999 as infinity
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None


def _most_values(limits: Limits) -> int:
    return 8 * (limits.examples + limits.files) + limits.metadata_bytes + 10_000


def _check_content_type(request: Request, *, form: bool) -> None:
    given = request.headers.get("content-type")
    kind = (given or "").partition(";")[0].strip().lower()
    json = kind.startswith("application/") and kind.endswith(("/json", "+json"))
    if not (kind == "multipart/form-data" if form else json):
        came = "without a Content-Type" if given is None else f"as {given[:100]!r}"
        expected = "multipart/form-data" if form else "application/json"
        raise InvalidRequest(f"the body came {came}; expected {expected}")


def _check_charset(request: Request) -> None:
    # Starlette decodes with whatever codec of Python is named; some make text that cannot be written again.
    _, options = parse_options_header(request.headers["content-type"])
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    try:
        known = codecs.lookup(charset).name in ("utf-8", "ascii")
    except (LookupError, ValueError):
        known = False
    if not known:
        raise HTTPException(400, f"the form came with charset {charset[:40]!r}; expected UTF-8")

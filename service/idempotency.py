"""`Idempotency-Key`: a creating request that is sent again creates nothing again and is given the first answer."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

import orjson
from fastapi import Depends, Header, Request, Response
from pydantic import WithJsonSchema
from starlette.datastructures import FormData, UploadFile

from service.bodies import StrictRoute, form_limits
from service.dependencies import Services, caller_of, in_time
from service.described import etag
from service.errors import IdempotencyMismatch, InvalidRequest
from service.receipts import Claim, Receipt, ReceiptTaken, digest
from service.schemas import ClassifierOut

_KEY = re.compile("[!-~]{1,255}")

Handler = Callable[[Request], Awaitable[Response]]


async def _documented(
    idempotency_key: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "pattern": f"^{_KEY.pattern}$"}),
        Header(  # without an example, which Swagger UI would send with every creation
            alias="Idempotency-Key",
            max_length=255,
            description="Yours, new for each creation: sent again with the same body, nothing is created again and "
            "the first answer is given.",
        ),
    ] = None,
) -> None:
    """In the document; the header is read by the route, before anything else."""


IDEMPOTENT: list[Any] = [Depends(_documented)]
"""The `dependencies` of a route that creates."""


class CreatingRoute(StrictRoute):
    """A route that, where it answers 201 and the request has a key, answers a repetition as the first time."""

    async def respond(self, handler: Handler, request: Request) -> Response:
        """See `StrictRoute`."""
        key = request.headers.get("idempotency-key")
        if key is None or self.status_code != 201:
            return await handler(request)
        if not _KEY.fullmatch(key):
            raise InvalidRequest("the Idempotency-Key is to be 1 to 255 printable ASCII characters without blanks")
        services = cast(Services, request.state.services)
        tenant = (await caller_of(request)).tenant
        async with in_time(request) as waiting, services.turns.of(("key", tenant, key)):
            waiting.reschedule(None)  # from here on the work looks to its time itself
            claim = Claim(tenant, key, await _fingerprint(request, services))
            return await _once(services, claim, handler, request)


def receipt_for(request: Request, told: ClassifierOut) -> dict[str, Any] | None:
    """What is to be stored together with a creation, so that a repetition is answered the same; None without a key."""
    claim: Claim | None = getattr(request.state, "claim", None)
    if claim is None:
        return None
    return claim.row(status=201, headers=creation_headers(told), body=told.model_dump_json().encode())


def creation_headers(told: ClassifierOut) -> dict[str, str]:
    """Those of the answer to a creation."""
    return {"Location": f"/v1/classifiers/{told.id}", "ETag": etag(told.revision)}


async def _once(services: Services, claim: Claim, handler: Handler, request: Request) -> Response:
    receipts = services.store.receipts
    kept = await receipts.find(claim.tenant, claim.key)
    if kept is None:
        request.state.claim = claim
        try:
            return await handler(request)
        except ReceiptTaken:  # by another replica, at the same time
            kept = await receipts.find(claim.tenant, claim.key)
            if kept is None:
                raise
    elif isinstance(form := getattr(request, "_form", None), FormData):
        await form.close()
    return _again(claim, kept)


def _again(claim: Claim, kept: Receipt) -> Response:
    if kept.request_sha256 != claim.request_sha256:
        raise IdempotencyMismatch(
            "this Idempotency-Key came before, with another request; take a new key for each creation"
        )
    headers = kept.headers | {"Idempotency-Replayed": "true"}
    return Response(kept.body, kept.status, headers=headers, media_type="application/json")


async def _fingerprint(request: Request, services: Services) -> bytes:
    """The same for requests that ask for the same, whatever the order of JSON fields or the boundary of a form."""
    place = [request.method.encode(), request.url.path.encode()]
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        form = await request.form(**form_limits(services.settings.limits))
        return digest(*place, *[part for item in form.multi_items() for part in await _field(*item)])
    body = await request.body()
    try:
        content = await asyncio.to_thread(orjson.dumps, await request.json(), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        content = body  # the route says what is wrong with it
    return await asyncio.to_thread(digest, *place, content)


async def _field(name: str, value: UploadFile | str) -> list[bytes]:
    if isinstance(value, str):
        return [name.encode(), b"text", value.encode()]
    content = await value.read()
    await value.seek(0)
    return [name.encode(), b"file", (value.filename or "").encode(), content]

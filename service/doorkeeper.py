"""Refuses, before a body is read, what could not be worked on anyway, at as little cost as may be."""

import asyncio
import logging
import re
import time

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import Knock, Lane
from service.errors import ServiceError
from service.metrics import Metrics
from service.problems import error_response, path_of

logger = logging.getLogger(__name__)

_WORK = re.compile(r"/v1/classif(y|iers)(/|$)")
_BY_A_CLASSIFIER = re.compile(r"/v1/classifiers/[^/]+/(classify(/upload)?|evaluate(/upload)?)")
_TELL_SECONDS = 1.0


class Doorkeeper:
    """Counts requests for work that come in, and refuses those before which there is too much.

    It stands before what checks and watches requests, and logs those it refused in one line a second: under overload
    these are most, and what each of them costs is lost to the others.

    Args:
        app: that answers.
        metrics: are told of each that was refused.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics
        self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _WORK.match(path := path_of(scope)):
            await self.app(scope, receive, send)
            return
        began, lane = time.perf_counter(), Lane.CLASSIFY if _BY_A_CLASSIFIER.fullmatch(path) else Lane.CREATE
        try:
            knock = scope["state"]["services"].engine.knock(lane)
        except ServiceError as error:
            await error_response(Request(scope), error)(scope, receive, send)
            self._count(scope["state"]["problem_code"], time.perf_counter() - began)
            return
        scope["state"]["knock"] = knock
        try:
            await self.app(scope, _watched(receive, knock), send)
        finally:
            knock.let_go()

    def _count(self, code: str, seconds: float) -> None:
        self.metrics.answered(route="refused", method="POST", status=503, seconds=seconds)
        self.metrics.shed(code)
        if not self._refused:
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell)
        self._refused += 1

    def _tell(self) -> None:
        fields = {"count": self._refused, "seconds": _TELL_SECONDS}
        logger.warning("refused %d requests: overloaded", self._refused, extra={"fields": fields})
        self._refused = 0


def _watched(receive: Receive, knock: Knock) -> Receive:
    async def receive_watched() -> Message:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            knock.body_came()
        return message

    return receive_watched

"""Every non-2xx answer as `application/problem+json`, the framework's own included."""

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from meta_core.errors import MetaCoreError
from service.errors import FieldError, Kind, ServiceError, kind_of
from service.schemas import Problem, ProblemPart

logger = logging.getLogger(__name__)

BAD_REQUEST = Kind(400, "bad_request", "The request cannot be parsed")

_HTTP_KINDS = {
    400: BAD_REQUEST,
    404: Kind(404, "not_found", "There is nothing here"),
    405: Kind(405, "method_not_allowed", "The path has no such method"),
    413: Kind(413, "too_large", "The request is over a limit"),
}
# What pydantic and FastAPI say in terms of Python, said in terms of the request.
_PLAINLY = {
    "model_attributes_type": "should be a JSON object",
    "dict_type": "should be a JSON object",
    "list_type": "should be a JSON array",
    "recursion_loop": "is nested too deeply",
    "recursion_depth_exceeded": "is nested too deeply",
}
_INTERNAL = Kind(500, "internal_error", "Something went wrong here")


def problem_document(kind: Kind, detail: str, *, errors: list[FieldError] | None = None, request_id: str) -> Problem:
    """What every error is answered with."""
    return Problem(
        type=f"urn:kshot:problem:{kind.code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=kind.code,
        errors=[ProblemPart(loc=list(part.loc), msg=part.msg, type=part.type) for part in errors or []],
        request_id=request_id,
    )


def problem_response(
    request: Request,
    kind: Kind,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem document as an answer."""
    request_id = getattr(request.state, "request_id", "")
    request.state.problem_code = kind.code  # for the log and the metrics
    # The outermost error handler answers past all middleware, so the id is set here too.
    return Response(
        orjson.dumps(problem_document(kind, detail, errors=errors, request_id=request_id).model_dump()),
        status_code=kind.status,
        headers={"X-Request-ID": request_id, **(headers or {})},
        media_type="application/problem+json",
    )


def path_of(scope: Scope) -> str:
    """The path that routes are matched against: without the prefix under which a proxy serves the app."""
    root = str(scope.get("root_path", "")).rstrip("/")
    path = str(scope["path"])
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def route_of(scope: Scope) -> str:
    """The declared path of a request that has been routed, `/v1/models/{model}`: safe to log, and one of few."""
    if "route" in scope:
        return str(scope["route"].path)
    return path_of(scope) if "endpoint" in scope and not scope.get("path_params") else "unmatched"


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    app.add_exception_handler(ServiceError, _known)
    app.add_exception_handler(MetaCoreError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)


def error_response(request: Request, error: Exception) -> Response:
    """A known error as an answer."""
    kind, errors, headers = kind_of(error), [], {}
    if isinstance(error, ServiceError):
        errors, headers = error.errors, dict(error.headers)
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(error.retry_after_seconds)
    if kind.status >= 500 and not headers:
        _log(request, error)
    return problem_response(request, kind, str(error), errors=errors, headers=headers)


async def _known(request: Request, error: Exception) -> Response:
    return error_response(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (narrows the handler's declared type)
    # The input itself is left out: it may be large, or somebody's picture.
    parts = [_part(part) for part in error.errors()[:20]]
    if parts and parts[0].type == "json_invalid":
        reason = (error.errors()[0].get("ctx") or {}).get("error", "it cannot be parsed")
        kind = Kind(400, "invalid_json", "The body is not JSON")
        return problem_response(request, kind, f"the body is not UTF-8 encoded JSON: {reason}", errors=parts)
    said = "; ".join(f"{'.'.join(str(place) for place in part.loc)}: {part.msg}" for part in parts[:3])
    more = f" (and {len(error.errors()) - 3} more)" if len(error.errors()) > 3 else ""
    kind = Kind(422, "invalid_request", "The request does not fit its schema")
    return problem_response(request, kind, f"{said}{more}; /docs shows what is expected", errors=parts)


def _part(error: dict[str, Any]) -> FieldError:
    """One of pydantic's errors; a place is the client's own keys, so it is cut."""
    loc, kind, msg = tuple(error["loc"]), str(error["type"]), str(error["msg"])
    if loc == ("body",) and kind == "missing":
        msg = "is empty; expected a JSON object"
    if "Expected UploadFile" in msg:
        msg = "should be a file and came as text; give the part a filename"
    places = [place[:80] if isinstance(place, str) else place for place in loc[:10]]
    return FieldError((*places, "…") if len(loc) > 10 else tuple(places), _PLAINLY.get(kind, msg), kind)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (narrows the handler's declared type)
    if isinstance(error.__cause__, ServiceError):  # raised while the body was read, which FastAPI calls a 400
        answer = error_response(request, error.__cause__)
        answer.headers["Connection"] = "close"  # the rest of the body is not read
        return answer
    kind = _HTTP_KINDS.get(error.status_code, Kind(error.status_code, "http_error", "The request was refused"))
    detail, headers = str(error.detail), dict(error.headers or {})
    if kind.status == 404:
        detail = f"no route has the path {request.url.path[:200]!r}; /docs lists them all"
    if kind.status == 405:
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"{request.method} is not a method of {request.url.path[:200]!r}; it has {headers['Allow']}"
    return problem_response(request, kind, detail, headers=headers)


async def _unknown(request: Request, error: Exception) -> Response:
    _log(request, error)
    return problem_response(
        request, _INTERNAL, "an error that was not foreseen; request_id finds it in the service's log"
    )


def _log(request: Request, error: Exception) -> None:
    request_id, route = getattr(request.state, "request_id", ""), route_of(request.scope)
    fields = {"request_id": request_id, "method": request.method, "route": route}
    logger.error(
        "request %s: %s %s failed", request_id, request.method, route, exc_info=error, extra={"fields": fields}
    )


def _methods(request: Request) -> list[str]:
    """All methods of a path; Starlette lists those of its first matching route alone.

    Of the path as it is written, if a route is: `/v1/classifiers/upload` is no classifier that could be deleted.
    """
    # FastAPI keeps an included router as one route, which does not tell which of its own matches.
    routes = [
        route
        for entry in request.app.routes
        for route in (entry.original_router.routes if hasattr(entry, "original_router") else [entry])
    ]
    parameters: dict[str, int] = {}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        found = [route.matches({**request.scope, "method": method, "path_params": {}}) for route in routes]
        counts = [len(scope.get("path_params", {})) for match, scope in found if match is Match.FULL]
        if counts:
            parameters[method] = min(counts)
    return [method for method, count in parameters.items() if count == min(parameters.values())]

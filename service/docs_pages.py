"""Swagger UI and Redoc from this host alone: FastAPI's own pages load both, and an icon, from other hosts."""

import hashlib
from collections.abc import Callable
from importlib import resources

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html

_FAVICON_PATH = "/favicon.ico"
_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#17624f"/>'
    '<g fill="#fff"><circle cx="9" cy="9" r="3"/><circle cx="23" cy="9" r="3"/><circle cx="16" cy="16" r="3"/>'
    '<circle cx="9" cy="23" r="3"/><circle cx="23" cy="23" r="3"/></g></svg>'
)
_REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_DAY = "public, max-age=86400"
_FOREVER = "public, max-age=31536000, immutable"
# The browser is told to ask no other host, whatever the bundles do: a later one may try what these do not. Both set
# styles inline, Redoc searches in a worker made of a blob, and Swagger UI shows a picture it was answered as a blob.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src blob:"
)


def add_docs(app: FastAPI) -> None:
    """Add `GET /docs`, `GET /redoc`, what they load, and a `/favicon.ico` that the host's other pages get too.

    Raises:
        ValueError: the app has FastAPI's own pages, which would be found first.
    """
    if app.docs_url or app.redoc_url:
        raise ValueError(
            "the app has FastAPI's own pages, which load from a CDN; create it with docs_url=redoc_url=None"
        )
    # A browser asks for this path on its own where a page names no icon, and logs an error where there is nothing.
    _add(app, _FAVICON_PATH, _FAVICON.encode(), "image/svg+xml", _DAY)
    _add_swagger_ui(app)
    _add_redoc(app)


def _add_swagger_ui(app: FastAPI) -> None:
    script = _add_asset(app, "swagger-ui.js", _bundled("swagger-ui-bundle.js"))
    style = _add_asset(app, "swagger-ui.css", _bundled("swagger-ui.css"))

    def page(root: str) -> Response:
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title}: try the API",
            swagger_js_url=f"{root}{script}",
            swagger_css_url=f"{root}{style}",
            swagger_favicon_url=f"{root}{_FAVICON_PATH}",
            # Its default validator is a badge from swagger.io, which would be told the document's address.
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True, "displayRequestDuration": True},
        )

    _add_page(app, "/docs", page)


def _add_redoc(app: FastAPI) -> None:
    # Redoc hides its logo when it cannot be loaded; a refused request would be a console error as well.
    bundle = _bundled("redoc.standalone.js").replace(_REDOC_LOGO, b"data:,")
    script = _add_asset(app, "redoc.js", bundle)

    def page(root: str) -> Response:
        return get_redoc_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title}: reference",
            redoc_js_url=f"{root}{script}",
            redoc_favicon_url=f"{root}{_FAVICON_PATH}",
            with_google_fonts=False,
        )

    _add_page(app, "/redoc", page)


def _bundled(name: str) -> bytes:
    # The package's own FastAPI class would serve the bundles as they are, Redoc's logo from another host included.
    return (resources.files("fastapi_offline") / "static" / name).read_bytes()


def _add_page(app: FastAPI, path: str, page: Callable[[str], Response]) -> None:
    async def answer(request: Request) -> Response:
        # Where a proxy serves the app under a prefix, that stands before every path.
        response = page(str(request.scope.get("root_path", "")).rstrip("/"))
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    app.add_route(path, answer, include_in_schema=False)


def _add_asset(app: FastAPI, name: str, content: bytes) -> str:
    """Serve an asset, cached for good; gives its URL, which changes with the content."""
    path = f"/docs/assets/{name}"
    _add(app, path, content, "text/css" if name.endswith(".css") else "text/javascript", _FOREVER)
    return f"{path}?v={hashlib.sha256(content).hexdigest()[:12]}"


def _add(app: FastAPI, path: str, content: bytes, media_type: str, cache: str) -> None:
    async def answer(_request: Request) -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": cache})

    app.add_route(path, answer, include_in_schema=False)

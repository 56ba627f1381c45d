"""The page at `/`: files of `service/page`, as they are, under a policy that lets the browser ask this host alone."""

import hashlib
import logging
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template

from fastapi import FastAPI, HTTPException, Request, Response

logger = logging.getLogger(__name__)

_TYPES = {".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}
_LIBRARIES = "vendor/preact.js"
HOW_TO_BUILD = "run “make install” in a checkout of kshot, then start the service again"
_FOREVER = "public, max-age=31536000, immutable"
# Pictures are shown from memory (blob:); everything else is a file of this host, and nothing is written inline.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_start_page(app: FastAPI, *, folder: Traversable | None = None) -> None:
    """Add `GET /` and what it loads, cached for good under addresses that change with the content.

    Where the libraries were not built, `/` says so with a 503, and nothing else is lost.

    Args:
        folder: of the page's files; the package's own if not given.
    """
    folder = folder or _folder()
    files = dict(_files(folder))
    html, missing = files.pop("index.html").decode(), files.pop("missing.html").decode()
    version = hashlib.sha256(b"".join(name.encode() + content for name, content in files.items())).hexdigest()[:12]
    page = Template(html).substitute(loaded="\n    ".join(_loaded(files, f"page/{version}")))
    built = is_built(folder)
    if not built:
        logger.warning("the page at / was not built: %s", HOW_TO_BUILD)

    async def index(_request: Request) -> Response:
        if built:
            return Response(page, media_type="text/html", headers=_HEADERS)
        return Response(missing, 503, media_type="text/html", headers=_HEADERS)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404)
        # A replica of another version may be asked for what this one's page names, and the other way round.
        cache = _FOREVER if request.path_params["version"] == version else "no-cache"
        headers = {"Cache-Control": cache, "X-Content-Type-Options": "nosniff"}
        return Response(files[name], media_type=_TYPES[_suffix(name)], headers=headers)

    app.add_route("/", index, include_in_schema=False)
    app.add_route("/page/{version}/{name:path}", asset, include_in_schema=False)


def is_built(folder: Traversable | None = None) -> bool:
    """Whether the libraries of the page are there, which are not in the repository."""
    return (folder or _folder()).joinpath(_LIBRARIES).is_file()


def _folder() -> Traversable:
    return resources.files("service") / "page"


def _loaded(files: Mapping[str, bytes], folder: str) -> list[str]:
    """The page's links, relative, so that they hold under any prefix; all modules at once rather than one by one."""
    modules = [name for name in files if name.endswith(".js") and name != "app.js"]
    return [
        f'<link rel="stylesheet" href="{folder}/style.css" />',
        *(f'<link rel="modulepreload" href="{folder}/{name}" />' for name in modules),
        f'<script type="module" src="{folder}/app.js"></script>',
    ]


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _files(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in (*_TYPES, ".html"):
            found.append((f"{prefix}{entry.name}", entry.read_bytes()))
    return found


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]

"""Ids, paths, methods, queries and headers that lead nowhere."""

import functools

import httpx
import pytest

from tests.hostile.requests import (
    CLASSIFY,
    CREATE,
    INVALID,
    NO_METHOD,
    NOT_FOUND,
    ONCE,
    QUERIES,
    UNKNOWN,
    UNKNOWN_MODEL,
    UPLOAD,
    Case,
    Target,
    assert_refused,
    json_body,
)
from tests.service.running import b64

IDS: dict[str, tuple[str, str, tuple[int, str]]] = {
    "unknown": ("clf_000000000000000000000000", "there is no classifier 'clf_0000", UNKNOWN),
    "blank": ("%20", "there is no classifier ' '", UNKNOWN),
    "a NUL": ("%00", r"there is no classifier '\x00'", UNKNOWN),
    "control characters": ("a%0d%0aSet-Cookie:%20b", "there is no classifier", UNKNOWN),
    "not UTF-8": ("%ff%fe", "there is no classifier", UNKNOWN),
    "emoji": ("%F0%9F%90%B1", "there is no classifier '🐱'", UNKNOWN),
    "SQL": ("'%20OR%201=1%20--", "there is no classifier", UNKNOWN),
    "a pattern": ("clf_%25", "there is no classifier 'clf_%'", UNKNOWN),
    "markup": ("%3Cscript%3E", "there is no classifier '<script>'", UNKNOWN),
    "a percent sign": ("%zz", "there is no classifier", UNKNOWN),
    "65 characters": ("i" * 65, "at most 64 characters", INVALID),
    "10000 characters": ("i" * 10_000, "at most 64 characters", INVALID),
    "a path above": ("..%2f..%2f..%2fetc%2fpasswd", "no route has the path", NOT_FOUND),
    "a path above, in dots": ("%2e%2e/%2e%2e/etc/passwd", "no route has the path", NOT_FOUND),
    "a path above, encoded twice": ("..%252f..%252fetc", "there is no classifier '..%2f..%2fetc'", UNKNOWN),
}
ROUTES = {
    "get": ("GET", "", dict),
    "delete": ("DELETE", "", dict),
    "classify": ("POST", "/classify", json_body({"images": [b64(QUERIES[0])]})),
    "classify upload": ("POST", "/classify/upload", functools.partial(dict, files=[("files", ("a.png", QUERIES[0]))])),
}


def id_case(name: str, route: str) -> Case:
    (identifier, says, how), (method, tail, body) = IDS[name], ROUTES[route]
    return Case(f"{route}: an id, {name}", f"/v1/classifiers/{identifier}{tail}", body, (says,), how, method)


def method_case(method: str, path: str, has: str) -> Case:
    return Case(f"{method} {path}", path, dict, (f"{method} is not a method", f"it has {has}"), NO_METHOD, method)


def query_case(query: str, says: str, how: tuple[int, str] = INVALID) -> Case:
    return Case(f"list: {query[:40]}", f"{CREATE}?{query}", dict, (says,), how, "GET")


NO_CURSOR = (422, "invalid_cursor")
CASES = [
    *(id_case(name, route) for name in IDS for route in ROUTES),
    *(method_case(method, CREATE, "GET, POST") for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "LOCK")),
    *(method_case(method, "/v1/classifiers/{id}", "GET, PATCH, DELETE") for method in ("PUT", "POST")),
    *(method_case(method, path, "POST") for method in ("GET", "PUT", "DELETE") for path in (CLASSIFY, ONCE)),
    *(method_case("POST", path, "GET") for path in ("/readyz", "/v1/models", "/openapi.json", "/docs", "/")),
    method_case("PUT", UPLOAD, "POST"),
    method_case("OPTIONS", f"{CREATE}/import", "POST"),
    query_case("limit=0", "greater than or equal to 1"),
    query_case("limit=-1", "greater than or equal to 1"),
    query_case("limit=1e9", "integer"),
    query_case("limit=1000000000", "less than or equal to 100"),
    query_case(f"limit={'9' * 5000}", "exceeded maximum size"),
    query_case("limit=", "integer"),
    query_case("limit=NaN", "integer"),
    query_case("limit=%00", "integer"),
    query_case("cursor=nothing", "not one that a page of this list gave", NO_CURSOR),
    query_case("cursor=%ff%00", "not one that a page of this list gave", NO_CURSOR),
    query_case("cursor=", "not one that a page of this list gave", NO_CURSOR),
    query_case(f"cursor={'c' * 10_000}", "at most 200 characters"),
    Case("a model above", "/v1/models/..%5c..", dict, ("no model is called",), UNKNOWN_MODEL, "GET"),
    Case("a long model", "/v1/models/" + "m" * 10_000, dict, ("no model is called",), UNKNOWN_MODEL, "GET"),
    Case("a long path", "/" + "p" * 50_000, dict, ("no route has the path",), NOT_FOUND, "GET"),
    Case("a file of the docs", "/docs/assets/..%2f..%2fcli", dict, ("no route has the path",), NOT_FOUND, "GET"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_leads_nowhere_is_refused_and_told_why(target: Target, case: Case) -> None:
    target.refuses(case)


HEADERS = {
    "X-Request-ID": "é" * 300,
    "Accept": "text/html;q=nonsense",
    "Accept-Encoding": "\xff",
    "If-Match": "*" * 5000,
    "Authorization": "Bearer " + "k" * 5000,
    "X-Forwarded-For": "' OR 1=1",
    "Cookie": "a=" + "b" * 5000,
    "Range": "bytes=5-1",
    "Content-Encoding": "gzip",
    "Expect": "a miracle",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_any_content_are_borne(target: Target, name: str) -> None:
    headers = {name.encode(): HEADERS[name].encode("latin-1")}
    answer = target.client.get("/v1/models/nothing", headers=headers)
    assert_refused(answer, UNKNOWN_MODEL, ["no model is called 'nothing'"], target.service)


@pytest.mark.parametrize("host", ["[", "[::1", "a b", "//", "h" * 5000, "\xff"])
def test_a_host_of_nonsense_is_refused(target: Target, host: str) -> None:
    request = httpx.Request("GET", f"{target.service.url}/nothing", headers={b"Host": host.encode("latin-1")})
    how = (421, "unknown_host")
    assert_refused(target.client.send(request), how, ["add the name to KSHOT_ALLOWED_HOSTS"], target.service)

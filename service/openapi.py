"""FastAPI's own OpenAPI document, corrected where the tools that read it go wrong."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.callers import Scope, needed_scope
from service.schemas import PROBLEM_DESCRIPTIONS, Problem

_SCHEMAS = "#/components/schemas/"
_PROBLEM = f"{_SCHEMAS}Problem"
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as `Authorization: Bearer KEY`."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in a header."},
}
_TIMEOUT = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "Seconds after which you will not wait any more: the work is then dropped, not done.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "example": 10,
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "integer", "minimum": 1}}
}


def corrected_openapi(app: FastAPI, *, keys_needed: bool = True) -> dict[str, Any]:
    """The app's document, made once, and again when routes were added since.

    Args:
        app: whose.
        keys_needed: whether it is certain that requests must show a key.
    """
    cached = app.openapi_schema
    # The class's method, as the app's own may be this function. It hands back `app.openapi_schema` as long as that is
    # current, and that one is corrected already.
    document = FastAPI.openapi(app)
    if document is not cached:
        app.openapi_schema = document = _corrected(document, keys_needed=keys_needed)
    return document


def references(node: object) -> set[str]:
    """Every `#/…` that something in the document refers to, in a `$ref` or in a discriminator's mapping."""
    if isinstance(node, str):
        return {node} if node.startswith("#/") else set()
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return set().union(*map(references, children))


def _corrected(document: dict[str, Any], *, keys_needed: bool) -> dict[str, Any]:
    document = deepcopy(document)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for path, method, operation in _operations(document):
        scope = needed_scope(method, path)
        if scope is not None:
            operation["security"] = [{name: [scope.value]} for name in _SECURITY_SCHEMES] + [{}] * (not keys_needed)
        form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
        if form:
            _correct_form(form, schemas)
        if method not in ("get", "head", "delete"):
            operation.setdefault("parameters", []).append(_TIMEOUT)
        operation["responses"] = _with_problems(_refusals(method, scope) | operation["responses"])
    document["components"]["securitySchemes"] = _SECURITY_SCHEMES
    return _with_named_forms(_without_validation_error(document))


def _refusals(method: str, scope: Scope | None) -> dict[str, Any]:
    """What any request may be answered before it comes to its route."""
    statuses = {400, 421, 503}
    statuses |= set() if scope is None else {401, 403, 429}
    statuses |= set() if method in ("get", "head") else {403, 408, 422}
    content = {"application/problem+json": {"schema": {"$ref": _PROBLEM}}}
    return {
        str(status): {"description": PROBLEM_DESCRIPTIONS[status], "content": content} for status in sorted(statuses)
    }


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for section in ("paths", "webhooks"):
        for path, path_item in document.get(section, {}).items():
            # A path item also holds its summary, its parameters and its servers.
            for method, part in path_item.items():
                if isinstance(part, dict) and "responses" in part:
                    yield path, method, part


def _correct_form(form: dict[str, Any], schemas: dict[str, Any]) -> None:
    schema = form["schema"] = _without_null(_with_binary_format(form["schema"]))
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        schema = schemas[name] = _without_null(_with_binary_format(schemas[name]))
    encoding = {**_list_encodings(schema), **form.get("encoding", {})}
    if encoding:
        form["encoding"] = encoding


def _with_binary_format(node: Any) -> Any:
    """The schema of a multipart body with `format: binary` beside `contentMediaType` wherever a file is meant.

    Since 0.129 FastAPI writes `contentMediaType` alone, which openapi-python-client, openapi-generator and hey-api take
    for a string: every multipart call they make is answered 422. Swagger UI shows text boxes for a list of files.
    """
    if isinstance(node, list):
        return [_with_binary_format(part) for part in node]
    if not isinstance(node, dict):
        return node
    format_ = {"format": "binary"} if _is_file(node) else {}
    return {key: _with_binary_format(value) for key, value in node.items()} | format_


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a multipart body whose optional fields are left out, never null.

    A form has no null: openapi-python-client sends the text `None` for one, Swagger UI offers it beside the type.
    """
    properties = {}
    for name, part in schema.get("properties", {}).items():
        options = [option for option in part.get("anyOf", []) if option != {"type": "null"}]
        rest = {key: value for key, value in part.items() if key != "anyOf"}
        properties[name] = {**options[0], **rest} if len(options) == 1 else part
    return {**schema, "properties": properties} if properties else schema


def _list_encodings(schema: dict[str, Any]) -> dict[str, Any]:
    """The `encoding` of a multipart body: a field an item, for each list that is not of files.

    Without it Swagger UI and openapi-generator join a list: three labels arrive as the one label `cat,cat,dog`.
    """
    lists = [name for name, part in schema.get("properties", {}).items() if _is_list_of_text(part)]
    return {name: {"style": "form", "explode": True} for name in lists}


def _is_list_of_text(schema: dict[str, Any]) -> bool:
    if schema.get("type") == "array":
        return not _is_file(schema.get("items", {}))
    # `list[str] | None` is a choice of a list and null.
    return any(_is_list_of_text(part) for part in schema.get("anyOf", []))


def _is_file(schema: dict[str, Any]) -> bool:
    # With a `contentEncoding` it is a text that encodes a file, in base64 for example. Where it is no string, it is a
    # property of that name.
    return isinstance(schema.get("contentMediaType"), str) and "contentEncoding" not in schema


def _with_problems(responses: dict[str, Any]) -> dict[str, Any]:
    """The responses of an operation, the non-2xx ones as `application/problem+json`.

    FastAPI writes the model of an additional response under the media type of the route's own answer. Generated clients
    choose the parser by the media type: openapi-generator's and hey-api's would not recognise the problem.
    """
    return {
        status: answer if status.startswith("2") else _as_problem(answer, waits=status in ("429", "503"))
        for status, answer in responses.items()
    }


def _as_problem(response: dict[str, Any], *, waits: bool) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for media_type in response.get("content", {}).values():
        merged |= media_type
    headers = {"headers": _RETRY_AFTER | response.get("headers", {})} if waits else {}
    return {**response, **headers, **({"content": {"application/problem+json": merged}} if merged else {})}


def _without_validation_error(document: dict[str, Any]) -> dict[str, Any]:
    """The document with `Problem` for `HTTPValidationError`, which FastAPI writes at every 422 that no route declares.

    The service never answers in that form. The replaced schemas go where nothing else refers to them, and `Problem`
    comes where no route declared it: a reference that dangles stops every generator outright.
    """
    document = _replaced(document, f"{_SCHEMAS}HTTPValidationError", _PROBLEM)
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        if f"{_SCHEMAS}{name}" not in references(document):
            schemas.pop(name, None)
    if _PROBLEM in references(document):
        document["components"]["schemas"] = dict(sorted((_problem_schemas() | schemas).items()))
    return document


def _with_named_forms(document: dict[str, Any]) -> dict[str, Any]:
    """The document with `AddPetsForm` for `Body_add_pets`, as FastAPI calls a form: generators name classes by it."""
    for old in [name for name in document["components"]["schemas"] if name.startswith("Body_")]:
        new = "".join(word.capitalize() for word in old.split("_")[1:]) + "Form"
        document = _replaced(document, f"{_SCHEMAS}{old}", f"{_SCHEMAS}{new}")
        schemas = document["components"]["schemas"]
        schemas[new] = {**schemas.pop(old), "title": new}
    return document


def _replaced(node: Any, old: str, new: str) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, old, new) for value in node]
    return new if node == old else node


def _problem_schemas() -> dict[str, Any]:
    """`Problem` and what it refers to, as FastAPI writes the model of a response."""
    _, schema = models_json_schema([(Problem, "serialization")], ref_template=f"{_SCHEMAS}{{model}}")
    return dict(schema["$defs"])

import importlib
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, File, Form, Response, UploadFile
from pydantic import BaseModel, Field

from service.openapi import corrected_openapi, references
from service.problems import add_problem_handlers
from service.schemas import Problem, problems
from tests.service.running import serving

PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
PLAIN_422 = "/plain/{number}"


class Album(BaseModel):
    cover: bytes = Field(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/png"})
    scan: str = Field(json_schema_extra={"contentMediaType": "image/png"})


class Labels(BaseModel):
    names: list[str]


class Png(Response):
    media_type = "image/png"


def _app(*routers: APIRouter) -> FastAPI:
    app = FastAPI(title="pets", version="2", docs_url=None, redoc_url=None)
    add_problem_handlers(app)
    for router in routers:
        app.include_router(router)
    app.openapi = lambda: corrected_openapi(app)  # type: ignore[method-assign]
    return app


def _uploads() -> APIRouter:
    router = APIRouter()

    @router.post("/pets", operation_id="add_pets", tags=["pets"], responses=problems(422))
    def add_pets(
        files: Annotated[list[UploadFile], File(min_length=1)],
        labels: Annotated[list[str], Form(min_length=1)],
        name: Annotated[str | None, Form()] = None,
        tags: Annotated[list[str] | None, Form()] = None,
        outline: Annotated[UploadFile | None, File()] = None,
        note: Annotated[str, Form(json_schema_extra={"contentEncoding": "base64", "contentMediaType": "a/b"})] = "",
    ) -> dict[str, Any]:
        return {"files": [[file.filename, file.size] for file in files], "labels": labels, "name": name}

    @router.post("/archives", operation_id="add_archive", tags=["pets"])
    def add_archive(archive: UploadFile) -> dict[str, str]:
        return {}

    return router


def _plain() -> APIRouter:
    router = APIRouter()

    @router.get(PLAIN_422)
    def plain(number: int) -> dict[str, int]:
        return {}

    return router


def _albums() -> APIRouter:
    router = APIRouter()

    @router.post("/albums")
    def add_album(album: Album) -> Labels:
        return Labels(names=[])

    return router


def _media_types() -> APIRouter:
    router = APIRouter()
    example = {"application/json": {"example": {"code": "gone"}}}

    @router.get("/picture", response_class=Png, responses={**problems(404), 304: {"description": "As it was"}})
    def picture() -> Png:
        return Png(b"")

    @router.get("/list", responses={410: {"model": Problem, "content": example}, "5XX": {"model": Problem}})
    def list_() -> list[int]:
        return []

    return router


def _dangling(document: dict[str, Any]) -> set[str]:
    def is_there(reference: str) -> bool:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return node is not None

    return {reference for reference in references(document) if not is_there(reference)}


def _fields(document: dict[str, Any], body: str) -> dict[str, Any]:
    fields: dict[str, Any] = document["components"]["schemas"][body]["properties"]
    return fields


def _responses(document: dict[str, Any], path: str) -> dict[str, Any]:
    (operation,) = document["paths"][path].values()
    responses: dict[str, Any] = operation["responses"]
    return responses


def test_a_file_in_a_form_is_binary_be_it_alone_in_a_list_or_optional() -> None:
    document = _app(_uploads()).openapi()
    pets, archive = _fields(document, "AddPetsForm"), _fields(document, "AddArchiveForm")
    file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
    assert pets["files"]["items"] == file
    assert {key: pets["outline"][key] for key in file} == file
    assert archive["archive"].items() >= file.items()


def test_a_text_in_a_form_is_not_binary() -> None:
    fields = _fields(_app(_uploads()).openapi(), "AddPetsForm")
    assert "format" not in fields["labels"]["items"]
    assert "format" not in fields["note"]


def test_a_json_body_has_nothing_binary() -> None:
    fields = _fields(_app(_albums()).openapi(), "Album")
    assert fields["cover"]["contentEncoding"] == "base64"
    assert fields["cover"].get("format") != "binary"
    assert "format" not in fields["scan"]


def test_a_list_of_texts_in_a_form_is_sent_as_a_field_an_item() -> None:
    body = _app(_uploads()).openapi()["paths"]["/pets"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert body["encoding"] == {name: {"style": "form", "explode": True} for name in ("labels", "tags")}


def test_a_form_without_a_list_has_no_encoding() -> None:
    document = _app(_uploads()).openapi()
    assert "encoding" not in document["paths"]["/archives"]["post"]["requestBody"]["content"]["multipart/form-data"]


@pytest.mark.parametrize("router", [_uploads(), _plain(), _albums()])
def test_every_422_is_a_problem_declared_or_not(router: APIRouter) -> None:
    document = _app(router).openapi()
    for path in document["paths"]:
        assert _responses(document, path)["422"]["content"] == {"application/problem+json": PROBLEM}
    assert {"HTTPValidationError", "ValidationError"}.isdisjoint(document["components"]["schemas"])
    assert _dangling(document) == set()


def test_a_problem_that_no_route_declares_is_described_as_one_that_a_route_does() -> None:
    undeclared, declared = (_app(router).openapi()["components"]["schemas"] for router in (_plain(), _media_types()))
    assert undeclared == {name: declared[name] for name in ("Problem", "ProblemPart")}


def test_a_schema_of_that_name_that_a_route_answers_with_stays() -> None:
    class ValidationError(BaseModel):
        reason: str

    router = APIRouter()

    @router.get("/judge")
    def judge() -> ValidationError:
        return ValidationError(reason="")

    document = _app(router).openapi()
    assert list(_fields(document, "ValidationError")) == ["reason"]
    assert _dangling(document) == set()


def test_every_error_is_a_problem_document_whatever_the_route_answers_otherwise() -> None:
    document = _app(_media_types()).openapi()
    picture, list_ = _responses(document, "/picture"), _responses(document, "/list")
    assert list(picture["200"]["content"]) == ["image/png"]
    assert picture["404"]["content"] == {"application/problem+json": PROBLEM}
    assert picture["304"] == {"description": "As it was"}
    assert list(list_["200"]["content"]) == ["application/json"]
    assert list_["5XX"]["content"] == {"application/problem+json": PROBLEM}
    assert list_["410"]["content"] == {"application/problem+json": {**PROBLEM, "example": {"code": "gone"}}}


def test_answers_to_come_back_later_tell_when() -> None:
    answers = corrected_openapi(_app(_uploads()))["paths"]["/pets"]["post"]["responses"]
    assert [status for status, answer in answers.items() if "Retry-After" in answer.get("headers", {})] == [
        "429",
        "503",
    ]


def test_no_reference_dangles() -> None:
    document = _app(_uploads(), _plain(), _albums(), _media_types()).openapi()
    assert PROBLEM["schema"]["$ref"] in references(document)
    assert _dangling(document) == set()


def test_a_reference_that_dangles_would_be_seen() -> None:
    mapping = {"mapping": {"cat": "#/components/schemas/Cat", "dog": "#/components/schemas/Dog~1Puppy"}}
    document = {"one": [{"$ref": "#/nowhere"}, mapping], "components": {"schemas": {"Dog/Puppy": {}}}}
    assert _dangling(document) == {"#/nowhere", "#/components/schemas/Cat"}


def test_the_document_is_made_once_and_again_when_a_route_has_come() -> None:
    app = _app(_uploads())
    before = app.openapi()
    assert app.openapi() is before
    app.include_router(_plain())
    after = app.openapi()
    assert set(after["paths"]) - set(before["paths"]) == {PLAIN_422}
    assert _responses(after, PLAIN_422)["422"]["content"] == {"application/problem+json": PROBLEM}


def test_what_the_app_says_of_itself_stays() -> None:
    document = _app().openapi()
    assert document["info"] == {"title": "pets", "version": "2"}
    assert document["openapi"].startswith("3.1")


def test_an_optional_field_of_a_form_may_be_left_out_but_not_null() -> None:
    pets = _app(_uploads()).openapi()["components"]["schemas"]["AddPetsForm"]
    assert "outline" not in pets["required"]
    assert "null" not in str(pets)


def test_a_service_answers_the_corrected_document() -> None:
    app = _app(_uploads())
    with serving(app) as url:
        answer = httpx.get(f"{url}/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == app.openapi()


def test_a_generated_client_uploads_files_and_labels_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openapi_python_client")
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    with serving(_app(_uploads(), _plain())) as url:
        (tmp_path / "openapi.json").write_text(httpx.get(f"{url}/openapi.json").text)
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
        command += ["--output-path", "pets_client", "--meta", "none", "--config", "config.yml", "--fail-on-warning"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

        monkeypatch.syspath_prepend(tmp_path)
        package = importlib.import_module("pets_client")
        types, models = (importlib.import_module(f"pets_client.{name}") for name in ("types", "models"))
        call = importlib.import_module("pets_client.api.pets.add_pets")
        files = [types.File(BytesIO(b"x" * size), f"{size}.png", "image/png") for size in (1, 2, 3)]
        body = models.AddPetsForm(files=files, labels=["cat", "cat, fat", "dog"])
        with package.Client(base_url=url) as client:
            answer = call.sync_detailed(client=client, body=body)
            refusal = call.sync_detailed(client=client, body=models.AddPetsForm(files=files, labels=[]))
    assert answer.parsed.to_dict() == {
        "files": [["1.png", 1], ["2.png", 2], ["3.png", 3]],
        "labels": ["cat", "cat, fat", "dog"],
        "name": None,
    }
    assert (refusal.status_code, refusal.parsed.code) == (422, "invalid_request")

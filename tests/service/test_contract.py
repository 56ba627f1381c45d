"""The document that users, Swagger UI and generators read is whole, and its examples work."""

from typing import Any

import httpx
import pytest

CONTRACT = {
    ("get", "/livez"), ("get", "/readyz"), ("get", "/version"), ("get", "/metrics"),
    ("post", "/v1/admin/models/reload"),
    ("get", "/v1/models"), ("get", "/v1/models/{model}"),
    ("post", "/v1/classifiers"), ("post", "/v1/classifiers/upload"), ("post", "/v1/classifiers/archive"),
    ("get", "/v1/classifiers"), ("get", "/v1/classifiers/{classifier_id}"),
    ("patch", "/v1/classifiers/{classifier_id}"), ("delete", "/v1/classifiers/{classifier_id}"),
    ("post", "/v1/classifiers/{classifier_id}/examples"), ("get", "/v1/classifiers/{classifier_id}/examples"),
    ("post", "/v1/classifiers/{classifier_id}/examples/upload"),
    ("post", "/v1/classifiers/{classifier_id}/examples/archive"),
    ("patch", "/v1/classifiers/{classifier_id}/examples/{example_id}"),
    ("delete", "/v1/classifiers/{classifier_id}/examples/{example_id}"),
    ("delete", "/v1/classifiers/{classifier_id}/labels/{label}"),
    ("post", "/v1/classifiers/{classifier_id}/evaluate"), ("post", "/v1/classifiers/{classifier_id}/evaluate/upload"),
    ("get", "/v1/classifiers/{classifier_id}/export"), ("post", "/v1/classifiers/import"),
    ("post", "/v1/classifiers/{classifier_id}/evaluate/archive"), ("get", "/v1/classifiers/{classifier_id}/map"),
    ("post", "/v1/classifiers/{classifier_id}/classify"), ("post", "/v1/classifiers/{classifier_id}/classify/upload"),
    ("post", "/v1/classify"), ("post", "/v1/classify/upload"), ("post", "/v1/regress"),
}  # fmt: skip


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/openapi.json").raise_for_status().json()
    return answer


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method, path): entry for path, entries in document["paths"].items() for method, entry in entries.items()}


def test_every_route_of_the_contract_that_has_landed_is_there(document: dict[str, Any]) -> None:
    assert set(operations(document)) == CONTRACT


def test_every_operation_is_named_tagged_and_explained(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))
    known = {tag["name"] for tag in document["tags"]}
    for place, operation in operations(document).items():
        assert operation["operationId"].replace("_", "").isalpha(), place
        assert set(operation["tags"]) <= known, place
        assert operation["summary"], place
        assert operation["description"], place


def test_every_error_is_typed_as_a_problem_document(document: dict[str, Any]) -> None:
    for place, operation in operations(document).items():
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (place, status)


def test_the_examples_of_the_document_work_as_they_stand(client: httpx.Client, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    (create,), (ask,), (once,) = (
        schemas[name]["examples"] for name in ("CreateClassifier", "ClassifyImages", "ClassifyOnce")
    )
    created = client.post("/v1/classifiers", json=create)
    assert created.status_code == 201, created.text
    stored = client.post(f"{created.headers['location']}/classify", json=ask).json()
    stateless = client.post("/v1/classify", json=once).json()
    assert [answer["results"][0]["prediction"] for answer in (stored, stateless)] == ["cross", "cross"]


def test_documented_examples_have_the_fields_of_real_answers(client: httpx.Client, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    created = client.post("/v1/classifiers", json=schemas["CreateClassifier"]["examples"][0])
    asked = client.post(f"{created.headers['location']}/classify", json=schemas["ClassifyImages"]["examples"][0])
    missing = client.get("/v1/models/photo")
    for name, answer in {"ClassifierOut": created, "Classification": asked, "Problem": missing}.items():
        given = {field for field, value in answer.json().items() if value is not None}
        assert set(schemas[name]["examples"][0]) == given

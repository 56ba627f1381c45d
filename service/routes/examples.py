"""The examples of a stored classifier: add, list, relabel, remove; those that stay are not encoded again."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from service import support
from service.changing import Asked, Labelled, change_examples
from service.dependencies import CallerDep, ServicesDep
from service.described import etag
from service.errors import UnknownExample, UnknownLabel
from service.idempotency import IDEMPOTENT, CreatingRoute, creation_headers
from service.parameters import (
    ArchiveField,
    ClassifierId,
    CursorQuery,
    ExampleId,
    FilesField,
    IfMatch,
    LabelsField,
    LimitQuery,
)
from service.schemas import (
    ETAG,
    LOCATED,
    AddExamples,
    ChangedClassifier,
    ClassifierOut,
    ExampleOut,
    ExamplePage,
    PatchExample,
    problems,
)

router = APIRouter(prefix="/v1/classifiers/{classifier_id}", tags=["examples"], route_class=CreatingRoute)

_ADDED: dict[int | str, dict[str, Any]] = {
    201: {"headers": LOCATED},
    **problems(400, 404, 409, 412, 413, 422, 503),
}
_REMOVED: dict[int | str, dict[str, Any]] = {204: {"headers": ETAG}, **problems(404, 409, 412, 413, 422, 503)}


@router.post(
    "/examples",
    operation_id="add_examples",
    summary="Add base64 pictures",
    status_code=201,
    responses=_ADDED,
    dependencies=IDEMPOTENT,
)
async def add_examples(
    classifier_id: ClassifierId,
    body: AddExamples,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> ChangedClassifier:
    """Labelled pictures, also of new labels; the classifier is then as if made of all of them."""
    asked = Asked(request, services, caller, classifier_id, if_match)
    changed = await change_examples(asked, support=support.of_json(body.examples))
    response.headers.update(creation_headers(changed))
    return changed


@router.post(
    "/examples/upload",
    operation_id="add_examples_upload",
    summary="Add uploaded files",
    status_code=201,
    responses=_ADDED,
    dependencies=IDEMPOTENT,
)
async def add_examples_upload(
    classifier_id: ClassifierId,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    files: FilesField,
    labels: LabelsField,
    if_match: IfMatch = None,
) -> ChangedClassifier:
    """The same from a form with files."""
    asked = Asked(request, services, caller, classifier_id, if_match)
    given = await support.of_files(files, labels, "files", services.settings.limits)
    changed = await change_examples(asked, support=given)
    response.headers.update(creation_headers(changed))
    return changed


@router.post(
    "/examples/archive",
    operation_id="add_examples_archive",
    summary="Add a zip",
    status_code=201,
    responses=_ADDED,
    dependencies=IDEMPOTENT,
)
async def add_examples_archive(
    classifier_id: ClassifierId,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    archive: ArchiveField,
    if_match: IfMatch = None,
) -> ChangedClassifier:
    """The same from a zip with a folder a label."""
    asked = Asked(request, services, caller, classifier_id, if_match)
    changed = await change_examples(asked, support=await support.of_archive(archive, services))
    response.headers.update(creation_headers(changed))
    return changed


@router.get(
    "/examples",
    operation_id="list_examples",
    summary="All examples",
    responses={200: {"headers": ETAG}, **problems(404, 422, 503)},
)
async def list_examples(
    classifier_id: ClassifierId,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    limit: LimitQuery = 20,
    cursor: CursorQuery = None,
) -> ExamplePage:
    """Ids and labels in the order in which they came, page by page."""
    page = await services.store.example_page(classifier_id, tenant=caller.tenant, limit=limit, cursor=cursor)
    response.headers["ETag"] = etag(page.classifier.revision)
    return ExamplePage(
        data=[ExampleOut(id=identifier, label=label) for identifier, label in page.examples],
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )


@router.patch(
    "/examples/{example_id}",
    operation_id="relabel_example",
    summary="Give one example another label",
    responses={200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422, 503)},
)
async def relabel_example(
    classifier_id: ClassifierId,
    example_id: ExampleId,
    body: PatchExample,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> ClassifierOut:
    """The classifier is then as if made with that label."""
    asked = Asked(request, services, caller, classifier_id, if_match)
    changed = await change_examples(asked, _Relabel(example_id, body.label))
    response.headers["ETag"] = etag(changed.revision)
    return changed


@router.delete(
    "/examples/{example_id}",
    operation_id="remove_example",
    summary="Remove one example",
    status_code=204,
    responses=_REMOVED,
)
async def remove_example(
    classifier_id: ClassifierId,
    example_id: ExampleId,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> None:
    """The classifier is then as if made without it; with the last example of a label, the label goes."""
    asked = Asked(request, services, caller, classifier_id, if_match)
    changed = await change_examples(asked, _Remove(example_id))
    response.headers["ETag"] = etag(changed.revision)


@router.delete(
    "/labels/{label:path}",  # a label may hold a slash
    operation_id="remove_label",
    summary="Remove a label with all its examples",
    status_code=204,
    responses=_REMOVED,
)
async def remove_label(
    classifier_id: ClassifierId,
    label: Annotated[str, Path(max_length=200, examples=["ring"])],
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> None:
    """The classifier is then as if made without them."""
    asked = Asked(request, services, caller, classifier_id, if_match)
    changed = await change_examples(asked, _RemoveLabel(label))
    response.headers["ETag"] = etag(changed.revision)


@dataclass(frozen=True)
class _Remove:
    example_id: str

    def __call__(self, examples: list[Labelled]) -> list[Labelled]:
        left = [each for each in examples if each.example.id != self.example_id]
        if len(left) == len(examples):
            raise _unknown(self.example_id)
        return left


@dataclass(frozen=True)
class _Relabel:
    example_id: str
    label: str

    def __call__(self, examples: list[Labelled]) -> list[Labelled]:
        if all(each.example.id != self.example_id for each in examples):
            raise _unknown(self.example_id)
        return [each._replace(label=self.label) if each.example.id == self.example_id else each for each in examples]


@dataclass(frozen=True)
class _RemoveLabel:
    label: str

    def __call__(self, examples: list[Labelled]) -> list[Labelled]:
        left = [each for each in examples if each.label != self.label]
        if len(left) == len(examples):
            raise UnknownLabel(f"the classifier has no label {self.label[:40]!r}; GET it to see its labels")
        return left


def _unknown(example_id: str) -> UnknownExample:
    return UnknownExample(f"the classifier has no example {example_id[:64]!r}; GET …/examples lists those that it has")

"""The loaded models' cards."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.dependencies import ServicesDep
from service.parameters import CursorQuery, LimitQuery
from service.rows import from_model_cursor, to_model_cursor
from service.schemas import ModelOut, ModelPage, problems
from service.served import ServedModel

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", operation_id="list_models", summary="All models", responses=problems(422, 503))
async def list_models(services: ServicesDep, limit: LimitQuery = 100, cursor: CursorQuery = None) -> ModelPage:
    """Every loaded model's card, by name: what it takes, how accurate it is, under which licence."""
    default, _ = services.catalog.choose(None)
    after = "" if cursor is None else from_model_cursor(cursor)
    names = [name for name in sorted(services.catalog.models) if name > after]
    return ModelPage(
        data=[_out(services.catalog[name], default) for name in names[:limit]],
        next_cursor=to_model_cursor(names[limit - 1]) if len(names) > limit else None,
        has_more=len(names) > limit,
    )


@router.get("/{model}", operation_id="get_model", summary="One model", responses=problems(404, 422, 503))
async def get_model(model: Annotated[str, Path(examples=["omniglot-protonet"])], services: ServicesDep) -> ModelOut:
    """One model's card."""
    default, _ = services.catalog.choose(None)
    return _out(services.catalog[model], default)


def _out(model: ServedModel, default: ServedModel) -> ModelOut:
    return ModelOut(**model.card.model_dump(), default=model is default, runtime=model.encoder.runtime)

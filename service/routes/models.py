"""The loaded models' cards."""

from typing import Annotated

from fastapi import APIRouter, Path

from service.dependencies import ServicesDep
from service.schemas import ModelOut, ModelPage, problems
from service.served import ServedModel

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", operation_id="list_models", summary="All models", responses=problems(503))
async def list_models(services: ServicesDep) -> ModelPage:
    """Every loaded model's card, by name: what it takes, how accurate it is, under which licence."""
    default, _ = services.catalog.choose(None)
    models = sorted(services.catalog.models.values(), key=lambda model: model.card.name)
    return ModelPage(data=[_out(model, default) for model in models], next_cursor=None, has_more=False)


@router.get("/{model}", operation_id="get_model", summary="One model", responses=problems(404, 422, 503))
async def get_model(model: Annotated[str, Path(examples=["omniglot-protonet"])], services: ServicesDep) -> ModelOut:
    """One model's card."""
    default, _ = services.catalog.choose(None)
    return _out(services.catalog[model], default)


def _out(model: ServedModel, default: ServedModel) -> ModelOut:
    return ModelOut(**model.card.model_dump(), default=model is default, runtime=model.encoder.runtime)

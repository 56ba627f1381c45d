"""A folder of model folders → the models that answer; what is damaged does not keep the others from serving."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from meta_core.checkpoint import read_card
from meta_core.errors import InvalidCheckpoint
from service.served import ServedModel, serve

logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """What a folder holds.

    Attributes:
        models: by name.
        damaged: folders that could not be loaded, and why.
    """

    models: dict[str, ServedModel]
    damaged: dict[str, str]


def load_models(folder: Path, *, device: str, threads: int, known: Mapping[str, ServedModel]) -> Loaded:
    """Load and warm up every model folder under `folder`, but for those that are known, with the very same card.

    A folder that is damaged leaves the model that was known by that name in place.
    """
    found = Loaded({}, {})
    for path in sorted(folder.iterdir() if folder.is_dir() else []):
        if not path.is_dir() or path.name.startswith("."):
            continue
        before, model = known.get(path.name), None
        try:
            card = read_card(path)
            before = known.get(card.name)
            same = before is not None and before.card == card
            model = before if same else serve(path, device=device, threads=threads)
        except (InvalidCheckpoint, OSError) as error:
            logger.warning("model %s is not served: %s", path.name, error)
            found.damaged[path.name] = str(error) if isinstance(error, InvalidCheckpoint) else "it cannot be read"
            model = before
        if model is not None:
            found.models.setdefault(model.card.name, model)
    return found

"""How commands name models, and what a shell may complete."""

from collections.abc import Iterator
from pathlib import Path

MODEL_HELP = "A model of the models' folder, or a path to one; the default one unless set."
MODELS_DIR_HELP = "Folder of model folders; ./models, else the shipped ones, unless set."


def models_folder(models_dir: Path | None) -> Path:
    """The folder that was given, or that of the settings."""
    from service.settings import Settings

    return models_dir or Settings().models_dir


def model_folder(model: str | None, models_dir: Path | None) -> Path:
    """Of the model that was named, or of the default one."""
    from service.catalog import usual
    from service.settings import Settings

    settings = Settings()
    folder = models_dir or settings.models_dir
    if model is None:
        names = [path.parent.name for path in folder.glob("[!.]*/card.json")]
        return folder / (settings.default_model or usual(names) or "")
    return Path(model) if Path(model).is_dir() and not (folder / model).is_dir() else folder / model


def complete_model(incomplete: str) -> Iterator[str]:
    """Names of the models' folder, for the shell."""
    folder = models_folder(None)
    names = sorted(path.parent.name for path in folder.glob("[!.]*/card.json"))
    yield from (name for name in names if name.startswith(incomplete))

"""The models' folder: which load, which are damaged, which answers where a request names none."""

from collections.abc import Iterator

from meta_core.device import pick_device
from service.catalog import Catalog
from service.doctor.finding import Finding
from service.settings import Settings


def models(settings: Settings) -> Iterator[Finding]:
    """Each is loaded and run once, as when the service starts."""
    folder = settings.models_dir
    if not folder.is_dir():
        advice = "set KSHOT_MODELS_DIR to a folder of model folders"
        yield Finding("models", "folder", "wrong", f"{folder} does not exist", advice)
        return
    catalog = Catalog(default=settings.default_model)
    device = "cpu" if settings.device == "cpu" else pick_device("auto")
    catalog.load(folder, device=device, threads=settings.threads)
    yield Finding("models", "folder", "ok", str(folder))
    for name, model in sorted(catalog.models.items()):
        calibrated = "calibrated" if model.card.calibration else "uncalibrated"
        default = ", the default" if name == catalog.default else ""
        yield Finding("models", name, "ok", f"{model.card.version} on {model.encoder.runtime}, {calibrated}{default}")
    for name, reason in sorted(catalog.damaged.items()):
        yield Finding("models", name, "wrong", reason, "copy its folder again; `kshot models verify` says more")
    if not catalog.models and not catalog.damaged:
        advice = "`kshot models add` makes one; or set KSHOT_MODELS_DIR"
        yield Finding("models", "folder", "wrong", f"{folder} holds no model", advice)
    elif catalog.models and catalog.reasons():
        yield Finding(
            "models", "default", "wrong", "; ".join(catalog.reasons()), "set KSHOT_DEFAULT_MODEL to one of them"
        )
    catalog.close()

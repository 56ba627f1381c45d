"""Versions, and packages that get in each other's way."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import onnxruntime

from service.doctor.finding import Finding
from service.start_page import HOW_TO_BUILD, is_built

_PACKAGES = ("kshot", "torch", "torchvision", "timm", "fastapi", "pydantic", "sqlalchemy", "pillow")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_EXTRAS = {"train": ("onnx", "onnxscript", "tensorboard"), "report": ("matplotlib", "scikit-learn")}


def software() -> Iterator[Finding]:
    """Of everything that answers depend on."""
    yield Finding("software", "python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in _PACKAGES:
        yield Finding("software", name, "ok", version(name))
    yield _onnx_runtime()
    yield _page()
    for extra, packages in _EXTRAS.items():
        missing = [name for name in packages if not _installed(name)]
        advice = f"pip install 'kshot[{extra}]' where it is needed" if missing else ""
        found = f"{', '.join(missing)} not installed" if missing else "installed"
        yield Finding("software", f"kshot[{extra}]", "note" if missing else "ok", found, advice)


def _onnx_runtime() -> Finding:
    there = [name for name in _RUNTIMES if _installed(name)]
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    found = f"{' and '.join(there) or 'of unknown origin'} {onnxruntime.__version__}, providers: {providers}"
    if len(there) > 1:
        advice = f"both write into one folder: pip uninstall {' '.join(there)}, then install one of them"
        return Finding("software", "onnxruntime", "wrong", found, advice)
    return Finding("software", "onnxruntime", "ok", found)


def _page() -> Finding:
    if is_built():
        return Finding("software", "page at /", "ok", "built")
    return Finding("software", "page at /", "note", "not built; the API works without it", HOW_TO_BUILD)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True

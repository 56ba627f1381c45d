"""The peers' own virtual environments, made once and again when what one should hold changes.

Three: `torch` holds torch, torchvision, Pillow, NumPy and ONNX Runtime of the versions of kshot's own environment, and
the two of the peers see it behind their own packages, so that 6 GB are installed once.
"""

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version
from rich.console import Console

FOLDER = Path(__file__).parents[1] / ".envs"
_WANTED = Path(__file__).parent / "peers"
_SHARED = ("torch", "torchvision", "pillow", "numpy")


def peers_python(name: str, console: Console) -> Path:
    """The interpreter of an environment, which is made first if need be.

    Args:
        name: `engines` or `ray`.
        console: where to say what is done.
    """
    wanted = (_WANTED / f"{name}.txt").read_text().splitlines()
    requirements = [line for line in wanted if line and not line.startswith("#")]
    below = _made(FOLDER / "serving-torch", shared_requirements(), console, about="a few minutes, about 6 GB")
    return _made(FOLDER / f"serving-{name}", requirements, console, about="a minute", below=below)


def shared_requirements() -> list[str]:
    """What computes and decodes, of the versions that kshot runs on."""
    try:
        runtime = f"onnxruntime-gpu=={version('onnxruntime-gpu')}"
    except PackageNotFoundError:
        runtime = f"onnxruntime=={version('onnxruntime')}"
    return [*(f"{name}=={Version(version(name)).public}" for name in _SHARED), runtime]


def _made(folder: Path, requirements: list[str], console: Console, *, about: str, below: Path | None = None) -> Path:
    seen = "" if below is None else (below.parents[1] / "made_of.txt").read_text()
    content = "\n".join([sys.version, *requirements, seen])
    stamp, python = folder / "made_of.txt", folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == content:
        return python
    console.print(
        f"Making the environment {folder}: {', '.join(requirements)} ({about})", highlight=False, markup=False
    )
    if folder.exists():
        shutil.rmtree(folder)
    _run(console, sys.executable, "-m", "venv", folder)
    if below is not None:
        (_packages(folder) / "below.pth").write_text(f"{_packages(below.parents[1])}\n")
    _run(console, python, "-m", "pip", "install", "--quiet", *requirements)
    stamp.write_text(content)
    return python


def _packages(folder: Path) -> Path:
    (found,) = (folder / "lib").glob("python*/site-packages")
    return found


def _run(console: Console, *command: str | Path) -> None:
    line = [str(part) for part in command]
    console.print(f"  $ {' '.join(line)}", style="dim", highlight=False, markup=False, soft_wrap=True)
    subprocess.run(line, check=True)

"""The peers' own virtual environment, made once and again when what it should hold changes."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version
from rich.console import Console

FOLDER = Path(__file__).parents[1] / ".envs"
WANTED = Path(__file__).with_name("peers.txt")


def peers_python(console: Console) -> Path:
    """The interpreter of the peers' environment, which is made first if need be.

    Args:
        console: where to say what is done.
    """
    folder = FOLDER / "peers"
    torch = [f"{name}=={Version(version(name)).public}" for name in ("torch", "torchvision")]
    content = "\n".join([sys.version, *torch, WANTED.read_text()])
    stamp, python = folder / "made_of.txt", folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == content:
        return python
    console.print(
        f"Making the peers' environment {folder}: {' '.join(torch)} and {WANTED.name} (a few minutes, about 6 GB)"
    )
    if folder.exists():
        shutil.rmtree(folder)
    _run(console, sys.executable, "-m", "venv", folder)
    _run(console, python, "-m", "pip", "install", "--quiet", *torch, "-r", WANTED)
    stamp.write_text(content)
    return python


def _run(console: Console, *command: str | Path) -> None:
    line = [str(part) for part in command]
    console.print(f"  $ {' '.join(line)}", style="dim", highlight=False, soft_wrap=True)
    subprocess.run(line, check=True)

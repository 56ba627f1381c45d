"""A user's own pictures: a folder or a zip of `class/file`."""

from pathlib import Path, PurePosixPath

import torch

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.readers import miniimagenet
from meta_core.readers._files import Files, Listed, decode_files, open_files


def matches(path: Path) -> bool:
    """Whether `path` is a folder or a zip, and none that another reader knows better."""
    return (path.is_dir() or path.suffix == ".zip") and not miniimagenet.matches(path)


def splits(path: Path) -> list[str]:
    """Names of the parts that can be asked for: the top folders of `split/class/file`."""
    with open_files(path) as files:
        parts = [PurePosixPath(name).parts for name in files.names]
    return sorted({part[0] for part in parts if len(part) == 3})


def listing(path: Path, files: Files) -> list[Listed]:  # noqa: ARG001 (every reader is asked alike)
    """What would be read at `class/file`, and at `split/class/file` by those who name the split."""
    found = [PurePosixPath(name) for name in files.names]
    return [
        Listed(name.parts[0] if len(name.parts) == 3 else None, name.parts[-2], name.as_posix())
        for name in found
        if len(name.parts) in (2, 3) and not name.name.startswith(".")
    ]


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """Read every picture under `path`; its class is its folder, its group the part of that before `__`, if any.

    Args:
        path: a folder or zip of `class/file`, or of `split/class/file`.
        spec: what the model takes.
        split: the first folder to look in, or None where classes stand at the top.

    Raises:
        InvalidDataset: no such split, no picture, or a file that is not one (it is named).
    """
    with open_files(path) as files:
        chosen = [name for name in files.names if _is_asked_for(PurePosixPath(name), split)]
        if not chosen:
            where = f"{split}/class/file" if split else "class/file"
            raise InvalidDataset(f"{path} holds no picture at {where}")
        images = decode_files(files, chosen, spec, source=path.name)
    names = [PurePosixPath(name).parent.name for name in chosen]
    classes = sorted(set(names))
    number = {name: i for i, name in enumerate(classes)}
    return Pictures(
        images=images,
        labels=torch.tensor([number[name] for name in names]),
        classes=tuple(classes),
        groups=tuple(name.partition("__")[0] for name in classes),
        source=f"{path.stem}:{split}" if split else path.stem,
        files=tuple(chosen),
    )


def _is_asked_for(name: PurePosixPath, split: str | None) -> bool:
    folders = name.parts[:-1]
    at_depth = len(folders) == 1 if split is None else len(folders) == 2 and folders[0] == split
    return at_depth and not name.name.startswith(".")

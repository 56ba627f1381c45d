"""miniImageNet (Vinyals et al. 2016) in the 64/16/20 classes of Ravi & Larochelle 2017, as files or with csv lists.

Either `split/wnid/file` in a folder or zip whose name says miniImageNet, or a folder with `train.csv`, `val.csv` and
`test.csv` of `filename,label` beside `images/`. Only the split asked for is decoded.
"""

import csv
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.readers._files import Files, Listed, decode_files, open_files

_SPLITS = ("train", "val", "test")
_NAMES = "miniimagenet_classes.tsv"
_LICENCE = "ImageNet terms: non-commercial research only"


class _Entry(NamedTuple):
    """One picture: its WordNet id and its file's name inside."""

    wnid: str
    file: str


def matches(path: Path) -> bool:
    """Whether `path` has the csv lists, or is a folder or zip called miniImageNet."""
    named = "miniimagenet" in path.stem.lower().replace("-", "").replace("_", "")
    return _has_lists(path) or (named and (path.is_dir() or path.suffix == ".zip"))


def splits(path: Path) -> list[str]:
    """Those of `train`, `val` and `test` that are there."""
    with open_files(path) as files:
        return _splits(path, files)


def listing(path: Path, files: Files) -> list[Listed]:
    """What would be read of each split, its class by the English name where there is one."""
    names = _class_names(path)
    return [
        Listed(split, names.get(entry.wnid, entry.wnid), entry.file)
        for split in _splits(path, files)
        for entry in sorted(_entries(path, files, split))
    ]


def build(*, path: Path, spec: InputSpec, split: str | None) -> Pictures:
    """Read one split, or all classes where `split` is None; classes are in the order of their WordNet ids.

    A picture that a later split holds too, byte for byte, is left out: ImageNet has a few twice, under two classes.
    The test split is always whole, as the papers have it.

    Raises:
        InvalidDataset: no such split or none of its pictures, a list of other columns, a file that is no picture.
    """
    with open_files(path) as files:
        entries = _chosen(path, files, split)
        images = decode_files(files, [entry.file for entry in entries], spec, source=path.name)
    wnids, names = sorted({entry.wnid for entry in entries}), _class_names(path)
    number = {wnid: i for i, wnid in enumerate(wnids)}
    classes = tuple(names.get(wnid, wnid) for wnid in wnids)
    return Pictures(
        images=images,
        labels=torch.tensor([number[entry.wnid] for entry in entries]),
        classes=classes,
        groups=classes,
        source=f"miniimagenet:{split}" if split else "miniimagenet",
        licence=_LICENCE,
    )


def _splits(path: Path, files: Files) -> list[str]:
    if _has_lists(path):
        return [split for split in _SPLITS if f"{split}.csv" in files.names]
    found = {PurePosixPath(name).parts[0] for name in files.names}
    return [split for split in _SPLITS if split in found]


def _chosen(path: Path, files: Files, split: str | None) -> list[_Entry]:
    """What is to be read, by class and name, so that a seed draws the same episodes from either layout."""
    known = _splits(path, files)
    if split is not None and split not in known:
        raise InvalidDataset(f"{path.name} has no split {split!r}; it has: {', '.join(known) or 'none'}")
    entries = [entry for one in ([split] if split else known) for entry in _entries(path, files, one)]
    if split is not None:
        later = [entry.file for one in known[known.index(split) + 1 :] for entry in _entries(path, files, one)]
        repeated = _repeated(files, [entry.file for entry in entries], later)
        entries = [entry for entry in entries if entry.file not in repeated]
    if not entries:
        raise InvalidDataset(f"{path.name} holds no picture of miniImageNet; expected split/wnid/file, or csv lists")
    return sorted(entries)


def _has_lists(path: Path) -> bool:
    return (path / "images").is_dir() and any((path / f"{split}.csv").is_file() for split in _SPLITS)


def _entries(path: Path, files: Files, split: str) -> list[_Entry]:
    """A split's pictures: as its list has them, or every file at `split/wnid/file`."""
    if not _has_lists(path):
        parts = [(name, PurePosixPath(name).parts) for name in files.names]
        return [
            _Entry(found[1], name)
            for name, found in parts
            if len(found) == 3 and found[0] == split and not found[2].startswith(".")
        ]
    entries = [
        _Entry(row["label"], f"images/{row['filename']}") for row in _rows(path / f"{split}.csv", "filename", "label")
    ]
    there = set(files.names)
    if missing := [entry.file for entry in entries if entry.file not in there]:
        raise InvalidDataset(
            f"{path.name}: {split}.csv lists {len(missing)} files that are not there ({', '.join(missing[:3])} …)"
        )
    return entries


def _repeated(files: Files, here: list[str], later: list[str]) -> set[str]:
    """Those of `here` whose bytes `later` holds too; only files that share their size are read."""
    sizes = {files.size(name) for name in later}
    alike = [name for name in here if files.size(name) in sizes]
    wanted = {files.size(name) for name in alike}
    contents = {(files.size(name), files.checksum(name)) for name in later if files.size(name) in wanted}
    return {name for name in alike if (files.size(name), files.checksum(name)) in contents}


def _class_names(path: Path) -> dict[str, str]:
    """WordNet id → `robin (n01558993)`, where a table of names lies inside `path` or beside it."""
    table = next((folder / _NAMES for folder in (path, path.parent) if (folder / _NAMES).is_file()), None)
    rows = _rows(table, "wnid", "name", delimiter="\t") if table else []
    return {row["wnid"]: f"{row['name'].partition(',')[0]} ({row['wnid']})" for row in rows}


def _rows(path: Path, *columns: str, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        if missing := set(columns) - set(reader.fieldnames or []):
            found = ", ".join(reader.fieldnames or []) or "none"
            raise InvalidDataset(f"{path.name} has the columns {found}; {', '.join(sorted(missing))} is missing")
        return list(reader)

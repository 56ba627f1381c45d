"""What there is to say of a data set before anything is trained on it, in words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from meta_core.data_check import DataCheck, Seen

FEWEST_TO_ASK, FEWEST_FOR_FIVE_SHOTS = 2, 6
"""Pictures of a class: one shown and one asked; five shown and one asked."""
FEWEST_CLASSES_TO_TRAIN = 20

_NAMED = 5

Level = Literal["wrong", "note"]
Among = Literal["one class", "classes", "splits"]


class Finding(NamedTuple):
    """What was found, and what to do; `wrong` is what would waste a training run."""

    level: Level
    text: str
    advice: str


class Twice(NamedTuple):
    """Pictures that are one, or nearly so, and what they stand in."""

    pictures: Sequence[Seen]
    exact: bool
    among: Among


def twice(data: DataCheck) -> list[Twice]:
    """All groups, the equal ones first."""
    groups = [(True, group) for group in data.exact] + [(False, group) for group in data.near or ()]
    return [_twice([data.pictures[number] for number in group], exact=exact) for exact, group in groups]


def findings(data: DataCheck) -> list[Finding]:
    """What is wrong, then what is only worth knowing."""
    found = [*_readable(data), *_counts(data), *_splits(data), *_duplicates(data)]
    return sorted(found, key=lambda finding: finding.level == "note")


def verdict(data: DataCheck, found: Iterable[Finding]) -> str:
    """One sentence."""
    wrong = sum(finding.level == "wrong" for finding in found)
    classes = len({picture.label for picture in data.pictures})
    holds = f"{len(data.pictures):,} pictures of {classes} classes"
    if wrong:
        return f"not ready: {holds}, and {wrong} thing{'s' if wrong > 1 else ''} to mend before a training run"
    if classes < FEWEST_CLASSES_TO_TRAIN:
        few = f"few for meta-training, which wants {FEWEST_CLASSES_TO_TRAIN} or more"
        return f"ready to adapt a model to and to measure by: {holds}; {few}"
    return f"ready to train on: {holds}"


def _readable(data: DataCheck) -> Iterator[Finding]:
    if data.broken:
        count = _many(len(data.broken), "file is no picture", "files are no pictures")
        text = f"{count}: {_some(each.name for each in data.broken)}"
        yield Finding("wrong", text, "take them out, or copy them again; training stops at the first")
    if data.passed_over:
        text = f"{_many(len(data.passed_over), 'file is', 'files are')} passed over: {_some(data.passed_over)}"
        yield Finding("note", text, "pictures stand at class/file, or at split/class/file")


def _counts(data: DataCheck) -> Iterator[Finding]:
    counts = data.by_class()
    if len({label for _, label in counts}) < 2:
        yield Finding(
            "wrong", f"there {'is one class' if counts else 'are no classes'}", "two or more are needed to tell apart"
        )
    few = [(name, count) for name, count in counts.items() if count < FEWEST_TO_ASK]
    if few:
        text = f"{_many(len(few), 'class has', 'classes have')} one picture: {_some(_class(name) for name, _ in few)}"
        yield Finding("wrong", text, "add pictures or take the class out: one is shown, and another has to be asked")
    scarce = [(name, count) for name, count in counts.items() if FEWEST_TO_ASK <= count < FEWEST_FOR_FIVE_SHOTS]
    if scarce:
        text = (
            f"{_many(len(scarce), 'class has', 'classes have')} fewer than {FEWEST_FOR_FIVE_SHOTS} pictures: "
            + _some(f"{_class(name)} ({count})" for name, count in scarce)
        )
        yield Finding(
            "note", text, "too few for five shots and a query: train and measure with fewer shots, or add some"
        )


def _splits(data: DataCheck) -> Iterator[Finding]:
    splits = defaultdict[str, set[str]](set)
    for picture in data.pictures:
        splits[picture.label].add(picture.split or "no split")
    shared = {label: sorted(own) for label, own in splits.items() if len(own) > 1}
    if shared:
        label, own = next(iter(sorted(shared.items())))
        count = _many(len(shared), "class stands", "classes stand")
        text = f"{count} in several splits: {_some(sorted(shared))} ({' and '.join(own)} for {label})"
        advice = "training refuses: a figure on them would not be of unseen classes; split by class, not by picture"
        yield Finding("wrong", text, advice)


def _duplicates(data: DataCheck) -> Iterator[Finding]:
    groups = twice(data)
    for exact, among, level, advice in _TWICE:
        own = [group for group in groups if (group.exact, group.among) == (exact, among)]
        if own:
            pair = " = ".join(_place(picture) for picture in own[0].pictures[:2])
            kind = f"{'equal' if exact else 'nearly equal'} pictures in {_WHERE[among]}"
            text = f"{_many(len(own), 'group', 'groups')} of {kind}: {pair}"
            yield Finding(level, text + (" …" if len(own) > 1 else ""), advice)
    if data.near is None:
        yield Finding("note", "too many pictures to look for nearly equal ones", "check a part of them")


_TWICE: tuple[tuple[bool, Among, Level, str], ...] = (
    (True, "splits", "wrong", "training refuses: what is measured would have been seen; keep each in one split"),
    (True, "classes", "wrong", "one of the labels is wrong; keep the right one"),
    (True, "one class", "note", "a copy asked of its twin is always right: keep one of each"),
    (False, "splits", "note", "look at them: a copy in another split makes figures too good"),
    (False, "classes", "note", "look at them: one of the labels may be wrong"),
    (False, "one class", "note", "look at them: copies make figures too good"),
)
_WHERE = {"splits": "several splits", "classes": "several classes", "one class": "one class"}


def _twice(pictures: list[Seen], *, exact: bool) -> Twice:
    if len({picture.split for picture in pictures}) > 1:
        return Twice(pictures, exact, "splits")
    return Twice(pictures, exact, "classes" if len({picture.label for picture in pictures}) > 1 else "one class")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (" …" if len(listed) > _NAMED else "")


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _class(name: tuple[str | None, str]) -> str:
    return name[1] if name[0] is None else f"{name[0]}/{name[1]}"


def _place(picture: Seen) -> str:
    return picture.name if picture.size else f"{picture.label}, {picture.name}"

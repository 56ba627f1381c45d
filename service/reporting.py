"""What a support set says about itself, in the words of the request: labels, example ids."""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from meta_core import report as core
from meta_core.asking import device_of
from meta_core.episode import SupportSet
from meta_core.learner import AdaptOptions
from meta_core.leave_one_out import leave_one_out
from meta_core.report import Report, cosine_distances
from meta_core.suspicion import Suspect
from service.classifier import Example
from service.schemas import (
    DuplicateExamples,
    ExampleRef,
    LabelConfusion,
    LabelCount,
    NearestExample,
    ReportOut,
    SuspectExample,
)
from service.served import ServedModel

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_SECONDS = 0.5
"""Of leaving one out: no further examples are begun after so long."""
_MOST_LISTED = 100
_NEAREST = 3


class Reporter:
    """Looks at support sets in threads of its own, beside the device's thread and the event loop."""

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="report", initializer=torch.set_num_threads, initargs=(1,)
        )

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A call in one of the threads."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def left_out(model: ServedModel, features: Tensor, targets: Tensor, options: AdaptOptions) -> Tensor | None:
    """Leave-one-out logits (S, C); None where each example would take adapting a whole network.

    Learners that encode adapt features alone, without swapping weights on a module, so that any thread may ask them.
    """
    if not model.learner.encodes:
        return None
    device = device_of(model.learner)
    support = SupportSet(features.to(device), targets.to(device), torch.ones(len(features), device=device))
    return leave_one_out(model.learner, support, options=options, seconds=_SECONDS).cpu()


def report_on(
    model: ServedModel,
    features: Tensor,
    targets: Tensor,
    examples: Sequence[Example],
    *,
    labels: Sequence[str],
    options: AdaptOptions,
    logits: Tensor | None = None,
) -> ReportOut | None:
    """The report on a support set, None where it failed: a classifier that was made is not withheld for that.

    Args:
        model: that encoded and adapted.
        features: (S, …) encoded.
        targets: (S, C).
        examples: S, with their hashes and ids.
        labels: the C labels.
        options: of adaptation.
        logits: leave-one-out logits, if they are known.
    """
    try:
        logits = left_out(model, features, targets, options) if logits is None else logits
        support = SupportSet(features, targets, torch.ones(len(features)))
        hashes = [example.sha256 for example in examples]
        found = core.report(support, logits=logits, hashes=hashes, pictures=not model.learner.encodes)
    except Exception:
        logger.exception("no report on %d examples by %s", len(examples), model.card.name)
        return None
    return _out(found, references(labels, examples), labels, asked=logits is not None)


def references(labels: Sequence[str], examples: Sequence[Example]) -> list[ExampleRef]:
    """Examples as they are named in answers."""
    return [
        ExampleRef(example_id=example.id, index=index, label=labels[example.label])
        for index, example in enumerate(examples)
    ]


def nearest_to(
    support_features: Tensor, query_features: Tensor, examples: Sequence[ExampleRef]
) -> list[list[NearestExample]]:
    """Of each query (Q, …), the examples (S, …) that are nearest by the angle between features."""
    distances = cosine_distances(query_features.flatten(1), support_features.flatten(1))
    closest, places = distances.topk(min(_NEAREST, len(examples)), largest=False)
    return [
        [
            NearestExample(**examples[place].model_dump(), distance=distance)
            for place, distance in zip(row, own, strict=True)
        ]
        for row, own in zip(places.tolist(), closest.tolist(), strict=True)
    ]


def stored_features(examples: Sequence[Example], shape: Sequence[int]) -> Tensor | None:
    """What was kept of the examples, (S, *shape); None where nothing was."""
    if not all(example.features for example in examples):
        return None
    joined = bytearray().join(example.features for example in examples)
    return torch.frombuffer(joined, dtype=torch.float32).view(len(examples), *shape)


def _out(found: Report, examples: Sequence[ExampleRef], labels: Sequence[str], *, asked: bool) -> ReportOut:
    def suspect(each: Suspect) -> SuspectExample:
        named = examples[each.example].model_dump()
        return SuspectExample(**named, suggested_label=labels[each.suggested], score=each.score)

    def group(each: core.Duplicates) -> DuplicateExamples:
        members = [examples[member] for member in each.examples[:_MOST_LISTED]]
        return DuplicateExamples(
            examples=members, exact=each.exact, distance=each.distance, labels_differ=each.labels_differ
        )

    def confusion(each: core.Confusion) -> LabelConfusion:
        return LabelConfusion(label=labels[each.label], taken_for=labels[each.taken_for], count=each.count, of=each.of)

    return ReportOut(
        leave_one_out_accuracy=found.accuracy,
        leave_one_out_examples=found.judged,
        confusions=None if found.confusions is None else [confusion(each) for each in found.confusions[:_MOST_LISTED]],
        mislabelled=None if found.mislabelled is None else [suspect(each) for each in found.mislabelled[:_MOST_LISTED]],
        duplicates=[group(each) for each in found.duplicates[:_MOST_LISTED]],
        too_few_shots=[LabelCount(label=labels[label], shots=shots) for label, shots in found.few],
        notes=_notes(found, labels, asked=asked),
    )


def _notes(found: Report, labels: Sequence[str], *, asked: bool) -> list[str]:
    """What was not looked at, and why."""
    notes, missing = [], found.examples - found.judged
    if not asked:
        notes.append(
            "this model adapts its whole network: leaving out each example in turn would take as many adaptations, "
            "and its features are the pictures themselves, so that only equal pictures are told"
        )
    elif found.judged == 0:
        notes.append("every label has one example: nothing but itself speaks for it; add a second to each label")
    elif len(found.alone) == missing and missing:
        names = ", ".join(repr(labels[label][:40]) for label in found.alone[:5])
        notes.append(f"{missing} label(s) have one example and were left out of no count but their own: {names}")
    elif missing:
        told = "" if found.accuracy is not None else ", too few to tell an accuracy: send fewer, or evaluate on others"
        notes.append(f"time sufficed to leave out {found.judged} of {found.examples} examples in turn{told}")
    if asked and found.compared < found.examples:
        notes.append(f"near duplicates were looked for among the first {found.compared} of {found.examples} examples")
    return notes

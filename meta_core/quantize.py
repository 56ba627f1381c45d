"""A model whose encoder computes in 8-bit integers: faster on a CPU, and not quite the same answers.

Static quantization: each layer's range is taken from pictures once, so that a query's answer does not depend on what it
is encoded with, as it does where ranges are taken from the batch at hand (Nagel et al. 2021, "A White Paper on Neural
Network Quantization", section 3).
"""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from meta_core import checkpoint
from meta_core.asking import ask, encode_pictures
from meta_core.card import Accuracy, Beside, Card, Reduced
from meta_core.datasets import default_split, read_pictures
from meta_core.errors import InvalidCheckpoint, InvalidDataset, InvalidOptions, MissingExtra
from meta_core.evaluate import accuracy_row
from meta_core.intervals import paired_ci95
from meta_core.learner import Learner
from meta_core.objectives import accuracy
from meta_core.pictures import Pictures
from meta_core.plan import EpisodePlan, draw, fit_plan
from meta_core.preprocess import InputSpec, normalize
from meta_core.progress import episodes_bar, say

_SEEN, _TOGETHER = 96, 8
"""Pictures that ranges are taken from, and how many of them go through the network at once."""
_WAYS, _SHOTS, _EPISODES = 5, (1, 5), 300


def quantize(folder: Path, out: Path, *, data: Path, split: str | None = None, seed: int = 0) -> Card:
    """Write `out`, the model of `folder` with an encoder in 8-bit integers, compared with it on the same episodes.

    Ranges are taken from a sample of the pictures; the comparison is on the others.

    Args:
        folder: a model in fp32 that encodes.
        out: to be written; its name is the new model's.
        data: labelled pictures of the kind it is for.
        split: which part of the data; see `default_split`.
        seed: of the sample and the episodes.

    Raises:
        InvalidCheckpoint: `folder` is no such model, or `out` is there.
        InvalidOptions: it adapts the whole network, which integers do not allow.
        InvalidDataset: the pictures cannot be read, or are too few.
        MissingExtra: the packages of `kshot[train]` are not installed.
    """
    if out.exists():
        raise InvalidCheckpoint(f"{out} is there already: take another name, or remove it")
    exact = checkpoint.load(folder)
    if exact.card.precision != "fp32":
        raise InvalidCheckpoint(f"{exact.card.name} computes in {exact.card.precision} already")
    if not exact.learner.encodes:
        raise InvalidOptions(f"{exact.card.name} adapts its whole network by gradients, which 8-bit integers have not")
    pictures = read_pictures(data, exact.card.pictures, split=split or default_split(data))
    seen, others = _sampled(pictures, seed)
    with tempfile.TemporaryDirectory() as draft:
        encoder = Path(draft) / checkpoint.ENCODER
        say(f"taking the ranges of {exact.card.name}'s layers from {len(seen)} pictures")
        _write(folder / checkpoint.ENCODER, encoder, seen, exact.card.pictures)
        learner = _around(encoder, exact)
        reduced, measured = _compared(exact, learner.eval(), others, seen=len(seen), seed=seed)
        description = _description(exact.card, out.name, reduced, measured)
        card = checkpoint.save(out, learner, description=description, encoder=encoder)
    # As before, a calibrated model's state holds more than its learner's.
    card = card.model_copy(update={"state_bytes": exact.card.state_bytes})
    checkpoint.rewrite_card(out, card)
    return card


def _around(encoder: Path, exact: checkpoint.Model) -> Learner:
    """The same learner, its backbone the graph.

    Raises:
        InvalidOptions: it has to do with its backbone's own weights, which a graph has none of.
    """
    try:
        learner = checkpoint.around(encoder, exact.card.learner, exact.card.input)
        learner.load_state_dict(_without_backbone(exact.learner))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InvalidOptions(
            f"{exact.card.name} is a {exact.card.learner.name}, which needs the weights of its network and not only "
            "what it makes of pictures: it cannot be had in 8-bit integers"
        ) from error
    return learner


def _sampled(pictures: Pictures, seed: int) -> tuple[Tensor, Pictures]:
    """A sixth of the pictures, at most `_SEEN`, and all the others."""
    order = torch.randperm(len(pictures.images), generator=torch.Generator().manual_seed(seed))
    count = min(_SEEN, len(order) // 6)
    if not count:
        raise InvalidDataset(f"{pictures.source} has {len(order)} pictures; expected some dozens at least")
    seen, others = order[:count], order[count:].sort().values
    rest = Pictures(
        images=pictures.images[others],
        labels=pictures.labels[others],
        classes=pictures.classes,
        groups=pictures.groups,
        source=pictures.source,
        licence=pictures.licence,
    )
    return pictures.images[seen], rest


def _write(source: Path, target: Path, seen: Tensor, spec: InputSpec) -> None:
    """Activations in unsigned and weights in signed integers, a scale a channel: what x86 multiplies fastest."""
    try:
        import onnx  # noqa: F401
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingExtra(f"quantizing needs {error.name}; install kshot[train]") from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Batches of the pictures, then None."""

        def __init__(self) -> None:
            self._batches = iter(torch.split(seen, _TOGETHER))

        def get_next(self) -> dict[str, Any] | None:
            """See `CalibrationDataReader`."""
            batch = next(self._batches, None)
            return None if batch is None else {"inputs": normalize(batch, spec).numpy()}

    prepared = target.with_suffix(".prepared.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()


def _without_backbone(learner: Learner) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in learner.state_dict().items() if not name.startswith("backbone.")}


class _Asked(NamedTuple):
    """What both said in all episodes of a plan: accuracies (E,), how far probabilities were apart, same answers."""

    exact: Tensor
    reduced: Tensor
    apart: float
    same: float


def _compared(
    exact: checkpoint.Model, learner: Learner, others: Pictures, *, seen: int, seed: int
) -> tuple[Reduced, list[Accuracy]]:
    plans = []
    for shots in _SHOTS:
        plan, notes = fit_plan(others, ways=min(_WAYS, len(others.classes)), shots=shots, episodes=_EPISODES, seed=seed)
        plans.append(plan)
        for note in notes:
            say(note)
    say(f"encoding the {len(others.images)} others by both")
    features = [encode_pictures(each, others.images, exact.card.pictures) for each in (exact.learner, learner)]
    rows, measured, apart, same = [], [], [], []
    with episodes_bar("comparing", total=len(plans) * _EPISODES) as bar:
        for plan in plans:
            found = _ask_both(learner, features, others, plan)
            difference, ci95 = paired_ci95(found.reduced, found.exact)
            row = accuracy_row(learner, found.reduced, others, plan)
            measured.append(row)
            rows.append(
                Beside(
                    ways=plan.ways,
                    shots=plan.shots,
                    queries=plan.queries,
                    episodes=plan.episodes,
                    accuracy=row.accuracy,
                    fp32=100 * float(found.exact.mean()),
                    difference=difference,
                    ci95=ci95,
                )
            )
            apart.append(found.apart)
            same.append(found.same)
            bar.advance(plan.episodes)
    error = float((features[1] - features[0]).norm() / features[0].norm())
    reduced = Reduced(
        of=f"{exact.card.name} {exact.card.version}",
        data=others.source,
        pictures=seen,
        feature_error=error,
        same_answers=100 * sum(same) / len(same),
        probability_difference=max(apart),
        beside=rows,
    )
    return reduced, measured


def _ask_both(learner: Learner, features: Sequence[Tensor], pictures: Pictures, plan: EpisodePlan) -> _Asked:
    """The heads are the same; what they are given is not."""
    targets = torch.eye(plan.ways).repeat_interleave(plan.queries, dim=0)
    accuracies: list[list[Tensor]] = [[], []]
    apart, same = list[float](), list[float]()
    for shown, asked in _episodes(pictures, plan):
        both = [ask(learner, own.__getitem__, [shown], [asked])[0] for own in features]
        for kept, logits in zip(accuracies, both, strict=True):
            kept.append(accuracy(logits, targets))
        probabilities = [logits.double().softmax(-1) for logits in both]
        apart.append(float((probabilities[0] - probabilities[1]).abs().mean()))
        same.append(float((both[0].argmax(-1) == both[1].argmax(-1)).double().mean()))
    exact, reduced = (torch.stack(kept) for kept in accuracies)
    return _Asked(exact, reduced, sum(apart) / len(apart), sum(same) / len(same))


def _episodes(pictures: Pictures, plan: EpisodePlan) -> Iterator[tuple[Tensor, Tensor]]:
    """Picture numbers: shown (C, K), asked (Q,)."""
    for task in draw(pictures, plan):
        yield task[:, : plan.shots], task[:, plan.shots :].flatten()


def _description(card: Card, name: str, reduced: Reduced, measured: list[Accuracy]) -> dict[str, Any]:
    """What the card says of the model it was made of, but for what is measured anew."""
    anew = {"name", "precision", "reduced", "accuracy", "features", "state_bytes", "most_ways", "adapt"}
    kept = card.model_dump(exclude=anew)
    del kept["files"], kept["format"]
    return kept | {"name": name, "precision": "int8", "reduced": reduced, "accuracy": measured}

"""Pictures where people would rather look than read; each as PNG, for a light page or a dark one."""

import io
import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from meta_core.batching import adapt_many, encode_episode
from meta_core.episode import TaskSource, tasks_of
from meta_core.errors import MissingExtra
from meta_core.learner import AdaptOptions, Learner
from meta_core.plane import principal_plane
from meta_core.run import Look
from meta_core.vectors import VectorSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMES = 25
"""Classes whose names are written; of more, none could be read."""
_BINS = 10


class Point(NamedTuple):
    """Accuracy, percent, with so many shots, and the half width of its 95 % confidence interval."""

    shots: int
    accuracy: float
    ci95: float


def training_curve(looks: Sequence[Look], *, title: str, regression: bool = False) -> bytes:
    """Loss and validation accuracy (percent), or a regression's squared error, against steps, as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"drawing needs {error.name}; install kshot[train]") from error
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    losses = figure.subplots()
    scores, measured = losses.twinx(), "validation squared error" if regression else "validation accuracy"
    steps = [look.step for look in looks]
    losses.plot(steps, [look.loss for look in looks], color="tab:gray", label="training loss")
    values = [-look.score if regression else look.score for look in looks]
    scores.plot(steps, values, color="tab:blue", label=measured)
    losses.set(title=title, xlabel="meta-training step", ylabel="training loss", yscale="log")
    scores.set(ylabel=measured if regression else f"{measured}, %", yscale="log" if regression else "linear")
    lines = [*losses.get_lines(), *scores.get_lines()]
    losses.legend(lines, [str(line.get_label()) for line in lines], loc="center right")
    return _png(figure)


def embedding_map(
    features: Tensor, labels: Tensor, classes: Sequence[str], *, marked: Sequence[int] = (), dark: bool = False
) -> bytes:
    """Examples on the plane that shows most of how their features (of length 1) differ: principal components.

    Args:
        features: (S, D).
        labels: (S,) class numbers.
        classes: the C names.
        marked: examples to draw a ring around.
        dark: for a dark page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    points, shares = principal_plane(features)
    with _drawn(size=(7.5, 5.5), dark=dark) as (figure, axes):
        for number, name in enumerate(classes):
            own = points[labels == number]
            colour, shape = f"C{number % 10}", "osv^DPX*"[number // 10 % 8]
            axes.scatter(own[:, 0], own[:, 1], c=colour, marker=shape, s=28, alpha=0.85, label=_short(name))
        ringed = points[list(marked)]
        if len(ringed):
            axes.scatter(
                ringed[:, 0], ringed[:, 1], s=150, facecolors="none", edgecolors="tab:red", label="looks mislabelled"
            )
        axes.set(xlabel=f"{shares[0]:.0f} % of the variance", ylabel=f"{shares[1]:.0f} % of the variance")
        if len(classes) <= _MOST_NAMES:
            figure.legend(loc="outside right upper", fontsize="small", frameon=False)
        return _png(figure)


def confusions(matrix: Tensor, classes: Sequence[str], *, dark: bool = False) -> bytes:
    """How often each label (row) was answered as each (column), as shares of the row; counts where they can be read.

    Args:
        matrix: (C, C) counts.
        classes: the C names.
        dark: for a dark page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    shares = matrix / matrix.sum(1, keepdim=True).clamp_min(1)
    side = min(10.0, 3.5 + 0.3 * len(classes))
    with _drawn(size=(side + 1, side), dark=dark) as (figure, axes):
        image = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues_r" if dark else "Blues")
        figure.colorbar(image, ax=axes, label="share of the label's examples", shrink=0.8)
        axes.set(xlabel="answered", ylabel="label")
        if len(classes) <= _MOST_NAMES:
            names = [_short(name) for name in classes]
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
            axes.set_yticks(range(len(names)), names)
            for row, column in torch.nonzero(matrix).tolist():
                strong = float(shares[row, column]) > 0.5
                colour = "black" if strong == dark else "white"
                axes.text(column, row, str(int(matrix[row, column])), ha="center", va="center", color=colour)
        return _png(figure)


def reliability(confidences: Tensor, right: Tensor, *, dark: bool = False) -> bytes:
    """Accuracy against confidence in ten bins, which are equal where probabilities are calibrated.

    Args:
        confidences: (N,) probability of the answer.
        right: (N,) bool.
        dark: for a dark page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    bins = reliability_bins(confidences, right)
    with _drawn(size=(5.5, 4.5), dark=dark) as (figure, axes):
        axes.plot([0, 1], [0, 1], linestyle="--", color="tab:gray", label="calibrated")
        counts = torch.tensor([each.answers for each in bins])
        sizes = 20 + 200 * counts / counts.max()
        places, heights = [each.confidence for each in bins], [each.accuracy for each in bins]
        axes.plot(places, heights, color="tab:blue")
        axes.scatter(places, heights, s=sizes, color="tab:blue", label="answers; larger: more of them")
        axes.set(xlabel="confidence", ylabel="share of right answers", xlim=(0, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left", frameon=False)
        return _png(figure)


class Bin(NamedTuple):
    """Answers of about one confidence: means and their number."""

    confidence: float
    accuracy: float
    answers: int


def reliability_bins(confidences: Tensor, right: Tensor) -> list[Bin]:
    """Ten equal intervals of confidence, those that hold answers."""
    numbers = (confidences * _BINS).long().clamp(0, _BINS - 1)
    return [
        Bin(float(confidences[own].mean()), float(right[own].double().mean()), int(own.sum()))
        for own in (numbers == number for number in range(_BINS))
        if own.any()
    ]


def accuracy_against_shots(points: Sequence[Point], *, dark: bool = False) -> bytes:
    """Accuracy with its 95 % confidence interval against the number of examples a label.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with _drawn(size=(5.5, 4.0), dark=dark) as (figure, axes):
        shots = [point.shots for point in points]
        bars = [0.0 if point.ci95 != point.ci95 else point.ci95 for point in points]
        axes.errorbar(shots, [point.accuracy for point in points], yerr=bars, marker="o", capsize=3)
        axes.set(xlabel="examples a label", ylabel="accuracy on the others, %", xscale="log")
        axes.set_xticks(shots, [str(number) for number in shots])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
        return _png(figure)


@torch.no_grad()
def adapted_curves(
    learner: Learner,
    source: TaskSource,
    spec: VectorSpec,
    *,
    steps: Sequence[int | None],
    seed: int = 3,
    dark: bool = False,
) -> bytes:
    """What a regression of one number on one answers before the first step of adaptation and after some (Finn et al.
    2017, figure 2), beside the truth and the examples, for two tasks.

    Args:
        learner: in `eval` mode.
        source: of tasks with enough queries to draw a line through.
        spec: of the learner's input.
        steps: of adaptation, a line each; None for one that has no steps.
        seed: of the tasks.
        dark: for a dark page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    episode = source.sample(2, torch.Generator().manual_seed(seed))
    mean, std = spec.mean[0], spec.std[0]
    with _drawn(size=(9.0, 3.6), dark=dark) as (figure, whole):
        whole.remove()
        panels = figure.subplots(1, 2, sharey=True)
        encoded = tasks_of(encode_episode(learner, episode))
        for axes, task, (support, query) in zip(panels, tasks_of(episode), encoded, strict=True):
            order = task.query.inputs[:, 0].argsort()
            x, y = (std * task.query.inputs[order, 0] + mean).numpy(), task.query.targets[order, 0].numpy()
            axes.plot(x, y, color="tab:red", linewidth=2.5, alpha=0.6, label="the wave")
            styles = [*itertools.islice(itertools.cycle((":", "--", "-.")), len(steps) - 1), "-"]
            for count, style in zip(steps, styles, strict=True):
                (state,) = adapt_many(learner, [support], options=AdaptOptions(steps=count))
                answer = learner.predict(state, query.inputs[order])[:, 0].numpy()
                label = "the answer" if count is None else f"after {count} step{'s' * (count != 1)}"
                axes.plot(x, answer, style, color="tab:blue", label=label)
            shown = (std * task.support.inputs[:, 0] + mean).numpy(), task.support.targets[:, 0].numpy()
            axes.scatter(*shown, marker="^", color="tab:purple", zorder=3, label=f"its {len(shown[0])} examples")
            axes.set(xlabel="input")
        panels[0].set(ylabel="output")
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside right upper", fontsize="small", frameon=False)
        return _png(figure)


@contextmanager
def _drawn(*, size: tuple[float, float], dark: bool) -> Iterator[tuple["Figure", "Axes"]]:
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.style import library
    except ImportError as error:
        raise _missing(error) from error
    with matplotlib.rc_context(library["dark_background"] if dark else {}):
        figure = Figure(figsize=size, dpi=110, layout="constrained")
        figure.patch.set_alpha(0)
        yield figure, figure.subplots()


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that matplotlib's font lacks: a box is drawn
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _missing(error: ImportError) -> MissingExtra:
    return MissingExtra(f"drawing needs {error.name}; install kshot[report]")


def _short(name: str) -> str:
    """A label as matplotlib shows it: it would read formulas between dollars, and leave out what begins with `_`."""
    plain = name if len(name) <= 24 else f"{name[:23]}…"
    return ("\u200a" if plain.startswith("_") else "") + plain.replace("$", r"\$")

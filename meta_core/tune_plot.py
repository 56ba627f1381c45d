"""How a search went: accuracy over the trials, and over each setting."""

import io
from typing import TYPE_CHECKING, Any

from meta_core.errors import MissingExtra
from meta_core.recipe import Searched
from meta_core.tune import Tried, Tuned

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tuning_picture(tuned: Tuned, *, title: str) -> bytes:
    """Validation accuracy (percent) of every trial, by its number and by each setting that was searched, as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"drawing needs {error.name}; install kshot[train]") from error
    columns = min(3, 1 + len(tuned.space))
    rows = -(-(1 + len(tuned.space)) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows), dpi=120, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten().tolist()
    figure.suptitle(title)
    _history(axes[0], tuned)
    for place, (name, searched) in zip(axes[1:], tuned.space.items(), strict=False):
        _by_setting(place, tuned, name, searched)
    for place in axes[1 + len(tuned.space) :]:
        place.set_axis_off()
    for row in range(rows):
        axes[row * columns].set_ylabel("validation accuracy, %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _history(axes: "Axes", tuned: Tuned) -> None:
    best, so_far = 0.0, []
    for trial in tuned.trials:
        best = max(best, trial.accuracy)
        so_far.append(best)
    numbers = [trial.number for trial in tuned.trials]
    axes.step(numbers, so_far, where="post", color="tab:blue", label="best so far")
    axes.axhline(tuned.recipe.accuracy, color="tab:gray", linestyle="--", label="the recipe as it is")
    _points(axes, tuned.trials, numbers)
    axes.set_xlabel(f"trial of {tuned.steps} steps")
    axes.legend(loc="lower right", fontsize="small", frameon=False)


def _by_setting(axes: "Axes", tuned: Tuned, name: str, searched: Searched) -> None:
    trials = [trial for trial in tuned.trials if name in trial.values]
    if searched.choices:
        names = [str(choice) for choice in searched.choices]
        _points(axes, trials, [names.index(str(trial.values[name])) for trial in trials])
        axes.set_xticks(range(len(names)), names)
    else:
        _points(axes, trials, [trial.values[name] for trial in trials])
        axes.set_xscale("log" if searched.log else "linear")
        axes.set_xlim(searched.low, searched.high)  # all that could have been tried
    axes.set_xlabel(name)


def _points(axes: "Axes", trials: list[Tried], places: list[Any]) -> None:
    for whole, mark, name in ((True, "o", "trained to its end"), (False, "x", "given up")):
        chosen = [(place, trial) for place, trial in zip(places, trials, strict=True) if trial.whole == whole]
        if chosen:
            heights = [trial.accuracy for _, trial in chosen]
            axes.scatter([place for place, _ in chosen], heights, marker=mark, color="tab:blue", s=24, label=name)

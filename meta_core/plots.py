"""Pictures where people would rather look than read."""

import io
from collections.abc import Sequence

from meta_core.errors import MissingExtra
from meta_core.run import Look


def training_curve(looks: Sequence[Look], *, title: str) -> bytes:
    """Loss and validation accuracy (percent) against steps, as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"drawing needs {error.name}; install kshot[train]") from error
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    losses = figure.subplots()
    accuracies = losses.twinx()
    steps = [look.step for look in looks]
    losses.plot(steps, [look.loss for look in looks], color="tab:gray", label="training loss")
    accuracies.plot(steps, [look.accuracy for look in looks], color="tab:blue", label="validation accuracy")
    losses.set(title=title, xlabel="meta-training step", ylabel="training loss", yscale="log")
    accuracies.set_ylabel("validation accuracy, %")
    lines = [*losses.get_lines(), *accuracies.get_lines()]
    losses.legend(lines, [str(line.get_label()) for line in lines], loc="center right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

"""Whether all compute the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.settings import LEAST_SAME, REDUCED_TOLERANCE, TOLERANCE


class Disagreement(SystemExit):
    """A contestant computes something else: no time of it would mean anything."""


def largest_difference(
    answers: Sequence[Sequence[float]], expected: NDArray[np.float64], *, named: str, reduced: bool = False
) -> float:
    """Of a probability, over all pictures and classes.

    Args:
        answers: that came.
        expected: the reference's.
        named: who answered.
        reduced: whether it computes in 8-bit integers.

    Raises:
        Disagreement: it is more than the tolerance, there are other classes, or, of integers, more than one in ten
            pictures gets another label.
    """
    worst, tolerance = 0.0, REDUCED_TOLERANCE if reduced else TOLERANCE
    same_label = [np.argmax(answer) == wanted.argmax() for answer, wanted in zip(answers, expected, strict=True)]
    if reduced and np.mean(same_label) < LEAST_SAME:
        raise Disagreement(f"{named} gives {np.mean(same_label):.0%} of the pictures the reference's label: too few")
    for number, (answer, wanted) in enumerate(zip(answers, expected, strict=True)):
        same = len(answer) == len(wanted)
        off = float(np.abs(wanted - answer).max()) if same else np.inf
        if not off <= tolerance:
            raise Disagreement(
                f"{named}, picture {number}: {list(answer)} came; expected {wanted.tolist()} within {tolerance:g}. "
                "Who computes something else cannot be compared: no figures are given."
            )
        worst = max(worst, off)
    return worst

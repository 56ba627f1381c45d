"""Whether all compute the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.settings import TOLERANCE


class Disagreement(SystemExit):
    """A contestant computes something else: no time of it would mean anything."""


def largest_difference(answers: Sequence[Sequence[float]], expected: NDArray[np.float64], *, named: str) -> float:
    """Of a probability, over all pictures and classes.

    Raises:
        Disagreement: it is more than the tolerance, or there are other classes.
    """
    worst = 0.0
    for number, (answer, wanted) in enumerate(zip(answers, expected, strict=True)):
        same = len(answer) == len(wanted)
        off = float(np.abs(wanted - answer).max()) if same else np.inf
        if not off <= TOLERANCE:
            raise Disagreement(
                f"{named}, picture {number}: {list(answer)} came; expected {wanted.tolist()} within {TOLERANCE:g}. "
                "Who computes something else cannot be compared: no figures are given."
            )
        worst = max(worst, off)
    return worst

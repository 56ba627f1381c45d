"""How sure a measured mean is."""

import math
from collections.abc import Sequence

from torch import Tensor


def mean_ci95(values: Tensor) -> tuple[float, float]:
    """Mean and half width of its 95 % confidence interval, in percent (normal approximation)."""
    half = 1.96 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return 100 * float(values.mean()), 100 * half


def wilson_ci95(successes: int, trials: int) -> tuple[float, float]:
    """95 % confidence interval of a share, 0 to 1 (Wilson 1927): it holds for few trials and near 0 and 1 too."""
    z2 = 1.96**2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = 1.96 / (1 + z2 / trials) * (share * (1 - share) / trials + z2 / (4 * trials**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_ci95(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Mean difference of two learners' accuracies and the half width of its 95 % confidence interval, in percent.

    Paired: an episode that is hard is hard for both, and what they share cancels in the difference, whose interval is
    thereby narrower than either learner's own.

    Args:
        first: accuracy of each episode, (E,).
        second: of the same episodes in the same order, or of the first of them; the interval is over those of both.
    """
    common = min(len(first), len(second))
    return mean_ci95(first[:common] - second[:common])


def mean_of_means(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of independent means, each counting the same, and the half width of its interval."""
    means, halves = zip(*parts, strict=True)
    return sum(means) / len(parts), math.hypot(*halves) / len(parts)

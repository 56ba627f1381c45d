"""How many operations a step takes at least, to compare with what the machine multiplies matrices at."""

from maml_step.settings import QUERIES, SHOTS, SIDE, WAYS, WIDTH

_FIRST_ORDER = 3
"""Forward, gradient of the inputs, gradient of the weights."""

_SECOND_ORDER = 9
"""These three; what the outputs' gradient gets of both, and one each for inputs and weights (4); and the backward pass
of the forward pass for what has come to it (2)."""


def step_flop(tasks: int) -> float:
    """Of the convolutions; all else is less than a hundredth. A product and its addition are two."""
    total, side = 0.0, SIDE
    for block in range(4):
        channels = WIDTH if block else 1
        one = 2.0 * side * side * 9 * channels * WIDTH
        # Nobody needs the gradient of the pictures: the first block goes without it, and without its derivatives.
        query, support = (_FIRST_ORDER, _SECOND_ORDER) if block else (2, 4)
        total += one * WAYS * (QUERIES * query + SHOTS * support)
        side //= 2
    return total * tasks

"""First-order MAML (Finn, Abbeel & Levine 2017, 5.2; Nichol, Achiam & Schulman 2018, "On First-Order Algorithms")."""

from torch import nn

from meta_core.learners.maml import MAML
from meta_core.rates import RatesKind


def build(
    *, backbone: nn.Module, steps: int = 5, rate: float = 0.1, head_rate: float = 0.1, rates: RatesKind = "layer_step"
) -> MAML:
    """MAML whose inner gradients are constants to the meta-gradient, from the first training step to the last.

    It leaves out the product with the Hessian (Finn et al. 2017, after eq. 1), about half of a step's time and most of
    its memory; what it adapts to, and by which steps, is the same.
    """
    return MAML(backbone=backbone, steps=steps, rate=rate, head_rate=head_rate, rates=rates, first_order_until=1.0)

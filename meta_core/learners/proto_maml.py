"""Proto-MAML (Triantafillou et al. 2020, "Meta-Dataset", 3.2): MAML whose head starts as ProtoNet's."""

from torch import nn

from meta_core.learners.maml import MAML
from meta_core.rates import RatesKind


def build(
    *,
    backbone: nn.Module,
    steps: int = 5,
    rate: float = 0.01,
    head_rate: float = 0.01,
    rates: RatesKind = "layer_step",
    scale: float = 1.0,
    first_order_until: float = 0.0,
    frozen_norms: bool = False,
) -> MAML:
    """MAML from `heads.prototype_rows`: without a step it answers as ProtoNet of that `scale` does.

    As in the paper the meta-gradient goes through the prototypes. With `frozen_norms` the backbone may be a trained
    ProtoNet's, with batch norm.
    """
    return MAML(
        backbone=backbone,
        steps=steps,
        rate=rate,
        head_rate=head_rate,
        rates=rates,
        start="prototypes",
        scale=scale,
        first_order_until=first_order_until,
        frozen_norms=frozen_norms,
    )

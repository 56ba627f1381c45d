"""Meta-SGD (Li, Zhou, Chen & Li 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning")."""

from torch import nn

from meta_core.learners.maml import MAML


def build(
    *,
    backbone: nn.Module,
    steps: int = 3,
    rate: float = 0.1,
    head_rate: float = 0.1,
    first_order_until: float = 0.0,
) -> MAML:
    """MAML whose inner learning rate is a learned vector, one number for each weight: θ − α ∘ ∇ (eq. 2).

    As in the paper the rates may become negative. Differs from the paper: the head, whose rows come with the task, has
    one learned rate for all its weights and one for its biases; more steps than the paper's one can be taken, since
    from equal rows the first moves the head alone.
    """
    return MAML(
        backbone=backbone,
        steps=steps,
        rate=rate,
        head_rate=head_rate,
        rates="weight",
        first_order_until=first_order_until,
    )

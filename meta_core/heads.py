"""Linear heads for any number of ways: where their rows start, and what they answer."""

from torch import Tensor

from meta_core.episode import SupportSet
from meta_core.functional import class_means
from meta_core.inner_loop import Rates, Weights

WEIGHT, BIAS = "head.weight", "head.bias"
NAMES = (WEIGHT, BIAS)


def centred(features: Tensor, support: SupportSet) -> tuple[Tensor, Tensor]:
    """Features (S, D) less the mean of the classes' means, and that centre (D,).

    Most of a feature vector's length is what all classes have in common; it leaves a head room for short steps only,
    and a first step from equal rows in its direction puts every class off by a constant of its own.
    """
    centre = class_means(features, support.targets, support.weights).mean(0)
    return features - centre, centre


def uncentred(weights: Weights, centre: Tensor) -> Weights:
    """The head that answers for features as they are what `weights` answers for centred ones."""
    return weights | {BIAS: weights[BIAS] - centre @ weights[WEIGHT].T}


def linear(weights: Weights, features: Tensor) -> Tensor:
    """Logits of features: (Q, D) → (Q, C)."""
    return features @ weights[WEIGHT].T + weights[BIAS]


def per_way(rates: Rates, support: SupportSet) -> Weights:
    """Rates with those of the head times the ways.

    A row's gradient is a mean over all classes' examples, of which its own are one part in C; without this a rate
    that was learned on 20 ways would be four times too long a step on 5.
    """
    ways = support.targets.shape[1]
    return {name: ways * rate if name in NAMES else rate for name, rate in rates.items()}


def equal_rows(features: Tensor, support: SupportSet) -> Weights:
    """Rows that are all alike (Ye & Chao 2022, UNICORN-MAML, 4.3), here 0: `head.weight` (C, D), `head.bias` (C,).

    Differs from the paper, which learns the common row: it adds the same to every logit, the rows' steps sum to 0, and
    the softmax does not see it, neither in the loss nor in any gradient.
    """
    ways = support.targets.shape[1]
    return {WEIGHT: features.new_zeros(ways, features.shape[1]), BIAS: features.new_zeros(ways)}


def prototype_rows(features: Tensor, support: SupportSet, *, scale: float | Tensor = 1.0) -> Weights:
    """The linear head that answers as ProtoNet would (Triantafillou et al. 2020, 3.2): 2 c_k and −|c_k|².

    Args:
        features: (S, D).
        support: whose classes.
        scale: factor on the squared distance.
    """
    prototypes = class_means(features, support.targets, support.weights)
    return {WEIGHT: 2 * scale * prototypes, BIAS: -scale * prototypes.square().sum(-1)}

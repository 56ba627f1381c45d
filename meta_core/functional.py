"""Pure functions that several learners share; each takes one task and also runs under `torch.vmap`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from meta_core.episode import State, SupportSet
from meta_core.errors import InvalidSupportSet
from meta_core.objectives import Objective


def check_support(support: SupportSet, *, objective: Objective = "cross_entropy", most_ways: int | None = None) -> None:
    """Refuse a support set that a learner cannot adapt to.

    Under `torch.vmap` values cannot be looked at, so nothing is checked there: whoever stacks tasks checks each first.

    Args:
        support: one task's.
        objective: of the learner.
        most_ways: classes that the learner can tell apart, where it is bound to a number.

    Raises:
        InvalidSupportSet: a class has no example (its mean would be NaN, or a prototype at the origin that wins), a
            regression has none at all, the classes are too many, or the tensors' lengths differ.
    """
    if torch._C._functorch.is_batchedtensor(support.targets):
        return
    if empty := torch.nonzero(_counts(support, objective, most_ways) <= 0).flatten().tolist():
        if objective == "squared_error":
            raise InvalidSupportSet("no example came; a regression needs at least one")
        raise InvalidSupportSet(f"classes {empty} have no example; every class needs at least one")


def check_supports(
    supports: Sequence[SupportSet], *, objective: Objective = "cross_entropy", most_ways: int | None = None
) -> None:
    """`check_support` of many, on a GPU with one wait for all of them.

    Raises:
        InvalidSupportSet: for the first that the learner cannot adapt to.
    """
    counts = [(_counts(support, objective, most_ways) > 0).all() for support in supports]
    if not counts or bool(torch.stack(counts).all()):
        return
    for support in supports:
        check_support(support, objective=objective, most_ways=most_ways)


def _counts(support: SupportSet, objective: Objective, most_ways: int | None) -> Tensor:
    """What has to be above 0: each class's weight (C,); of a regression, how many examples there are (1,)."""
    examples, rows, weights = len(support.inputs), len(support.targets), len(support.weights)
    if not examples == rows == weights:
        raise InvalidSupportSet(f"{examples} inputs came with {rows} targets and {weights} weights; expected as many")
    if support.targets.ndim != 2 or support.targets.shape[1] == 0:
        raise InvalidSupportSet(f"targets have shape {tuple(support.targets.shape)}; expected (examples, ways)")
    if objective == "squared_error":
        return (support.weights > 0).sum()[None]
    if most_ways is not None and support.targets.shape[1] > most_ways:
        raise InvalidSupportSet(
            f"{support.targets.shape[1]} classes came; this model tells at most {most_ways} apart. Send fewer, or take "
            "a model without such a bound"
        )
    return support.weights @ support.targets.to(support.weights.dtype)


def outputs_of(network: nn.Module) -> int | None:
    """Numbers that a network answers with: as many as its last layer has rows; None for one without weights."""
    sizes = [len(weight) for weight in network.parameters()]
    return sizes[-1] if sizes else None


def class_means(features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of each class's examples: (S, D), (S, C), (S,) → (C, D).

    Summed in float64, so that padding and the order of examples do not show in the float32 result.
    """
    membership = (targets * weights[:, None]).double()
    means = membership.T @ features.double() / membership.sum(0)[:, None]
    return means.to(features.dtype)


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distance of each point to each centre: (Q, D), (C, D) → (Q, C).

    |p|² − 2pc + |c|² cancels in float32 and then depends on how the product was tiled, thus on the number of points;
    in float64 it does not, and costs little beside the encoder.
    """
    p, c = points.double(), centres.double()
    squares = p.square().sum(-1, keepdim=True) - 2 * p @ c.T + c.square().sum(-1)
    return squares.clamp_min(0).to(points.dtype)


def balanced_weights(targets: Tensor, weights: Tensor) -> Tensor:
    """Example weights that give each class the same total, in float64: (S, C), (S,) → (S,).

    They sum to the number of examples, so that with even shots each stays what it was.
    """
    targets, weights = targets.double(), weights.double()
    counts = weights @ targets
    return weights * (targets @ (weights.sum() / (targets.shape[1] * counts)))


def centred_rows(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Features (S, D) less their weighted mean, and the mean (D,), in float64.

    A row of weight 0 becomes 0 whatever it held, be it no number.
    """
    kept = weights[:, None] > 0
    features = torch.where(kept, features.double(), 0)
    mean = weights @ features / weights.sum()
    return torch.where(kept, features - mean, 0), mean


def unit_rows(vectors: Tensor) -> Tensor:
    """Vectors (…, D) made of length 1, in float64; the vector 0 stays 0."""
    vectors = vectors.double()
    return vectors * inverse_length(vectors.square().sum(-1, keepdim=True))


def inverse_length(squares: Tensor) -> Tensor:
    """1 / √squares; 0 where there is no length, and so is the gradient, which would there be infinite."""
    some = squares > 1e-30
    return torch.where(some, torch.where(some, squares, 1).rsqrt(), 0)


def linear_state(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> State:
    """`weight` (D, C) and `bias` (C,) as they are stored: of `dtype`, contiguous, no views of anything larger."""
    named = {"weight": weight, "bias": bias}
    return {name: tensor.to(dtype, copy=True).contiguous() for name, tensor in named.items()}


def linear_logits(state: State, query: Tensor) -> Tensor:
    """Logits of features by `linear_state`: (Q, D) → (Q, C), multiplied in float64 as `squared_distances` are."""
    weight, bias = state["weight"], state["bias"]
    return (query.double() @ weight.double() + bias.double()).to(weight.dtype)

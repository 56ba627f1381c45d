"""Many tasks of different sizes at once: group by shape, pad, stack, `torch.vmap`, split again."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from meta_core.episode import Episode, State, SupportSet
from meta_core.errors import AdaptationDiverged
from meta_core.functional import check_supports
from meta_core.learner import AdaptOptions, Learner
from meta_core.parallel import Workers

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


def adapt_many(
    learner: Learner, supports: Sequence[SupportSet], *, options: AdaptOptions, workers: Workers | None = None
) -> list[State]:
    """`learner.adapt` for tasks of any ways and shots; tasks of equal ways are adapted together.

    Args:
        learner: in `eval` mode.
        supports: one encoded support set a task.
        options: the same for all tasks.
        workers: threads of this learner, for learners whose tasks are adapted one by one.

    Raises:
        InvalidSupportSet: for the first task that cannot be adapted to.
        AdaptationDiverged: for the first whose state is not finite.
    """
    check_supports(supports, objective=learner.objective, most_ways=learner.most_ways)
    if learner.order_matters or _loops(learner, [support.weights for support in supports]):
        states = _each(lambda own, support: own.adapt(support, options=options), learner, supports, workers)
        for state in states:
            _check_finite(state.values(), "adapting to these examples", options)
        return states
    return _adapt_stacked(learner, supports, options)


def predict_many(
    learner: Learner, states: Sequence[State], queries: Sequence[Tensor], *, workers: Workers | None = None
) -> list[Tensor]:
    """`learner.predict` for many tasks: one (Q, *features) a state → one (Q, C) each; equal shapes go together.

    Raises:
        AdaptationDiverged: for the first task whose logits are not finite.
    """
    if len(states) != len(queries):
        raise ValueError(f"{len(states)} states came with {len(queries)} query tensors")
    if _loops(learner, queries):
        pairs = list(zip(states, queries, strict=True))
        logits = _each(lambda own, pair: own.predict(*pair), learner, pairs, workers)
    else:
        logits = _predict_stacked(learner, states, queries)
    _check_finite(logits, "classifying by this state", AdaptOptions())
    return logits


def _adapt_stacked(learner: Learner, supports: Sequence[SupportSet], options: AdaptOptions) -> list[State]:
    states: dict[int, State] = {}
    for indices in _groups([support.targets.shape[1] for support in supports]):
        stacked = _stack([supports[i] for i in indices])
        batch = torch.vmap(lambda support: learner.adapt(support, options=options))(stacked)
        _check_finite(batch.values(), "adapting to these examples", options)
        states |= {i: _nth(batch, row) for row, i in enumerate(indices)}
    return [states[i] for i in range(len(supports))]


def _predict_stacked(learner: Learner, states: Sequence[State], queries: Sequence[Tensor]) -> list[Tensor]:
    logits: dict[int, Tensor] = {}
    for indices in _groups([_state_shape(state) for state in states]):
        longest = max(len(queries[i]) for i in indices)
        padded = torch.stack([_pad(queries[i], longest) for i in indices])
        stacked = {name: torch.stack([states[i][name] for i in indices]) for name in states[indices[0]]}
        batch = torch.vmap(learner.predict)(stacked, padded)
        logits |= {i: batch[row, : len(queries[i])] for row, i in enumerate(indices)}
    return [logits[i] for i in range(len(states))]


def encode_episode(learner: Learner, episode: Episode, *, precision: str = "fp32") -> Episode:
    """A meta-batch, all pictures sent through the encoder in one forward; features are of the targets' precision."""
    support, query = episode.support.inputs, episode.query.inputs
    inputs = torch.cat([support.flatten(0, 1), query.flatten(0, 1)])
    if inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features = learner.encode(inputs)
    features = features.to(episode.support.targets.dtype)
    supports, queries = torch.split(features, [support.shape[:2].numel(), query.shape[:2].numel()])
    return Episode(
        episode.support._replace(inputs=supports.view(*support.shape[:2], *supports.shape[1:])),
        episode.query._replace(inputs=queries.view(*query.shape[:2], *queries.shape[1:])),
    )


def _loops(learner: Learner, tensors: Sequence[Tensor]) -> bool:
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    return not learner.vectorized or (learner.loops_on_cpu and on_cpu)


def _each(
    call: Callable[[Learner, Item], Result], learner: Learner, items: Sequence[Item], workers: Workers | None
) -> list[Result]:
    if workers is None or len(items) == 1:  # a single task has all cores to itself
        return [call(learner, item) for item in items]
    return workers.map(call, items)


def _check_finite(tensors: Iterable[Tensor], doing: str, options: AdaptOptions) -> None:
    # One answer for all of them: on a GPU each question waits for everything before it.
    finite = [tensor.isfinite().all() for tensor in tensors]
    if not finite or bool(torch.stack(finite).all()):
        return
    given = ", ".join(f"{name} {value:g}" for name, value in options.given().items())
    raise AdaptationDiverged(
        f"{doing} left the finite numbers{f' with {given}' if given else ''}; take fewer steps or a smaller rate, "
        "or look for pictures that are not what their labels say"
    )


def _groups(keys: Sequence[Key]) -> list[list[int]]:
    """Positions of equal keys, in order of first appearance."""
    groups: dict[Key, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    return list(groups.values())


def _state_shape(state: State) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(tensor.shape)) for name, tensor in sorted(state.items()))


def _stack(supports: Sequence[SupportSet]) -> SupportSet:
    """One support set with a leading T axis; shorter tasks are padded with examples of weight 0."""
    longest = max(len(support.weights) for support in supports)
    return SupportSet(
        inputs=torch.stack([_pad(support.inputs, longest) for support in supports]),
        targets=torch.stack([_pad(support.targets, longest) for support in supports]),
        weights=torch.stack([_pad(support.weights, longest) for support in supports]),
    )


def _pad(tensor: Tensor, length: int) -> Tensor:
    if len(tensor) == length:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(length - len(tensor), *tensor.shape[1:])])


def _nth(batch: State, row: int) -> State:
    # A clone, because a view would keep the whole batch of other users' states alive.
    return {name: tensor[row].clone() for name, tensor in batch.items()}

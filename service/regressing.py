"""Answer queries with numbers, adapting to examples with a number each in the same call."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from fastapi import Request
from torch import Tensor

from meta_core.errors import UndecodableImage
from meta_core.learner import AdaptOptions
from meta_core.regression import spread
from meta_core.vectors import VectorSpec
from service.answers import refuse_if_all_bad, timings_ms
from service.callers import Caller
from service.decoding import Decoded
from service.dependencies import Services, attended, knock_of
from service.errors import FieldError, InvalidRequest, TooLarge, kind_of
from service.scheduler import Outcome
from service.schemas import ItemError, ModelChoice, NumberOut, Regression, RegressionQuery, RegressOnce
from service.served import ServedModel
from service.settings import Limits
from service.timing import note

_MOST_LEFT_OUT = 16
"""Each takes an adaptation of its own."""

Bad = dict[int, UndecodableImage]
"""By their places, queries whose picture cannot be decoded."""


class _Task(NamedTuple):
    """A request, decoded: inputs (S, …) with targets (S, 1), and the queries that could be, (Q, …)."""

    inputs: Tensor
    targets: Tensor
    queries: Tensor
    bad: Bad


async def regress_once(request: Request, services: Services, caller: Caller, body: RegressOnce) -> Regression:
    """Adapt, answer, and tell how far off the answers may be, by leaving examples out in turn.

    Raises:
        WrongTask, UnknownModel, NotReady: the model cannot be asked so.
        InvalidRequest, UndecodablePictures, TooLarge: the inputs are not what it takes.
    """
    began = time.perf_counter()
    served, reason = services.catalog.regression(body.model)
    options = AdaptOptions(**body.adapt.model_dump())
    left_out = _left_out(served, len(body.examples), options, services.settings.limits)
    _check_size(body, services.settings.limits)

    async def work() -> tuple[_Task, Outcome, Tensor | None, float]:
        task = await _decoded(services, served, body)
        seconds = time.perf_counter() - began
        outcome = await _adapted(services, caller, served, task, options, None)
        answers = _values(outcome)
        if not left_out:
            return task, outcome, None, seconds
        others = await asyncio.gather(*(_adapted(services, caller, served, task, options, place) for place in left_out))
        values = torch.stack([_values(each) for each in others])
        residuals = values[:, 0] - task.targets[list(left_out), 0].double()
        return task, outcome, spread(answers, values[:, 1:], residuals), seconds

    pictures = len(body.examples) * (1 + len(left_out)) + len(body.queries) * (1 + len(left_out))
    async with services.engine.admit(pictures, knock=knock_of(request)):
        task, outcome, spreads, decode_seconds = await attended(request, work())
    note(request, outcome.timings, decode_seconds=decode_seconds)
    return Regression(
        model=served.card.name,
        model_choice=ModelChoice(reason=reason),
        left_out=len(left_out),
        results=_results(len(body.queries), _values(outcome), spreads, task.bad),
        timings_ms=timings_ms(
            outcome.timings, decode_seconds=decode_seconds, total_seconds=time.perf_counter() - began
        ),
    )


def _left_out(model: ServedModel, examples: int, options: AdaptOptions, limits: Limits) -> Sequence[int]:
    """Which examples are left out in turn, evenly from the first to the last; none where there is but one.

    Raises:
        InvalidOptions: the model does not take the options.
        TooLarge: it adapts its whole network, and there are too many examples and steps even for once.
    """
    model.check_options(options)
    count, most = min(_MOST_LEFT_OUT, examples), limits.adapt_pictures_steps
    if not model.learner.encodes:
        once = examples * max(1, model.steps(options))
        if once > most:
            raise TooLarge(
                f"{examples} examples × {model.steps(options)} steps came; {model.card.name} adapts its whole network "
                f"and takes at most {most} (adapt_pictures_steps): send fewer examples, or set adapt.steps lower"
            )
        count = min(count, most // once - 1)
    return [] if examples < 2 else [place * examples // count for place in range(count)]


def _check_size(body: RegressOnce, limits: Limits) -> None:
    for name, items in (("examples", body.examples), ("queries", body.queries)):
        if len(items) > limits.files:
            raise TooLarge(f"{len(items)} {name} came; at most {limits.files} are taken in a request")


async def _decoded(services: Services, model: ServedModel, body: RegressOnce) -> _Task:
    targets = torch.tensor([[example.target] for example in body.examples])
    if isinstance(model.card.input, VectorSpec):
        _check_vectors(model, model.card.input, body)
        inputs, queries = (torch.tensor([each.vector for each in items]) for items in (body.examples, body.queries))
        return _Task(inputs, targets, queries, {})
    _check_pictures(model, body)
    spec, locs = model.card.input, {name: _locs(name, items, "image") for name, items in _both(body)}
    shown, asked = ([each.image or "" for each in items] for _, items in _both(body))
    inputs = await services.decoder.all(shown, spec, loc=locs["examples"])
    decoded: list[Decoded] = await services.decoder.each(asked, spec)
    refuse_if_all_bad(decoded, locs["queries"])
    bad = {place: each for place, each in enumerate(decoded) if isinstance(each, UndecodableImage)}
    return _Task(inputs, targets, await services.decoder.stacked(decoded), bad)


def _both(body: RegressOnce) -> list[tuple[str, Sequence[RegressionQuery]]]:
    return [("examples", body.examples), ("queries", body.queries)]


def _locs(name: str, items: Sequence[RegressionQuery], field: str) -> list[tuple[str | int, ...]]:
    return [("body", name, number, field) for number in range(len(items))]


def _check_vectors(model: ServedModel, spec: VectorSpec, body: RegressOnce) -> None:
    errors = [
        FieldError(loc, f"{len(each.vector)} numbers" if each.vector else "no vector", "vector_length")
        for name, items in _both(body)
        for loc, each in zip(_locs(name, items, "vector"), items, strict=True)
        if each.vector is None or len(each.vector) != spec.numbers
    ]
    if errors:
        where = ".".join(str(part) for part in errors[0].loc)
        raise InvalidRequest(
            f"{model.card.name} takes vectors of {spec.numbers} numbers; {where} has {errors[0].msg}",
            errors=errors[:50],
        )


def _check_pictures(model: ServedModel, body: RegressOnce) -> None:
    errors = [
        FieldError(loc, "no image", "image_missing")
        for name, items in _both(body)
        for loc, each in zip(_locs(name, items, "image"), items, strict=True)
        if each.image is None
    ]
    if errors:
        where = ".".join(str(part) for part in errors[0].loc)
        raise InvalidRequest(f"{model.card.name} takes pictures; {where} is missing", errors=errors[:50])


async def _adapted(
    services: Services, caller: Caller, model: ServedModel, task: _Task, options: AdaptOptions, without: int | None
) -> Outcome:
    """Adapt and answer the queries; with an example left out, that one is asked before them."""
    kept = [place for place in range(len(task.inputs)) if place != without]
    asked = [] if without is None else [task.inputs[without, None]]
    inputs = torch.cat([task.inputs[kept], *asked, task.queries])
    return await services.engine.adapt(model, inputs, task.targets[kept], options=options, tenant=caller.tenant)


def _values(outcome: Outcome) -> Tensor:
    """(Q,)"""
    assert outcome.logits is not None  # noqa: S101 (queries were asked)
    return outcome.logits[:, 0].double()


def _results(count: int, values: Tensor, spreads: Tensor | None, bad: Bad) -> list[NumberOut]:
    told, places = [], iter(range(len(values)))
    for index in range(count):
        if index in bad:
            error = ItemError(code=kind_of(bad[index]).code, detail=str(bad[index]))
            told.append(NumberOut(index=index, error=error))
            continue
        place = next(places)
        told.append(
            NumberOut(
                index=index,
                value=float(values[place]),
                spread=None if spreads is None else float(spreads[place]),
            )
        )
    return told

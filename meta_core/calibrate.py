"""Fitting a model's calibration: what holds on domains that it was not fitted to is what a user will see."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from meta_core import open_set, support_summary
from meta_core.asking import support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.calibration import Calibration, DomainFigures, KnownAs, NoneOfThese, Temperature
from meta_core.episode import SupportSet
from meta_core.errors import InvalidDataset
from meta_core.functional import unit_rows
from meta_core.learner import AdaptOptions, Learner
from meta_core.sharpness import Asked, Sharpness, calibration_error
from meta_core.strangers import StrangerFit, Strangers, area_under_curve

WAYS, SHOTS = (2, 5, 10, 20), (1, 2, 5, 10, 20)
SHOTS_OF_NONE, WAYS_OF_NONE = (1, 2, 5, 10), 5
REPORTED_SHOTS = (1, 5)
REFUSED = 0.05
"""Share of known queries that the default threshold refuses."""

QUERIES = 8
_FEWEST, _ANY = 8, 25
"""Larger support sets than `_ANY` are asked in fewer episodes, `_FEWEST` at least: each tells more and takes longer."""


class Domain(NamedTuple):
    """Encoded pictures of one kind.

    Attributes:
        name: in the card.
        family: what shares pictures or classes with it is left out together.
        features: (N, D).
        members: positions of each class's pictures, C tensors.
        weight: in the fit of the temperatures.
        pooled: features (N, D') whose largest cosine is what “none of these” is compared with; `features` if None.
        known_as: how the figures of it are to be read; what is not `left out` is measured and not fitted to.
    """

    name: str
    family: str
    features: Tensor
    members: Sequence[Tensor]
    weight: float = 1.0
    pooled: Tensor | None = None
    known_as: KnownAs = "left out"


def calibrate(
    learner: Learner,
    domains: Sequence[Domain],
    *,
    episodes: int = 60,
    seed: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Fit temperatures and the open-set probability to all domains that may be, and measure each left out.

    Args:
        learner: in `eval` mode, on the CPU.
        domains: at least two families to fit to.
        episodes: a domain, ways and shots.
        seed: of the episodes.
        advance: is told how many episodes were asked.

    Raises:
        InvalidDataset: fewer than two families, or none has classes enough for five ways.
        MissingExtra: scikit-learn is not installed.
    """
    fitted = [domain.name for domain in domains if domain.known_as == "left out"]
    if len({domain.family for domain in domains if domain.name in fitted}) < 2:
        raise InvalidDataset(f"calibration leaves out one domain after the other; {len(fitted)} came, of one family")
    bench = _Bench(learner, domains, episodes=episodes, seed=seed, advance=advance)
    temperatures = bench.temperatures(fitted)
    sharpness = {each.shots: each.temperature for each in temperatures if each.ways == WAYS_OF_NONE}
    possible = [shots for shots in SHOTS_OF_NONE if shots in sharpness and learner.encodes]
    strangers = {shots: bench.strangers(shots, sharpness[shots]) for shots in possible}
    figures, none = [], []
    for shots in SHOTS:
        if any(name in strangers.get(shots, {}) for name in fitted):
            none.append(_none_of_these(shots, strangers[shots], bench, fitted))
        if shots in REPORTED_SHOTS:
            figures += [bench.figures(domain, shots, strangers.get(shots)) for domain in domains]
    return Calibration(
        data=", ".join(fitted), temperatures=temperatures, none_of_these=none, domains=[row for row in figures if row]
    )


class _Bench:
    """The domains, asked at every number of ways and shots once."""

    def __init__(
        self,
        learner: Learner,
        domains: Sequence[Domain],
        *,
        episodes: int,
        seed: int,
        advance: Callable[[int], None],
    ) -> None:
        self.domains = {domain.name: domain for domain in domains}
        self._learner, self._episodes, self._seed, self._advance = learner, episodes, seed, advance
        self._asked: dict[tuple[str, int, int], Asked] = {}

    def temperatures(self, names: Collection[str]) -> list[Temperature]:
        """The likeliest of these domains' answers, by the domains' weights."""
        found = []
        for ways in WAYS:
            for shots in SHOTS:
                asked = [one for name in names if (one := self.asked(name, ways, shots))]
                if asked:
                    found.append(Sharpness.of(asked).at(ways, shots))
        if not any(each.ways == WAYS_OF_NONE for each in found):
            raise InvalidDataset(f"no domain has {WAYS_OF_NONE} classes of {1 + QUERIES} pictures")
        return found

    def asked(self, name: str, ways: int, shots: int) -> Asked | None:
        """A domain's answers; None where it has too few classes or pictures."""
        if (name, ways, shots) not in self._asked:
            members = self._enough(name, shots)
            if len(members) < ways:
                return None
            self._asked[name, ways, shots] = self._ask(self.domains[name], members, ways, shots)
        return self._asked[name, ways, shots]

    def strangers(self, shots: int, temperature: float) -> dict[str, Strangers]:
        """Known queries and as many of classes that were not shown, of every domain that has so many classes.

        The temperature only scales two statistics; it is that of all domains also where one is left out.
        """
        return {
            name: self._strangers(domain, members, shots, temperature)
            for name, domain in self.domains.items()
            if len(members := self._enough(name, shots)) > WAYS_OF_NONE
        }

    def others(self, name: str, fitted: Collection[str]) -> list[str]:
        """Those that may be fitted to where this one is left out."""
        family = self.domains[name].family
        return [other for other in fitted if self.domains[other].family != family]

    def figures(self, domain: Domain, shots: int, strangers: dict[str, Strangers] | None) -> DomainFigures | None:
        """How a calibration does on a domain that was fitted to the others."""
        asked = self.asked(domain.name, WAYS_OF_NONE, shots)
        if asked is None:
            return None
        fitted = [name for name, each in self.domains.items() if each.known_as == "left out"]
        # Held-out classes are measured by what is shipped, which has seen other classes of their source.
        names = self.others(domain.name, fitted) if domain.known_as == "left out" else fitted
        answers = [one for name in names if (one := self.asked(name, WAYS_OF_NONE, shots))]
        chances = asked.chances(Sharpness.of(answers)(asked.hardness))
        right = chances.argmax(-1) == asked.labels
        row = {
            "domain": domain.name,
            "known_as": domain.known_as,
            "shots": shots,
            "episodes": self._episodes,
            "accuracy": round(100 * float(right.double().mean()), 2),
            "ece": round(calibration_error(chances.amax(-1).flatten(), right.flatten()), 4),
        }
        if strangers and domain.name in strangers:
            row |= _open_set_figures(strangers, domain.name, [name for name in names if name in strangers])
        return DomainFigures(**row)

    def _enough(self, name: str, shots: int) -> list[Tensor]:
        return [own for own in self.domains[name].members if len(own) >= shots + QUERIES]

    @torch.no_grad()
    def _ask(self, domain: Domain, members: list[Tensor], ways: int, shots: int) -> Asked:
        generator = torch.Generator().manual_seed(self._seed)
        episodes = max(_FEWEST, self._episodes * _ANY // max(_ANY, ways * shots))
        drawn = [_draw(members, ways, shots + QUERIES, generator) for _ in range(episodes)]
        supports = [_support(domain, rows[:, :shots]) for rows in drawn]
        queries = [domain.features[rows[:, shots:].flatten()] for rows in drawn]
        states = adapt_many(self._learner, supports, options=AdaptOptions())
        logits = torch.stack(predict_many(self._learner, states, queries)).double()
        self._advance(episodes)
        return Asked(logits, torch.tensor([self._hardness(one) for one in supports]), domain.weight)

    def _hardness(self, support: SupportSet) -> float:
        if not self._learner.encodes:
            return 0.0
        return support_summary.hardness(support_summary.summarize(self._learner, support, options=AdaptOptions()))

    @torch.no_grad()
    def _strangers(self, domain: Domain, members: list[Tensor], shots: int, temperature: float) -> Strangers:
        generator = torch.Generator().manual_seed(self._seed)
        found, cosines, unknown = [], [], []
        for _ in range(self._episodes):
            rows = _draw(members, min(len(members), 2 * WAYS_OF_NONE), shots + QUERIES, generator)
            shown, asked = rows[:WAYS_OF_NONE, :shots], rows[:, shots:].flatten()
            support, query = _support(domain, shown), domain.features[asked]
            (state,) = adapt_many(self._learner, [support], options=AdaptOptions())
            (logits,) = predict_many(self._learner, [state], [query])
            summary = support_summary.summarize(self._learner, support, options=AdaptOptions())
            found.append(open_set.statistics(summary, query, logits, temperature=temperature))
            cosines.append(_largest_cosine(domain, shown, asked))
            unknown.append(torch.arange(len(asked)) >= WAYS_OF_NONE * QUERIES)
        self._advance(self._episodes)
        return Strangers(torch.cat(found), torch.cat(cosines), torch.cat(unknown))


def _none_of_these(shots: int, strangers: dict[str, Strangers], bench: _Bench, fitted: Collection[str]) -> NoneOfThese:
    """Fitted to all; threshold and area under the curve as measured on each domain by what the others say."""
    names = [name for name in fitted if name in strangers]
    known, areas = [], []
    for name in names:
        left_out = strangers[name]
        chances = StrangerFit.of([strangers[other] for other in bench.others(name, names)])(left_out.found)
        known.append(chances[~left_out.unknown])
        areas.append(area_under_curve(left_out.unknown, chances))
    fit = StrangerFit.of([strangers[name] for name in names])
    return NoneOfThese(
        shots=shots,
        weights=tuple(fit.weights.tolist()),
        bias=fit.bias,
        threshold=float(torch.cat(known).quantile(1 - REFUSED)),
        auroc=round(sum(areas) / len(areas), 4),
    )


def _open_set_figures(strangers: dict[str, Strangers], name: str, others: Sequence[str]) -> dict[str, float]:
    own, fit = strangers[name], StrangerFit.of([strangers[other] for other in others])
    chances = fit(own.found)
    threshold = torch.cat([fit(strangers[other].found)[~strangers[other].unknown] for other in others]).quantile(
        1 - REFUSED
    )
    return {
        "auroc": round(area_under_curve(own.unknown, chances), 4),
        "cosine_auroc": round(area_under_curve(own.unknown, -own.cosines), 4),
        "refused_known": round(float((chances[~own.unknown] > threshold).double().mean()), 4),
        "accepted_unknown": round(float((chances[own.unknown] <= threshold).double().mean()), 4),
    }


def _draw(members: Sequence[Tensor], ways: int, count: int, generator: torch.Generator) -> Tensor:
    """Picture positions (ways, count) of random classes, without repetition."""
    classes = torch.randperm(len(members), generator=generator)[:ways].tolist()
    return torch.stack([members[c][torch.randperm(len(members[c]), generator=generator)[:count]] for c in classes])


def _support(domain: Domain, rows: Tensor) -> SupportSet:
    return support_of(domain.features[rows.flatten()], ways=len(rows))


def _largest_cosine(domain: Domain, shown: Tensor, asked: Tensor) -> Tensor:
    """Of queries (Q,) to the mean direction of each class shown (C, K): (Q,)."""
    rows = domain.features if domain.pooled is None else domain.pooled
    return (unit_rows(rows[asked]) @ unit_rows(unit_rows(rows[shown]).mean(1)).T).amax(-1)

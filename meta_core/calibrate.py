"""Fitting a model's calibration: what holds on domains that it was not fitted to is what a user will see."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from meta_core import open_set, support_summary
from meta_core.asking import support_of
from meta_core.batching import adapt_many, predict_many
from meta_core.calibration import MOST, Calibration, DomainFigures, NoneOfThese, Temperature
from meta_core.episode import SupportSet
from meta_core.errors import InvalidDataset, MissingExtra
from meta_core.functional import unit_rows
from meta_core.learner import AdaptOptions, Learner

WAYS, SHOTS = (2, 5, 10, 20), (1, 2, 5, 10, 20)
SHOTS_OF_NONE, WAYS_OF_NONE = (1, 2, 5, 10), 5
REPORTED_SHOTS = (1, 5)
REFUSED = 0.05
"""Share of known queries that the default threshold refuses."""

QUERIES = 8
_BINS = 15
_FEWEST, _ANY = 8, 25
"""Larger support sets than `_ANY` are asked in fewer episodes, `_FEWEST` at least: each tells more and takes longer."""

_PENALTY = 1e-3
_CENTRED, _CENTRED_ONE_SHOT = 0.5, 1.0
"""How much of a domain's own level is taken out before the weights are fitted. Left in, it is learned in place of what
tells strangers apart within a domain; taken out wholly, no threshold holds on another. At one shot none does anyway,
and nobody is refused by default: there it is the order that counts."""


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
    known_as: Literal["left out", "held-out classes", "evaluation only"] = "left out"


class _Asked(NamedTuple):
    """A domain's answers at one number of ways and shots.

    Attributes:
        logits: (E, Q, C).
        hardness: of each task, (E,).
        weight: of the domain.
    """

    logits: Tensor
    hardness: Tensor
    weight: float

    @property
    def labels(self) -> Tensor:
        """True classes (E, Q)."""
        tasks, queries, ways = self.logits.shape
        return torch.arange(ways).repeat_interleave(queries // ways).expand(tasks, -1)

    def chances(self, temperatures: Tensor) -> Tensor:
        """(E,) temperatures → probabilities (E, Q, C)."""
        return (self.logits / temperatures[:, None, None]).softmax(-1)


class _Strangers(NamedTuple):
    """`open_set.statistics` (N, F), largest cosines (N,), and whether a query was of no class, (N,)."""

    found: Tensor
    cosines: Tensor
    unknown: Tensor


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
        self._asked: dict[tuple[str, int, int], _Asked] = {}

    def temperatures(self, names: Collection[str]) -> list[Temperature]:
        """The likeliest of these domains' answers, each domain weighing the same."""
        found = []
        for ways in WAYS:
            for shots in SHOTS:
                asked = [one for name in names if (one := self.asked(name, ways, shots))]
                if asked:
                    found.append(_Sharpness.of(asked).at(ways, shots))
        if not any(each.ways == WAYS_OF_NONE for each in found):
            raise InvalidDataset(f"no domain has {WAYS_OF_NONE} classes of {1 + QUERIES} pictures")
        return found

    def asked(self, name: str, ways: int, shots: int) -> _Asked | None:
        """A domain's answers; None where it has too few classes or pictures."""
        if (name, ways, shots) not in self._asked:
            members = self._enough(name, shots)
            if len(members) < ways:
                return None
            self._asked[name, ways, shots] = self._ask(self.domains[name], members, ways, shots)
        return self._asked[name, ways, shots]

    def strangers(self, shots: int, temperature: float) -> dict[str, _Strangers]:
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

    def figures(self, domain: Domain, shots: int, strangers: dict[str, _Strangers] | None) -> DomainFigures | None:
        """How a calibration does on a domain that was fitted to the others."""
        asked = self.asked(domain.name, WAYS_OF_NONE, shots)
        if asked is None:
            return None
        fitted = [name for name, each in self.domains.items() if each.known_as == "left out"]
        # Held-out classes are measured by what is shipped, which has seen other classes of their source.
        names = self.others(domain.name, fitted) if domain.known_as == "left out" else fitted
        answers = [one for name in names if (one := self.asked(name, WAYS_OF_NONE, shots))]
        chances = asked.chances(_Sharpness.of(answers)(asked.hardness))
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
    def _ask(self, domain: Domain, members: list[Tensor], ways: int, shots: int) -> _Asked:
        generator = torch.Generator().manual_seed(self._seed)
        episodes = max(_FEWEST, self._episodes * _ANY // max(_ANY, ways * shots))
        drawn = [_draw(members, ways, shots + QUERIES, generator) for _ in range(episodes)]
        supports = [_support(domain, rows[:, :shots]) for rows in drawn]
        queries = [domain.features[rows[:, shots:].flatten()] for rows in drawn]
        states = adapt_many(self._learner, supports, options=AdaptOptions())
        logits = torch.stack(predict_many(self._learner, states, queries)).double()
        self._advance(episodes)
        return _Asked(logits, torch.tensor([self._hardness(one) for one in supports]), domain.weight)

    def _hardness(self, support: SupportSet) -> float:
        if not self._learner.encodes:
            return 0.0
        return support_summary.hardness(support_summary.summarize(self._learner, support, options=AdaptOptions()))

    @torch.no_grad()
    def _strangers(self, domain: Domain, members: list[Tensor], shots: int, temperature: float) -> _Strangers:
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
        return _Strangers(torch.cat(found), torch.cat(cosines), torch.cat(unknown))


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Expected calibration error (Naeini et al. 2015): |accuracy − confidence|, mean over 15 bins of equal width.

    Args:
        confidence: (N,) probabilities of what was answered.
        right: (N,) bool, whether that was right.
    """
    bins = (confidence * _BINS).long().clamp_max(_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, right.double() - confidence.double())
    return float(gaps.abs().sum() / len(confidence))


def _none_of_these(shots: int, strangers: dict[str, _Strangers], bench: _Bench, fitted: Collection[str]) -> NoneOfThese:
    """Fitted to all; threshold and area under the curve as measured on each domain by what the others say."""
    names = [name for name in fitted if name in strangers]
    known, areas = [], []
    for name in names:
        left_out = strangers[name]
        chances = _Fit.of([strangers[other] for other in bench.others(name, names)])(left_out.found)
        known.append(chances[~left_out.unknown])
        areas.append(_area(left_out.unknown, chances))
    fit = _Fit.of([strangers[name] for name in names])
    return NoneOfThese(
        shots=shots,
        weights=tuple(fit.weights.tolist()),
        bias=fit.bias,
        threshold=float(torch.cat(known).quantile(1 - REFUSED)),
        auroc=round(sum(areas) / len(areas), 4),
    )


def _open_set_figures(strangers: dict[str, _Strangers], name: str, others: Sequence[str]) -> dict[str, float]:
    own, fit = strangers[name], _Fit.of([strangers[other] for other in others])
    chances = fit(own.found)
    threshold = torch.cat([fit(strangers[other].found)[~strangers[other].unknown] for other in others]).quantile(
        1 - REFUSED
    )
    return {
        "auroc": round(_area(own.unknown, chances), 4),
        "cosine_auroc": round(_area(own.unknown, -own.cosines), 4),
        "refused_known": round(float((chances[~own.unknown] > threshold).double().mean()), 4),
        "accepted_unknown": round(float((chances[own.unknown] <= threshold).double().mean()), 4),
    }


class _Fit(NamedTuple):
    """Logistic regression: found (N, F) → probability of a stranger (N,)."""

    weights: Tensor
    bias: float

    def __call__(self, found: Tensor) -> Tensor:
        return torch.sigmoid(found @ self.weights + self.bias)

    @classmethod
    def of(cls, domains: Sequence[_Strangers]) -> "_Fit":
        """The direction within domains first, then where on it the even chance is, over all of them."""
        regression = _logistic_regression()
        found = torch.cat([each.found for each in domains])
        unknown = torch.cat([each.unknown for each in domains]).numpy()
        mean, spread = found.mean(0), found.std(0).clamp_min(1e-9)
        scaled = [(each.found - mean) / spread for each in domains]
        share = _CENTRED if found.shape[1] > len(open_set.ONE_SHOT) else _CENTRED_ONE_SHOT
        levelled = torch.cat([rows - share * rows.mean(0) for rows in scaled])
        direction = torch.from_numpy(regression(C=0.03, max_iter=1000).fit(levelled.numpy(), unknown).coef_[0])
        along = (torch.cat(scaled) @ direction)[:, None].numpy()
        level = regression(C=1e6, max_iter=1000).fit(along, unknown)
        weights = float(level.coef_[0, 0]) * direction / spread
        return cls(weights, float(level.intercept_[0]) - float(mean @ weights))


class _Sharpness(NamedTuple):
    """Hardness of tasks (E,) → their temperatures (E,)."""

    log_temperature: float
    slope: float
    centre: float

    def __call__(self, hardness: Tensor) -> Tensor:
        return (self.log_temperature + (self.slope * (hardness - self.centre)).clamp(-MOST, MOST)).exp()

    def at(self, ways: int, shots: int) -> Temperature:
        """As the card keeps it."""
        return Temperature(
            ways=ways,
            shots=shots,
            temperature=math.exp(self.log_temperature),
            slope=self.slope,
            centre=self.centre,
        )

    @classmethod
    def of(cls, asked: Sequence[_Asked]) -> "_Sharpness":
        """The likeliest of these domains' answers."""
        hardness = torch.cat([each.hardness for each in asked]).double()
        centre, spread = float(hardness.mean()), float(hardness.std().clamp_min(1e-9))
        sought = torch.tensor([_warmest(asked), 0.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([sought], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            total = _PENALTY * sought[1].square()
            for each in asked:
                moved = (sought[1] * (each.hardness - centre) / spread).clamp(-MOST, MOST)
                total = total + _loss(each, sought[0] + moved)
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        log_temperature, slope = sought.tolist()
        if not math.isfinite(slope) or abs(log_temperature - _warmest(asked)) > MOST:  # all right or all alike
            log_temperature, slope = _warmest(asked), 0.0
        return cls(log_temperature, slope / spread, centre)


def _warmest(asked: Sequence[_Asked]) -> float:
    """The best of many temperatures that are the same for all tasks, as a logarithm."""
    candidates = torch.linspace(-5, 8, 53, dtype=torch.float64)
    losses = [sum(float(_loss(each, one.expand(len(each.logits)))) for each in asked) for one in candidates]
    return float(candidates[losses.index(min(losses))])


def _loss(asked: _Asked, log_temperatures: Tensor) -> Tensor:
    logits = asked.logits / log_temperatures.exp()[:, None, None]
    return asked.weight * cross_entropy(logits.flatten(0, 1), asked.labels.flatten())


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


def _area(unknown: Tensor, chances: Tensor) -> float:
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise MissingExtra(f"calibration needs {error.name}; install kshot[train]") from error
    return float(roc_auc_score(unknown.numpy(), chances.numpy()))


def _logistic_regression() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra(f"calibration needs {error.name}; install kshot[train]") from error
    return LogisticRegression

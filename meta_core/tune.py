"""Settings found from data: short trainings, each judged on the validation episodes (Optuna; Akiba et al. 2019)."""

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meta_core.device import pick_device
from meta_core.errors import AdaptationDiverged, InvalidRecipe
from meta_core.evaluate import check_plan
from meta_core.loop import validation_plan
from meta_core.progress import TuningBar, say, tuning_bar
from meta_core.recipe import Recipe, Searched
from meta_core.search_space import changed, search_space
from meta_core.splits import splits
from meta_core.tune_study import opened_study
from meta_core.tune_trial import Bench

if TYPE_CHECKING:
    from optuna import Study, Trial

_WHOLE_TRIALS = 12
"""That fit into the time where nobody says how long one is."""


@dataclass(frozen=True)
class Tried:
    """One trial: what was set, and the best validation accuracy so far, percent, at each look.

    Attributes:
        number: in the order of the trials; 0 is the recipe as it is.
        values: settings by their dotted names.
        looks: of a trial that was given up, those before.
        whole: whether it was trained to its end.
    """

    number: int
    values: dict[str, Any]
    looks: list[float]
    whole: bool

    @property
    def accuracy(self) -> float:
        """The best of the looks, as the best weights are those that training keeps."""
        return max(self.looks, default=0.0)


@dataclass(frozen=True)
class Tuned:
    """What a study found so far: all trials, and how many steps each took."""

    trials: list[Tried]
    steps: int
    space: dict[str, Searched] = field(default_factory=dict)

    @property
    def recipe(self) -> Tried:
        """The recipe as it is."""
        return self.trials[0]

    @property
    def best(self) -> Tried:
        """The first of the best among those that were trained to their end."""
        return max((trial for trial in self.trials if trial.whole), key=lambda trial: trial.accuracy)


def tune(
    recipe: Recipe,
    *,
    data: Path | None,
    study: Path,
    unlabelled: Path | None = None,
    minutes: float = 10,
    trials: int | None = None,
    steps: int | None = None,
    device: str = "auto",
    resume: bool = False,
) -> Tuned:
    """Try settings until the time is over: first the recipe's own, then what the trials so far make likely.

    A trial is a training of `steps` steps, its rate's warm-up and fall squeezed into them. After each look at the fixed
    validation episodes it is given up if it is worse than half of the others were there. The test pictures are not
    touched.

    Args:
        recipe: what to improve; its `[tune]` says what may be tried.
        data: as for `train`.
        study: the SQLite file that every trial goes to, and that an interrupted search goes on from.
        unlabelled: as for `train`.
        minutes: of this call; a trial that they cut is repeated when the search is resumed.
        trials: of all calls together, at most.
        steps: of one trial; where not given, as many as let a dozen trials fit into `minutes`.
        device: as for `train`.
        resume: go on from `study` if it is there.

    Raises:
        InvalidRecipe: nothing that could be searched, or `study` is of another recipe or there already.
        MissingExtra: Optuna is not installed.
    """
    until, space = time.monotonic() + 60 * minutes, search_space(recipe)
    training, validation, _ = splits(recipe, data, unlabelled=unlabelled)
    check_plan(validation, validation_plan(recipe))
    bench = Bench(recipe, training, validation, pick_device(device))
    with opened_study(study, recipe, resume=resume) as opened, tuning_bar(60 * minutes) as bar:
        if "steps" not in opened.user_attrs:
            opened.set_user_attr("steps", steps or bench.affordable(60 * minutes / _WHOLE_TRIALS))
        count = int(opened.user_attrs["steps"])
        while time.monotonic() < until and (trials is None or len(_told(opened)) < trials):
            _try(opened, bench, space, steps=count, until=until, bar=bar)
        found = [_tried(trial) for trial in _told(opened)]
    if not any(trial.whole for trial in found):
        raise InvalidRecipe(
            f"no trial of {count} steps came to its end; search smaller rates, or give it more --minutes"
        )
    return Tuned(found, steps=count, space=space)


def _try(study: "Study", bench: Bench, space: dict[str, Searched], *, steps: int, until: float, bar: TuningBar) -> None:
    """One trial, the first of which is the recipe as it is; one that the time cuts is left as a kill leaves it."""
    from optuna.trial import TrialState

    first = not any(not trial.params for trial in _told(study))
    trial = study.ask()
    values = {} if first else {name: _suggested(trial, name, searched) for name, searched in space.items()}
    trial.set_user_attr("values", values)
    seen: list[float] = []
    try:
        for at, loss, accuracy in bench.looks(changed(bench.recipe, values), steps=steps):
            seen.append(accuracy)
            trial.report(max(seen), at)
            bar.show(f"trial {trial.number}, step {at} of {steps}: {accuracy:.1f} %")
            if not math.isfinite(loss) or (not first and at < steps and trial.should_prune()):
                study.tell(trial, state=TrialState.PRUNED)
                break
            if not first and at < steps and time.monotonic() > until:
                return
        else:
            study.tell(trial, max(seen))
    except AdaptationDiverged:
        study.tell(trial, state=TrialState.PRUNED)
    say(_sentence(_tried(study.trials[trial.number])))


def _suggested(trial: "Trial", name: str, searched: Searched) -> Any:
    if searched.choices:  # Optuna stores plain values alone
        return json.loads(trial.suggest_categorical(name, [json.dumps(each) for each in searched.choices]))
    if searched.low is None or searched.high is None:
        raise InvalidRecipe(f"[tune] says nothing that could be tried for {name!r}")
    if isinstance(searched.low, int) and isinstance(searched.high, int):
        return trial.suggest_int(name, searched.low, searched.high, log=searched.log)
    drawn = trial.suggest_float(name, searched.low, searched.high, log=searched.log)
    return float(f"{drawn:.3g}")  # as somebody would write it


def _told(study: "Study") -> list[Any]:
    """Trials that came to a result, in their order."""
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def _tried(trial: Any) -> Tried:
    from optuna.trial import TrialState

    looks = [trial.intermediate_values[at] for at in sorted(trial.intermediate_values)]
    whole = trial.state is TrialState.COMPLETE
    return Tried(trial.number, dict(trial.user_attrs.get("values", {})), looks, whole)


def _sentence(tried: Tried) -> str:
    what = ", ".join(f"{name} {value}" for name, value in tried.values.items()) or "the recipe as it is"
    return f"trial {tried.number}: {tried.accuracy:.2f} %{'' if tried.whole else ', given up'} · {what}"

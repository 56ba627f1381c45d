"""The study of a search: one SQLite file, which an interrupted search goes on from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from meta_core.errors import InvalidRecipe, MissingExtra
from meta_core.recipe import Recipe

if TYPE_CHECKING:
    from optuna import Study


@contextmanager
def opened_study(path: Path, recipe: Recipe, *, resume: bool) -> "Iterator[Study]":
    """The study of a file, its interrupted trials to be tried again."""
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra(f"tuning needs {error.name}; install kshot[train]") from error
    if path.exists() and not resume:
        raise InvalidRecipe(f"{path} holds a study already: go on with --resume, or remove the file to begin anew")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        study = optuna.create_study(
            storage=storage,
            study_name="kshot",
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )
        if study.user_attrs.setdefault("recipe", text := recipe.model_dump_json()) != text:
            raise InvalidRecipe(f"{path} is a study of another recipe than this one; take another file")
        study.set_user_attr("recipe", text)
        # Seeded anew by what is there: the seed alone would draw the first trials again.
        study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials), n_startup_trials=6)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.params:
                study.enqueue_trial(trial.params)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()

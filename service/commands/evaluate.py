"""`kshot evaluate`: one model, measured."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.console import DATA_HELP, explained, print_accuracies, print_errors, print_json

if TYPE_CHECKING:
    from meta_core.checkpoint import Model
    from meta_core.learner import AdaptOptions


class Protocol(StrEnum):
    """What `evaluate` asks."""

    EPISODES = "episodes"
    LAKE = "lake"


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    data: Annotated[
        Path | None, typer.Option(help=f"{DATA_HELP} A regression generates its tasks.", show_default=False)
    ] = None,
    ways: Annotated[list[int], typer.Option(help="Classes of an episode; several make several rows.")] = [5, 20],  # noqa: B006
    shots: Annotated[
        list[int] | None,
        typer.Option(help="Examples a class, or of a regression; several make several rows. 1 and 5 unless set."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes a row.")] = 1000,
    queries: Annotated[int, typer.Option(min=1, help="Queries a class.")] = 15,
    split: Annotated[
        str | None, typer.Option(help="Which part of the data; `evaluation` where the data has it, else all.")
    ] = None,
    rotations: Annotated[
        bool, typer.Option("--rotations", help="Quarter turns are further classes, as papers count Omniglot's.")
    ] = False,
    protocol: Annotated[
        Protocol, typer.Option(help="lake: the 20 official one-shot runs within an alphabet.")
    ] = Protocol.EPISODES,
    transductive: Annotated[
        bool,
        typer.Option(
            "--transductive",
            help="Batch norm by the statistics of the episode's own pictures, for comparing with papers that did so: "
            "queries then help each other. Never served like that.",
        ),
    ] = False,
    steps: Annotated[
        int | None, typer.Option(help="Steps of adaptation, where the model takes any; 0 shows what it knows before.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Factor on the model's own rates of adaptation.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed asks the same episodes of every model.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON instead of a table.")] = False,
) -> None:
    """Accuracy on labelled pictures, or a regression's error, ± 95 % CI; inductive unless asked otherwise.

    Measure a model as its card does:

        kshot evaluate models/omniglot-protonet --data omniglot_28_u8.npz --ways 5 20 --shots 1 5

    Beside it stands a memorization check: the first episodes are asked again with the examples' labels exchanged, a
    regression's tasks of training with another task's examples, and exit code 1 says that the answers stay.

    See what adaptation adds: the same episodes before the first step and after the last.

        kshot evaluate models/omniglot-maml --data omniglot_28_u8.npz --ways 5 --shots 1 --steps 0

    A regression's squared error, before adaptation, after 1 step, those of training, and 10; it generates its tasks:

        kshot evaluate models/sinusoid-maml --shots 5 10
    """
    from meta_core.checkpoint import load
    from meta_core.datasets import default_split
    from meta_core.evaluate import EpisodePlan, evaluate_data, lake_accuracy
    from meta_core.learner import AdaptOptions
    from meta_core.memorization import MemorizationCheck
    from meta_core.progress import say

    with explained():
        if rotations and protocol is Protocol.LAKE:
            raise ValueError("Lake's runs have no rotations: leave --rotations out, or take --protocol episodes")
        loaded, options = load(model), AdaptOptions(steps=steps, rate=rate)
        if loaded.card.regresses:
            if data is not None:
                raise ValueError(f"{loaded.card.name} is a regression and generates its tasks; leave --data out")
            _regression(loaded, shots, options, queries=queries, episodes=episodes, seed=seed, as_json=as_json)
            return
        if data is None:
            raise ValueError("say with --data where labelled pictures are")
        learner, spec = loaded.learner, loaded.card.pictures
        checks: list[MemorizationCheck] = []
        if protocol is Protocol.LAKE:
            rows = [lake_accuracy(learner, spec, data, options=options, transductive=transductive)]
        else:
            plans = [
                EpisodePlan(ways=way, shots=shot, queries=queries, episodes=episodes, seed=seed)
                for way in ways
                for shot in shots or [1, 5]
            ]
            rows = evaluate_data(
                learner,
                spec,
                data,
                plans,
                split=split or default_split(data),
                rotations=rotations,
                transductive=transductive,
                options=options,
                checked=checks.append,
            )
    if as_json:
        print_json([row.model_dump() | {"mode": row.mode} for row in rows])
    else:
        print_accuracies(f"{loaded.card.name} {loaded.card.version}", rows)
    for check in checks:
        say(check.text)
        if check.memorizes:
            raise typer.Exit(1)


def _regression(
    model: "Model",
    shots: list[int] | None,
    options: "AdaptOptions",
    *,
    queries: int,
    episodes: int,
    seed: int,
    as_json: bool,
) -> None:
    """Errors after as many steps as tell most, where it takes any and the options do not say how many."""
    from meta_core.asking import evaluation_workers
    from meta_core.memorized_tasks import CHECKED_TASKS, check_task_memorization
    from meta_core.progress import episodes_bar, say
    from meta_core.regression import measured_errors, telling_steps

    if model.card.tasks is None:
        raise ValueError(f"the card of {model.card.name} does not say which tasks it was trained on")
    model.learner.check_options(options)
    counts = telling_steps(model.learner) if options.steps is None else [options.steps]
    asked = shots or sorted({row.shots for row in model.card.errors}) or [5, 10]
    total = len(asked) * len(counts) * episodes + 2 * CHECKED_TASKS
    with evaluation_workers(model.learner) as workers, episodes_bar("evaluating", total=total) as bar:
        rows = measured_errors(
            model.learner,
            model.card.tasks,
            model.card.input,
            shots=asked,
            steps=counts,
            rate=options.rate,
            queries=queries,
            episodes=episodes,
            seed=seed,
            workers=workers,
            advance=bar.advance,
        )
        check = check_task_memorization(
            model.learner,
            model.card.tasks,
            model.card.input,
            shots=max(asked),
            queries=queries,
            seed=seed,
            options=options,
            workers=workers,
            advance=bar.advance,
        )
    if as_json:
        print_json([row.model_dump() for row in rows])
    else:
        print_errors(f"{model.card.name} {model.card.version}", rows)
    say(check.text)
    if check.memorizes:
        raise typer.Exit(1)

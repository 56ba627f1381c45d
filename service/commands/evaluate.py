"""`kshot evaluate`: one model, measured."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import DATA_HELP, explained, print_accuracies


class Protocol(StrEnum):
    """What `evaluate` asks."""

    EPISODES = "episodes"
    LAKE = "lake"


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    data: Annotated[Path, typer.Option(help=DATA_HELP)],
    ways: Annotated[list[int], typer.Option(help="Classes of an episode; several make several rows.")] = [5, 20],  # noqa: B006
    shots: Annotated[list[int], typer.Option(help="Examples a class; several make several rows.")] = [1, 5],  # noqa: B006
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
    """Accuracy on labelled pictures, ± 95 % confidence interval; inductive unless asked otherwise.

    Measure a model as its card does:

        kshot evaluate models/omniglot-protonet --data omniglot_28_u8.npz --ways 5 20 --shots 1 5

    See what adaptation adds: the same episodes before the first step and after the last.

        kshot evaluate models/omniglot-maml --data omniglot_28_u8.npz --ways 5 --shots 1 --steps 0
    """
    from meta_core.checkpoint import load
    from meta_core.datasets import default_split
    from meta_core.evaluate import EpisodePlan, evaluate_data, lake_accuracy
    from meta_core.learner import AdaptOptions

    with explained():
        if rotations and protocol is Protocol.LAKE:
            raise ValueError("Lake's runs have no rotations: leave --rotations out, or take --protocol episodes")
        loaded, options = load(model), AdaptOptions(steps=steps, rate=rate)
        learner, spec = loaded.learner, loaded.card.input
        if protocol is Protocol.LAKE:
            rows = [lake_accuracy(learner, spec, data, options=options, transductive=transductive)]
        else:
            plans = [
                EpisodePlan(ways=way, shots=shot, queries=queries, episodes=episodes, seed=seed)
                for way in ways
                for shot in shots
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
            )
    if as_json:
        sys.stdout.write(json.dumps([row.model_dump() | {"mode": row.mode} for row in rows], indent=2) + "\n")
    else:
        print_accuracies(f"{loaded.card.name} {loaded.card.version}", rows)

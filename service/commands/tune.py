"""`kshot tune`: a recipe's settings, found from data."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import DATA_HELP, explained, output, table


def tune(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a path to a .toml.")],
    out: Annotated[
        Path,
        typer.Option(help="The recipe to be written; beside it, the study as OUT.study.db and a picture as OUT.png."),
    ],
    data: Annotated[Path | None, typer.Option(help=DATA_HELP)] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="Pictures without labels, for recipes that say `unlabelled = true`.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time to search for; the recipe as it is comes first.")] = 10,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials at most, those of earlier calls included.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of a trial; else as many as let a dozen fit into the time.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study of OUT.")] = False,
) -> None:
    """Search a recipe's settings by short trainings, and write the recipe with the best of them.

    Trials are judged on the validation episodes, never on the test; those that do worse than half of the others are
    given up early. Interrupt it whenever you like: --resume goes on, and repeats the trial that was cut. What may be
    tried stands in the recipe; without it, the optimizer's rate and decay and the learner's own numbers are:

    \b
        [tune]
        "optimizer.rate" = { from = 1e-4, to = 1e-1, log = true }
        "tasks.options.queries" = { from = 2, to = 8 }
        "tasks.options.ways" = { choices = [[20, 20], [60, 60]] }

        kshot tune my-recipe.toml --data my_pictures/ --out better.toml
    """
    from meta_core.allocator import keep_freed_memory
    from meta_core.recipe import load_recipe, recipe_text
    from meta_core.search_space import changed_text
    from meta_core.tune import tune as search
    from meta_core.tune_plot import tuning_picture

    keep_freed_memory()
    with explained():
        loaded = load_recipe(recipe)
        found = search(
            loaded,
            data=data,
            unlabelled=unlabelled,
            study=out.with_suffix(".study.db"),
            minutes=minutes,
            trials=trials,
            steps=steps,
            device=device,
            resume=resume,
        )
        before, after = found.recipe.accuracy, found.best.accuracy
        summary = (
            f"Found by `kshot tune` in {len(found.trials)} trials of {found.steps} steps:\n"
            f"{after:.2f} % on the validation episodes, where {loaded.name} as it was had {before:.2f} %."
        )
        out.write_text(changed_text(recipe_text(recipe), found.best.values, comment=summary), "utf-8")
        out.with_suffix(".png").write_bytes(tuning_picture(found, title=loaded.name))
    shown = table(
        f"{loaded.name} → {out}",
        (("setting", "left"), ("from", "right"), ("to", "right")),
        caption=f"validation accuracy {before:.2f} % → {after:.2f} % ({after - before:+.2f}), "
        f"best of {len(found.trials)} trials of {found.steps} steps, {sum(not t.whole for t in found.trials)} given up",
    )
    own = loaded.model_dump()
    for name, value in found.best.values.items():
        shown.add_row(name, _own(own, name), str(value))
    output().print(shown)


def _own(fields: object, name: str) -> str:
    """What the recipe had for a setting, where it said anything."""
    for part in name.split("."):
        if not isinstance(fields, dict) or part not in fields:
            return "–"
        fields = fields[part]
    return str(fields)

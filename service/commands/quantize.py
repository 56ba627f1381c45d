"""`kshot models quantize`: a faster model, and what that costs."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import DATA_HELP, explained, output, print_json, table
from service.commands.naming import MODELS_DIR_HELP, complete_model, model_folder, models_folder


def quantize(
    model: Annotated[
        str, typer.Argument(help="A model of the folder, or a model's folder.", autocompletion=complete_model)
    ],
    data: Annotated[Path, typer.Option(help=f"Pictures of the kind it is for. {DATA_HELP}")],
    split: Annotated[str | None, typer.Option(help="Which part of the data, as of `kshot evaluate`.")] = None,
    name: Annotated[str | None, typer.Option(help="The new model's name; NAME-int8 unless set.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the new model's card as JSON.")] = False,
) -> None:
    """Make a model of a model whose encoder computes in 8-bit integers: two to three times as fast on a CPU.

    Some hundred of your pictures suffice. The layers' ranges are taken from a sample of them; on the others both models
    are asked the same episodes, and the card of the new one tells what was lost. The old one stays as it is, and its
    classifiers with it. For models that encode, so not for MAML and its kin; a GPU gains nothing.

        kshot models quantize photos --data my_pictures/
    """
    from meta_core import quantize as core

    with explained():
        source = model_folder(model, models_dir)
        out = models_folder(models_dir) / (name or f"{source.name}-int8")
        card = core.quantize(source, out, data=data, split=split)
    if as_json:
        print_json(card.model_dump(mode="json"))
        return
    assert card.reduced is not None  # noqa: S101 (it is what quantizing measures)
    columns = ("ways", "shots", "queries", "episodes", "8-bit", "fp32", "difference")
    title, caption = (
        f"{card.name} beside {card.reduced.of} on {card.reduced.data}",
        "percent ± 95 % CI of the difference",
    )
    made = table(title, [(each, "right") for each in columns], caption=caption)
    for row in card.reduced.beside:
        difference = f"{row.difference:+.2f} ± {row.ci95:.2f}"
        figures = (f"{row.accuracy:.2f}", f"{row.fp32:.2f}", difference)
        made.add_row(*map(str, (row.ways, row.shots, row.queries, row.episodes)), *figures)
    console = output()
    console.print(made)
    console.print(
        f"{card.reduced.same_answers:.1f} % of the answers are the same; a probability differs by "
        f"{card.reduced.probability_difference:.3f} on average",
        highlight=False,
    )
    console.print(
        f'{out}: serve it with `kshot serve --models-dir {out.parent}`, ask it with "model": "{card.name}"',
        highlight=False,
        markup=False,
    )

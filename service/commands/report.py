"""`kshot report`: what my pictures say about themselves."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import DATA_HELP, bars, explained, output
from service.commands.naming import MODEL_HELP, MODELS_DIR_HELP, complete_model, model_folder


def report(
    data: Annotated[Path, typer.Argument(help=DATA_HELP)],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP, autocompletion=complete_model)] = None,
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    out: Annotated[Path, typer.Option(help="The page to write; its plots are written beside it as PNG.")] = Path(
        "report.html"
    ),
    split: Annotated[str | None, typer.Option(help="Which part of the data; all unless set.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="For leaving pictures out, and as much again for drawing fewer shots.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="Of the draws; the same seed gives the same report.")] = 0,
) -> None:
    """Look at labelled pictures before you trust a classifier made of them; write one page that needs no network.

    Tells how many get their label from the others when left out in turn, which labels confuse, which pictures look
    mislabelled or occur twice, which labels have too few, and whether more examples would help; with a map of the
    pictures and a diagram of whether confidence can be believed.

        kshot report my_pictures/ --out my_pictures.html
    """
    from meta_core.checkpoint import load
    from meta_core.datasets import read_pictures
    from meta_core.report_page import drawings, in_words, name_of, page
    from meta_core.study import study

    with explained():
        loaded = load(model_folder(model, models_dir))
        spec, named = loaded.card.pictures, f"{loaded.card.name} {loaded.card.version}"
        pictures = read_pictures(data, spec, split=split)
        with bars() as advance:
            found = study(loaded.learner, spec, pictures, seconds=seconds, seed=seed, advance=advance)
        drawn = drawings(found)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(found, drawn, model=named), encoding="utf-8")
        for drawing in drawn:
            out.with_name(f"{out.stem}-{drawing.name}.png").write_bytes(drawing.light)
    console = output()
    for line in in_words(found, model=named):
        console.print(line, highlight=False, markup=False)
    for suspect in (found.report.mislabelled or ())[:10]:
        label, other = (pictures.classes[number] for number in (suspect.label, suspect.suggested))
        told = f"  {name_of(found, suspect.example)}: labelled {label}, looks like {other} ({suspect.score:.2f})"
        console.print(told, highlight=False, markup=False)
    console.print(f"→ {out}", style="bold", highlight=False, markup=False)

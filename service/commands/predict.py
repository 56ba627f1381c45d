"""`kshot predict`: classify a folder of pictures by a folder of examples, without a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.console import bars, explained
from service.commands.naming import MODELS_DIR_HELP, complete_model, model_folder

if TYPE_CHECKING:
    from meta_core.learner import AdaptOptions
    from service.predicting import Adapted, Advance
    from service.settings import Settings


def predict(
    support: Annotated[
        Path,
        typer.Option(help="The examples: a folder or zip of label/picture; or what `kshot export` wrote."),
    ],
    queries: Annotated[
        list[Path], typer.Option(help="What to classify: a picture, or a folder or zip of them; repeatable.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="A model of the models' folder, a path to one, or `auto`: the one that labels the examples best when "
            "each is left out in turn. The service's default unless set.",
            autocompletion=complete_model,
        ),
    ] = None,
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Labels to list of each, the likeliest first.")] = None,
    none_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Say “none of these” above this probability; the model's own unless set."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Steps of adaptation, where the model takes any.")] = None,
    rate: Annotated[float | None, typer.Option(help="Factor on the model's own rates of adaptation.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row as soon as it is known.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the service answers.")] = False,
) -> None:
    """Classify pictures by labelled examples, without a server, with the service's own answers.

    Exit code 0 if every picture was classified, 1 if one could not be read (the others are answered all the same),
    2 if nothing was done. Results go to standard output, the progress bar to standard error.

    A folder of pictures by a folder of folders:

        kshot predict --support examples/ --queries new/

    For a spreadsheet, by the model that suits these examples best; and two files, for a program:

        kshot predict --support examples/ --queries new/ --model auto --csv > answers.csv
        kshot predict --support examples.zip --queries a.jpg --queries b.jpg --json
    """
    import torch

    from meta_core.learner import AdaptOptions
    from meta_core.picture_files import files_of
    from service import predicting
    from service.commands.predictions import Csv, Json, Table
    from service.settings import Settings

    with explained():
        if as_csv and as_json:
            raise ValueError("--csv and --json came together; expected one of them")
        settings = Settings.given(device=device, models_dir=models_dir)
        torch.set_num_threads(settings.threads)
        with files_of(queries) as files, bars() as advance:
            if not files:
                raise ValueError(f"{', '.join(map(str, queries))}: no file there; expected pictures to classify")
            adapted = _adapted(support, model, settings, options=AdaptOptions(steps=steps, rate=rate), advance=advance)
            writer = (Csv if as_csv else Json if as_json else Table)(adapted)
            found = predicting.predict(
                adapted,
                files,
                top_k=top_k,
                none_threshold=none_threshold,
                max_pixels=settings.limits.pixels,
                advance=advance,
            )
            bad = sum(writer.write(results) for results in found)
        writer.close()
    if bad:
        typer.echo(f"{bad} of {len(files)} files could not be classified", err=True)
        raise typer.Exit(1)


def _adapted(
    support: Path, model: str | None, settings: "Settings", *, options: "AdaptOptions", advance: "Advance"
) -> "Adapted":
    from service import predicting
    from service.catalog import AUTO

    if support.suffix == ".safetensors" and support.is_file():
        if model is not None or options.given():
            raise ValueError(f"{support} was adapted already: leave out --model, --steps and --rate")
        return predicting.recall(support, settings)
    folder = None if model == AUTO else model_folder(model, settings.models_dir)
    adapted = predicting.adapt_to(
        support,
        predicting.candidates(settings, folder, options=options),
        options=options,
        max_pixels=settings.limits.pixels,
        advance=advance,
    )
    if adapted.passed_over:
        some = ", ".join(adapted.passed_over[:3])
        typer.echo(f"note: {len(adapted.passed_over)} files passed over that are not at label/file: {some}", err=True)
    return adapted

"""`kshot calibrate`: make a model's probabilities mean what they say."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import explained, output, table

_NUMBERS = ("shots", "accuracy %", "ECE", "AUROC", "cosine's", "refused", "accepted")


def calibrate(
    model: Annotated[Path, typer.Argument(help="The model's folder; its card is rewritten.")],
    data: Annotated[
        list[Path],
        typer.Option(help="Labelled pictures, each a domain to fit to (repeatable): `class/file` in a folder or .zip."),
    ],
    measure: Annotated[
        list[Path] | None, typer.Option(help="Further ones that nothing is fitted to, only measured; repeatable.")
    ] = None,
    made: Annotated[
        bool,
        typer.Option(help="Add domains made of these: outlines, silhouettes, spoiled and turned copies, textures."),
    ] = True,
    episodes: Annotated[int, typer.Option(min=10, help="Of each domain, ways and shots.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed asks the same episodes.")] = 0,
) -> None:
    """Calibrate a model's confidence and its “none of these” on labelled pictures.

    Each domain is left out in turn: what the others say of it is how well the calibration will do on yours. The card
    keeps the temperatures by ways and shots, the threshold that refuses 5 % of known queries, and the figures of every
    domain. A model that stands on a recipe is fitted to the classes it was trained on; its test classes are measured.

        kshot calibrate models/mine --data my_pictures/ --data other_pictures.zip
    """
    with explained():
        from meta_core.calibrating import calibrate_model

        found = calibrate_model(model, data, measured=measure or [], made=made, episodes=episodes, seed=seed)
    made_table = table(
        f"{model.name}: how its calibration does, 5 ways",
        (("domain", "left"), ("was", "left"), *((name, "right") for name in _NUMBERS)),
        caption="ECE: expected calibration error; AUROC of “none of these”, and of the largest cosine; refused: share "
        "of known queries, accepted: share of unknown ones",
    )
    for row in found.domains:
        shares = (row.auroc, row.cosine_auroc, row.refused_known, row.accepted_unknown)
        texts = ("" if share is None else f"{share:.3f}" for share in shares)
        made_table.add_row(row.domain, row.known_as, str(row.shots), f"{row.accuracy:.1f}", f"{row.ece:.3f}", *texts)
    output().print(made_table)

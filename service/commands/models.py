"""`kshot models`: which there are, what one is, and a new one out of a backbone that others trained."""

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.console import DATA_HELP, explained, output, print_accuracies, print_json, table
from service.commands.naming import MODELS_DIR_HELP, complete_model, models_folder
from service.commands.quantize import quantize
from service.commands.verify import verify

if TYPE_CHECKING:
    from meta_core.card import Accuracy, Card

models = typer.Typer(
    help="The models of a folder: list, show, verify, add a pretrained backbone as one, quantize, remove.",
    no_args_is_help=True,
)


@models.command()
def add(
    backbone: Annotated[str, typer.Argument(metavar="timm:NAME", help="One of timm's image models, by timm's name.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|package|hub",
            help="A .safetensors, .pth or .pt file; `package`: the Python package of `kshot[photos]` that carries "
            "them; `hub`: download them. Unless set, package where there is one, else hub.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; timm's name unless set.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    head: Annotated[
        str, typer.Option(help="The learner on its features: logistic, protonet, r2d2, cosine_classifier …")
    ] = "logistic",
    data: Annotated[Path | None, typer.Option(help=f"Measure and calibrate it on these. {DATA_HELP}")] = None,
    split: Annotated[str | None, typer.Option(help="Which part of the data, as of `kshot evaluate`.")] = None,
    size: Annotated[
        int | None, typer.Option(min=8, help="Height and width of its input, pixels; as pretrained unless set.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the model; that of the weights unless set, `unknown` for a file.")
    ] = None,
) -> None:
    """Make a model that can be served out of any image backbone of timm, in one command.

    Writes a folder with the weights, the encoder as ONNX and a card: size of input, normalization and interpolation
    are those of its pretraining. Nothing is trained, and without labelled pictures nothing is measured or calibrated.

    Without a network, with weights that install by pip (`kshot[photos]`):

        kshot models add timm:tf_efficientnet_lite0 --data my_pictures/

    With a network; timm knows DINOv2 and DINOv3, CLIP, ConvNeXt and a thousand more:

        kshot models add timm:vit_small_patch14_dinov2.lvd142m --size 224 --name dinov2-small

    From a file, such as the model.safetensors of the hub or what timm's training wrote:

        kshot models add timm:convnext_tiny --weights model.safetensors --licence Apache-2.0
    """
    with explained():
        card, folder = _added(
            backbone, weights, name, models_dir, head=head, data=data, split=split, size=size, licence=licence
        )
    console = output()
    if card.accuracy:
        print_accuracies(f"{card.name} {card.version}", card.accuracy)
    console.print(f"{folder}: {card.origin}", highlight=False, markup=False)
    console.print(
        f'serve it with `kshot serve --models-dir {folder.parent}`, ask it with "model": "{card.name}"',
        highlight=False,
        markup=False,
    )
    if card.calibration is None:
        console.print("its probabilities are uncalibrated", highlight=False)
    if not card.accuracy:
        console.print(f"not measured: kshot evaluate {folder} --data …", highlight=False, markup=False)


def _added(
    backbone: str,
    weights: str | None,
    name: str | None,
    models_dir: Path | None,
    *,
    head: str,
    data: Path | None,
    split: str | None,
    size: int | None,
    licence: str | None,
) -> "tuple[Card, Path]":
    from meta_core.adopt import adopt
    from meta_core.card import Part
    from meta_core.device import cores
    from meta_core.errors import InvalidCheckpoint
    from meta_core.progress import say
    from service.served import serve
    from service.verifying import compare

    part = Part.model_validate(backbone)
    if part.name != "timm" or not part.options.get("model"):
        raise ValueError(f"the backbone is {backbone!r}; expected timm:NAME, such as timm:tf_efficientnet_lite0")
    folder = models_folder(models_dir) / (name or part.options["model"].lower())
    card = adopt(
        folder,
        backbone=part,
        head=Part.model_validate(head),
        weights=weights,
        side=size,
        licence=licence,
        data=data,
        split=split,
    )
    say("loading it as the service does, and comparing ONNX with torch")
    try:
        served = serve(folder, device="cpu", threads=cores())
        served.close()
        compare(served)
    except InvalidCheckpoint:
        shutil.rmtree(folder)  # adopt() made it: a model that does not run is worth nothing
        raise
    return card, folder


@models.command("list")
def list_models(
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON instead of a table.")] = False,
) -> None:
    """Every model of the folder: what it takes, how accurate its card says it is, under which licence.

    kshot models list --models-dir my_models/
    """
    from meta_core.checkpoint import CARD, read_card

    with explained():
        folder = models_folder(models_dir)
        cards = [read_card(path.parent) for path in sorted(folder.glob(f"[!.]*/{CARD}"))]
        if not cards:
            raise ValueError(f"{folder} holds no model; `kshot models add` makes one, `kshot train` trains one")
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards])
        return
    columns = ("name", "learner", "backbone", "input", "5-way 1-shot", "5-way 5-shot", "licence")
    made = table(str(folder), [(column, "left") for column in columns], caption="percent ± 95 % CI, of the cards")
    for card in cards:
        made.add_row(*_row(card))
    output().print(made)


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="A model of the folder.", autocompletion=complete_model)],
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON, as it is stored.")] = False,
) -> None:
    """One model's card: what it takes, how it was made, how well it does on which data.

    kshot models show photos
    kshot models show photos --json
    """
    from rich.markdown import Markdown

    from meta_core.card import card_text
    from meta_core.checkpoint import read_card

    with explained():
        card = read_card(_folder_of(name, models_folder(models_dir)))
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        output().print(Markdown(card_text(card)))


models.command()(verify)
models.command()(quantize)


@models.command()
def remove(
    name: Annotated[str, typer.Argument(help="A model of the folder.", autocompletion=complete_model)],
    models_dir: Annotated[Path | None, typer.Option(help=MODELS_DIR_HELP)] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where classifiers are stored; ./data unless set.")] = None,
) -> None:
    """Delete a model's folder, unless stored classifiers need it.

    A running service goes on with it until POST /v1/admin/models/reload.

        kshot models remove mine
    """
    from service.commands.console import with_database
    from service.pinned import count_pinned

    with explained():
        folder = _folder_of(name, models_folder(models_dir))
        count = with_database(data_dir, lambda database: count_pinned(database, model=name))
        if count:
            raise ValueError(
                f"{count} classifiers were adapted with {name} and would answer 409 without it: delete them first"
            )
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    typer.echo(f"{folder} is deleted", err=True)


def _folder_of(name: str, models_dir: Path) -> Path:
    """The folder of the model that is called so, which need not be the folder's own name."""
    from meta_core.checkpoint import CARD, read_card
    from meta_core.errors import InvalidCheckpoint

    for card in sorted(models_dir.glob(f"[!.]*/{CARD}")):
        with contextlib.suppress(InvalidCheckpoint):  # another one's damage is no matter here
            if read_card(card.parent).name == name:
                return card.parent
    if (models_dir / name / CARD).is_file():
        return models_dir / name
    raise ValueError(f"{models_dir} holds no model {name[:64]!r}; `kshot models list` lists those there are")


def _row(card: "Card") -> tuple[str, ...]:
    from meta_core.card import input_text

    model = card.backbone.options.get("model")
    return (
        card.name,
        card.learner.name,
        f"{card.backbone.name}:{model}" if model else card.backbone.name,
        input_text(card.input),
        _figure(card.accuracy, shots=1),
        _figure(card.accuracy, shots=5),
        card.licence,
    )


def _figure(rows: "list[Accuracy]", *, shots: int) -> str:
    row = next((row for row in rows if (row.ways, row.shots, row.protocol) == (5, shots, "episodes")), None)
    return f"{row.accuracy:.2f} ± {row.ci95:.2f}" if row else "—"

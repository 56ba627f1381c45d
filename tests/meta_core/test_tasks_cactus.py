"""Tasks out of clusters: what is clustered, that labels are not looked at, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from meta_core.card import Training
from meta_core.checkpoint import read_card, rewrite_card
from meta_core.episode import Episode
from meta_core.errors import InvalidDataset, InvalidRecipe
from meta_core.pictures import Pictures
from meta_core.registry import TASKS
from meta_core.splits import needs_labels
from meta_core.tasks.cactus import Cactus, clustered, partitions
from meta_core.train import train
from tests.made_up import SPEC, made_up_pictures, small_learner, tiny_recipe, write_model, write_npz


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "seer"
    write_model(folder, small_learner("protonet", shape=SPEC.shape))
    return folder


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Eight kinds of twelve pictures, each a shade with a little noise: what any network tells apart."""
    shades = torch.linspace(10, 240, 8).repeat_interleave(12)[:, None, None, None]
    noise = torch.rand(96, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 8
    given = made_up_pictures([12] * 8)
    return Pictures(**{**vars(given), "images": (shades + noise).to(torch.uint8)})


def tasks(pictures: Pictures, encoder: Path, **options: Any) -> Cactus:
    own = {"encoder": encoder, "clusters": 8, "partitions": 2, "ways": (4, 4), "queries": 2}
    source: Cactus = TASKS.build("cactus", pictures=pictures, spec=SPEC, **(own | options))
    return source


def shades(episode: Episode) -> list[list[int]]:
    """Of each class of the first task, the rounded mean light of its pictures."""
    inputs = torch.cat([episode.support.inputs[0], episode.query.inputs[0]]).mean((1, 2, 3))
    classes = torch.cat([episode.support.targets[0], episode.query.targets[0]]).argmax(-1)
    return [[round(float(light), 1) for light in inputs[classes == way]] for way in range(4)]


def test_a_class_is_a_cluster_of_what_the_encoder_sees(
    pictures: Pictures, encoder: Path, generator: torch.Generator
) -> None:
    episode = tasks(pictures, encoder, clusters=6).sample(1, generator)
    assert episode.support.inputs.shape == (1, 4, 1, 16, 16)
    assert episode.query.inputs.shape == (1, 8, 1, 16, 16)
    within = [max(own) - min(own) for own in shades(episode)]
    assert sum(within) / len(within) < 0.5, "of a range of 1.8 from black to white"


def test_labels_are_not_looked_at(pictures: Pictures, encoder: Path) -> None:
    mixed = Pictures(**{**vars(pictures), "labels": pictures.labels[torch.randperm(96)]})
    first, second = (tasks(each, encoder).sample(2, torch.Generator().manual_seed(4)) for each in (pictures, mixed))
    assert torch.equal(first.query.inputs, second.query.inputs)
    assert not needs_labels("cactus")


def test_partitions_are_k_means_of_differently_scaled_features() -> None:
    """Two dimensions, each of which splits the points in its own way; the wider one decides where nothing is scaled."""
    left = torch.tensor([0.0, 0.0, 12.0, 12.0]).repeat(10)
    up = torch.tensor([0.0, 4.0, 0.0, 4.0]).repeat(10)
    first, *others = partitions(torch.stack([left, up], dim=1), clusters=2, count=30, seed=0)
    assert len(first) == 40

    def splits_by(labels: torch.Tensor, values: torch.Tensor) -> bool:
        return all(len(set(labels[values == value].tolist())) == 1 for value in values.unique())

    assert splits_by(first, left)
    assert any(splits_by(each, up) for each in others)
    again = partitions(torch.stack([left, up], dim=1), clusters=2, count=30, seed=0)
    assert all(torch.equal(one, two) for one, two in zip([first, *others], again, strict=True))


def test_small_clusters_are_left_out(pictures: Pictures) -> None:
    labels = torch.tensor([0] * 50 + [1] * 2 + [2] * 44)
    kept = clustered(pictures, labels, least=3, ways=2)
    assert kept.classes == ("cluster 0", "cluster 2")
    assert [len(own) for own in kept.by_class()] == [50, 44]
    assert torch.equal(kept.images[50:], pictures.images[52:])
    with pytest.raises(InvalidDataset, match=r"2 of 3 clusters have the 3 pictures.*fewer clusters"):
        clustered(pictures, labels, least=3, ways=3)


def test_what_cannot_be_clustered_is_refused(pictures: Pictures, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="train it first, by `kshot train omniglot-contrastive"):
        tasks(pictures, tmp_path / "nowhere")
    with pytest.raises(InvalidDataset, match="96 pictures; 200 clusters need more"):
        tasks(pictures, encoder, clusters=200)
    other = SPEC.model_copy(update={"mean": (0.1,)})
    with pytest.raises(InvalidRecipe, match="other pictures"):
        TASKS.build("cactus", pictures=pictures, spec=other, encoder=encoder, clusters=8)


def test_an_encoder_that_saw_labels_is_told(
    pictures: Pictures, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks(pictures, encoder)
    assert "trained with labels" in capsys.readouterr().err
    card = read_card(encoder)
    assert isinstance(card.training, Training)
    rewrite_card(encoder, card.model_copy(update={"training": card.training.model_copy(update={"unlabelled": True})}))
    tasks(pictures, encoder)
    assert "trained with labels" not in capsys.readouterr().err


def test_an_encoder_and_then_its_clusters_train_without_labels(tmp_path: Path) -> None:
    """The two recipes, one after the other, each a whole checkpoint."""
    data = write_npz(tmp_path / "made.npz")
    own = {"train_split": "background", "unlabelled": True, "validation_share": 0.25, "test_split": "evaluation"}
    backbone = {"name": "conv4", "options": {"width": 8}}
    umtra = {"name": "umtra", "options": {"ways": [8, 8]}}
    first = tiny_recipe(name="seer", learner={"name": "contrastive"}, backbone=backbone, tasks=umtra, data=own)
    train(first, data=data, out=tmp_path / "seer", device="cpu")
    cactus = {
        "name": "cactus",
        "options": {"encoder": str(tmp_path / "seer"), "clusters": 5, "partitions": 2, "ways": [2, 2], "queries": 1},
    }
    second = tiny_recipe(name="mine", backbone=backbone, tasks=cactus, data=own)
    card = train(second, data=data, out=tmp_path / "mine", device="cpu")
    assert [row.data for row in card.accuracy] == ["made:evaluation"] * 2
    assert card.training is not None
    assert card.training.unlabelled

"""Tasks without labels: clusters of embeddings are the classes (Hsu, Levine & Finn 2019).

"Unsupervised Learning via Meta-Learning", Algorithm 2 (CACTUs).
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import track
from torch import Tensor

from meta_core.asking import encode_pictures
from meta_core.augment import Augmentation
from meta_core.checkpoint import load
from meta_core.episode import Episode
from meta_core.errors import InvalidDataset, InvalidRecipe, MissingExtra
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec
from meta_core.progress import say
from meta_core.tasks._drawing import Shots, Ways, draw_from
from meta_core.tasks.pictures import PictureTaskOptions, PictureTasks

LABELS_NEEDED = False
"""Told to who reads the data: labels, where there are any, are not even handed over."""


class CactusOptions(BaseModel):
    """What is clustered, and how tasks are drawn out of clusters, as `PictureTaskOptions` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: Path = Field(
        description="folder of the model whose features are clustered, such as `omniglot-contrastive`"
    )
    clusters: int = Field(default=500, ge=2, description="k of k-means")
    partitions: int = Field(default=8, ge=1, description="clusterings, each of features that are scaled differently")
    seed: int = Field(default=0, ge=0, description="of scales and k-means")
    ways: Ways = (5, 5)
    shots: Shots = (1, 1)
    queries: int = Field(default=5, ge=1, description="a cluster")
    augmentation: Augmentation = Augmentation()


class Cactus:
    """A `TaskSource` over several clusterings of the pictures; a meta-batch is of one of them.

    Differs from the paper: embeddings are of a contrastive encoder of our own (`learners/contrastive.py`), where the
    paper takes ACAI, BiGAN or DeepCluster; they are scaled to length 1 first, as that encoder compares angles.

    Args:
        pictures: what tasks are made of; labels are ignored.
        spec: normalization of the pictures.
        options: how they are clustered, and how tasks are drawn.
        device: where the pictures are kept and the tasks are made.

    Raises:
        InvalidRecipe: the encoder is not there, or takes other pictures.
        InvalidDataset: fewer pictures than clusters, or too few clusters with enough pictures.
        MissingExtra: scikit-learn is not installed.
    """

    def __init__(self, pictures: Pictures, *, spec: InputSpec, options: CactusOptions, device: str = "cpu") -> None:
        if len(pictures.images) < options.clusters:
            raise InvalidDataset(
                f"{pictures.source} holds {len(pictures.images)} pictures; {options.clusters} clusters need more: set "
                "`clusters` to a tenth of the pictures or fewer"
            )
        features = _embeddings(options.encoder, pictures.images, spec)
        own = PictureTaskOptions(
            ways=options.ways, shots=options.shots, queries=options.queries, augmentation=options.augmentation
        )
        least = own.shots[1] + own.queries
        parts = partitions(features, clusters=options.clusters, count=options.partitions, seed=options.seed)
        classes = [clustered(pictures, labels, least=least, ways=own.ways[1]) for labels in parts]
        self._sources = [PictureTasks(each, spec=spec, options=own, device=device) for each in classes]

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """A meta-batch of normalized pictures, its classes clusters of one partition drawn at random."""
        chosen = draw_from((0, len(self._sources) - 1), generator)
        return self._sources[chosen].sample(n_tasks, generator)


def partitions(features: Tensor, *, clusters: int, count: int, seed: int) -> list[Tensor]:
    """Cluster numbers (N,) of `count` clusterings by k-means of features (N, D).

    The first is of the features as they are; each further one of features multiplied by random numbers of 0 to 1, a
    dimension each, so that other properties decide.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise MissingExtra(f"clustering needs {error.name}; install kshot[train]") from error
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count - 1, features.shape[1], generator=generator)
    scales = torch.cat([torch.ones(1, features.shape[1]), drawn])
    means = partial(KMeans, clusters, n_init=1, max_iter=30)
    bar = partial(track, console=Console(stderr=True), total=count)
    return [
        torch.from_numpy(means(random_state=seed + number).fit_predict((features * scale).numpy())).long()
        for number, scale in bar(enumerate(scales), f"clustering {len(features):,} pictures into {clusters}")
    ]


def clustered(pictures: Pictures, labels: Tensor, *, least: int, ways: int) -> Pictures:
    """The pictures with their cluster for a class, without clusters of fewer than `least` pictures.

    Raises:
        InvalidDataset: fewer than `ways` clusters are left.
    """
    counts = torch.bincount(labels)
    large = torch.nonzero(counts >= least).flatten()
    if len(large) < ways:
        raise InvalidDataset(
            f"{len(large)} of {len(counts)} clusters have the {least} pictures that shots and queries need; tasks of "
            f"{ways} ways need as many. Ask for fewer clusters, ways or queries, or add pictures"
        )
    numbers = torch.full((len(counts),), -1)
    numbers[large] = torch.arange(len(large))
    own = numbers[labels]
    names = tuple(f"cluster {number}" for number in large.tolist())
    return Pictures(
        images=pictures.images[own >= 0],
        labels=own[own >= 0],
        classes=names,
        groups=names,
        source=f"{pictures.source}, clustered",
        licence=pictures.licence,
    )


def build(*, pictures: Pictures, spec: InputSpec, device: str = "cpu", **options: object) -> Cactus:
    """Tasks over clusters of `pictures`; `options` are the fields of `CactusOptions`."""
    return Cactus(pictures, spec=spec, options=CactusOptions.model_validate(options), device=device)


def _embeddings(encoder: Path, images: Tensor, spec: InputSpec) -> Tensor:
    """Features (N, D) of length 1 by the model in the folder `encoder`."""
    if not encoder.is_dir():
        raise InvalidRecipe(
            f"cactus clusters what the model {encoder} sees in the pictures, and there is none: train it first, by "
            f"`kshot train omniglot-contrastive --out {encoder}` with the same pictures, or name another as `encoder`"
        )
    model = load(encoder)
    if model.card.input != spec:
        raise InvalidRecipe(
            f"the encoder {encoder.name} takes other pictures than the recipe's [input]; make them equal"
        )
    if not model.learner.encodes:
        raise InvalidRecipe(f"the encoder {encoder.name} adapts its whole network, and has no features to cluster")
    if model.card.training is None or not model.card.training.unlabelled:
        say(f"the encoder {encoder.name} was trained with labels: so were, in effect, its clusters")
    features = encode_pictures(model.learner, images, spec)
    return F.normalize(features.flatten(1).float(), dim=-1)

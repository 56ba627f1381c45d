"""Classification tasks out of labelled pictures: N ways, K shots, both from a range (Vinyals et al. 2016)."""

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from meta_core.augment import Augmentation, augment
from meta_core.device import to_device
from meta_core.episode import Episode
from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec, Normalization
from meta_core.tasks._drawing import Shots, Ways, draw_from, episode_of


class PictureTaskOptions(BaseModel):
    """How tasks are drawn. Ways and shots are inclusive ranges, drawn anew for each meta-batch, equal within it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ways: Ways = (5, 5)
    shots: Shots = (1, 1)
    queries: int = Field(default=15, ge=1, description="a class")
    rotations: bool = Field(default=False, description="a class turned by 90°, 180° and 270° is a further class each")
    within_group: float = Field(default=0, ge=0, le=1, description="share of tasks of as few groups as hold the ways")
    fixed_labels: bool = Field(
        default=False,
        description="a class has the same label in every task (Yin et al. 2020, non-mutually-exclusive tasks)",
    )
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _labels_can_be_fixed(self) -> "PictureTaskOptions":
        if self.fixed_labels and (self.ways[0] != self.ways[1] or self.within_group):
            raise ValueError("fixed_labels needs one number of ways and no within_group")
        return self


class PictureTasks:
    """A `TaskSource` over pictures that stay on one device, uint8 as read.

    What is drawn, of which the generator is the CPU's, goes to the device without waiting for what that still computes,
    and is the same on every device.

    Args:
        pictures: what tasks are made of.
        spec: normalization of the pictures.
        options: how tasks are drawn.
        device: where the pictures are kept and the tasks are made.

    Raises:
        InvalidDataset: fewer classes than ways, fewer pictures in a class than shots + queries, or rotations of
            pictures that are not square.
    """

    def __init__(
        self, pictures: Pictures, *, spec: InputSpec, options: PictureTaskOptions, device: str = "cpu"
    ) -> None:
        self.options, self.spec = options, spec
        self._images, self._normalize = pictures.images.to(device), Normalization.of(spec, device)
        self._members = pictures.by_class()
        names = sorted(set(pictures.groups))
        self._groups = [torch.tensor([i for i, group in enumerate(pictures.groups) if group == name]) for name in names]
        classes = len(self._members) * (4 if options.rotations else 1)
        if classes < options.ways[1]:
            raise InvalidDataset(
                f"{pictures.source} makes {classes} classes; tasks of {options.ways[1]} ways need more"
            )
        needed, smallest = options.shots[1] + options.queries, min(len(members) for members in self._members)
        if smallest < needed:
            raise InvalidDataset(
                f"{pictures.source}: a class has {smallest} pictures; "
                f"{options.shots[1]} shots and {options.queries} queries need {needed}"
            )
        if options.rotations and spec.height != spec.width:
            raise InvalidDataset(f"rotations need square pictures; these are {spec.width}×{spec.height} px")

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """A meta-batch of normalized pictures; the support set's order is class by class, as is the query set's."""
        ways = draw_from(self.options.ways, generator)
        shots = draw_from(self.options.shots, generator)
        tasks = [self._draw_pictures(ways, shots + self.options.queries, generator) for _ in range(n_tasks)]
        indices = torch.stack([index for index, _ in tasks])
        turns = torch.stack([turn for _, turn in tasks])
        images = self._images[to_device(indices, self._images.device)]  # (T, C, K + Q', channels, H, W)
        for turn in range(1, 4):
            # Places, not a mask: how many a mask holds the device would have to be asked.
            chosen = tuple(to_device(torch.nonzero(turns == turn), images.device).unbind(1))
            images[chosen] = torch.rot90(images[chosen], turn, dims=(-2, -1))
        inputs = self._normalize(self._augment(images.flatten(0, 2), generator))
        return episode_of(inputs.view(images.shape), shots=shots)

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return augment(images.float(), self.options.augmentation, generator=generator)

    def _draw_pictures(self, ways: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One task's picture numbers (C, count), without repetition within a class, and quarter turns (C,)."""
        classes, turns = self._draw_classes(ways, generator)
        members = [self._members[number] for number in classes.tolist()]
        chosen = [own[torch.randperm(len(own), generator=generator)[:count]] for own in members]
        return torch.stack(chosen), turns

    def _draw_classes(self, ways: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        kinds = 4 if self.options.rotations else 1
        if float(torch.rand((), generator=generator)) < self.options.within_group:
            return self._draw_group_classes(ways, kinds, generator)
        if self.options.fixed_labels:
            drawn = self._draw_one_of_each_label(ways, len(self._members) * kinds, generator)
        else:
            drawn = torch.randperm(len(self._members) * kinds, generator=generator)[:ways]
        return drawn // kinds, drawn % kinds

    def _draw_one_of_each_label(self, ways: int, classes: int, generator: torch.Generator) -> Tensor:
        """Classes are dealt to labels like cards, once and for all: class n has the label n modulo the ways."""
        draws = torch.rand(ways, generator=generator, dtype=torch.float64)
        labels = torch.arange(ways)
        sizes = (classes - labels + ways - 1) // ways
        return labels + ways * (draws * sizes).long()

    def _draw_group_classes(self, ways: int, kinds: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Whole groups in random order, all turned alike, until there are enough classes: the hard tasks."""
        turn, chosen = draw_from((0, kinds - 1), generator), torch.empty(0, dtype=torch.int64)
        turns = torch.empty(0, dtype=torch.int64)
        while len(chosen) < ways:
            for group in torch.randperm(len(self._groups), generator=generator).tolist():
                own = self._groups[group]
                shuffled = own[torch.randperm(len(own), generator=generator)]
                chosen = torch.cat([chosen, shuffled])
                turns = torch.cat([turns, torch.full((len(own),), turn)])
                if len(chosen) >= ways:
                    break
            turn = (turn + 1) % kinds  # more ways than there are classes: go on with their rotations
        return chosen[:ways], turns[:ways]


def build(*, pictures: Pictures, spec: InputSpec, device: str = "cpu", **options: object) -> PictureTasks:
    """Tasks over `pictures`; `options` are the fields of `PictureTaskOptions`."""
    return PictureTasks(pictures, spec=spec, options=PictureTaskOptions.model_validate(options), device=device)

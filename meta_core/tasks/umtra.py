"""Tasks without labels: random pictures are the classes, their changed copies the queries (Khodadadeh et al. 2019).

"Unsupervised Meta-Learning for Few-Shot Image Classification", Algorithm 1 (UMTRA). With very many pictures of many
classes, a few drawn at random are most probably of different ones: that is all that is assumed.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from meta_core.augment import Augmentation, augment
from meta_core.episode import Episode
from meta_core.errors import InvalidDataset
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec, normalize
from meta_core.tasks._drawing import Shots, Ways, draw_from, episode_of

LABELS_NEEDED = False
"""Told to who reads the data: labels, where there are any, are not even handed over."""

CHANGES = Augmentation(rotate_degrees=15, scale=0.2, stretch=0.1, shear=0.25, shift=0.15, warp=0.15)
"""Of a copy, where a recipe does not say: what a second hand, or a second look, would do to a drawing."""


class UmtraOptions(BaseModel):
    """How tasks are drawn. Ways and shots are inclusive ranges, drawn anew for each meta-batch, equal within it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ways: Ways = (5, 5)
    shots: Shots = (1, 1)
    queries: int = Field(default=1, ge=1, description="changed copies of each picture that are asked")
    plain_support: bool = Field(default=False, description="the first example is the picture as it is, as in the paper")
    augmentation: Augmentation = CHANGES


class Umtra:
    """A `TaskSource` over pictures whose labels are never looked at.

    Differs from the paper: the examples may be changed copies too (`plain_support` is the paper's way), and there may
    be more than one example or query a class, each another copy.

    Args:
        pictures: what tasks are made of; labels are ignored.
        spec: normalization of the pictures.
        options: how tasks are drawn.
        device: where the pictures are kept and the tasks are made.

    Raises:
        InvalidDataset: fewer pictures than ways, or nothing that would change a copy.
    """

    def __init__(self, pictures: Pictures, *, spec: InputSpec, options: UmtraOptions, device: str = "cpu") -> None:
        self.options, self.spec = options, spec
        self._images = pictures.images.to(device)
        if not options.augmentation.active:
            raise InvalidDataset("UMTRA's queries are changed copies; [tasks.options.augmentation] changes nothing")
        if len(self._images) < options.ways[1]:
            raise InvalidDataset(
                f"{pictures.source} holds {len(self._images)} pictures; tasks of {options.ways[1]} ways need as many"
            )

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """A meta-batch of normalized pictures; the support set's order is class by class, as is the query set's."""
        ways, shots = draw_from(self.options.ways, generator), draw_from(self.options.shots, generator)
        chosen = [torch.randperm(len(self._images), generator=generator)[:ways] for _ in range(n_tasks)]
        copies = self._copies(torch.stack(chosen), shots + self.options.queries, generator)
        return episode_of(copies, shots=shots)

    def _copies(self, numbers: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Picture numbers (T, C) → (T, C, count, *input); the first is the picture itself where that is asked for."""
        pictures = self._images[numbers.to(self._images.device)].float()
        kept = int(self.options.plain_support)
        repeated = pictures.unsqueeze(2).expand(-1, -1, count - kept, -1, -1, -1)
        changed = augment(repeated.flatten(0, 2), self.options.augmentation, generator=generator)
        copies = torch.cat([*[pictures.unsqueeze(2)] * kept, changed.view(repeated.shape)], dim=2)
        return normalize(copies.flatten(0, 2), self.spec).view(copies.shape)


def build(*, pictures: Pictures, spec: InputSpec, device: str = "cpu", **options: object) -> Umtra:
    """Tasks over `pictures`; `options` are the fields of `UmtraOptions`."""
    return Umtra(pictures, spec=spec, options=UmtraOptions.model_validate(options), device=device)

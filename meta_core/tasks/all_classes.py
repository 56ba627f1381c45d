"""All training classes at once: what a network is trained on that learns them together, before any task is seen."""

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field

from meta_core.augment import Augmentation, augment
from meta_core.device import to_device
from meta_core.episode import Episode, QuerySet, SupportSet
from meta_core.pictures import Pictures
from meta_core.preprocess import InputSpec, Normalization


class AllClassesOptions(BaseModel):
    """What a batch is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=64, ge=1, description="pictures, of whatever classes they are")
    rotations: bool = Field(default=False, description="a class turned by 90°, 180° and 270° is a further class each")
    augmentation: Augmentation = Augmentation()


class AllClasses:
    """A `TaskSource` whose tasks are batches of the one task of telling all classes apart.

    Every picture is as likely as every other, whatever its class, and may come twice. A batch is the query set of an
    episode; there is nothing to adapt to, and the support set is empty. That is for a learner with an output for each
    class, such as `learners/multi_task.py`.

    Args:
        pictures: all of them; those turned are kept beside them.
        spec: normalization of the pictures.
        options: what a batch is.
        device: where the pictures are kept and the batches are made.

    Raises:
        InvalidDataset: rotations of pictures that are not square.
    """

    def __init__(self, pictures: Pictures, *, spec: InputSpec, options: AllClassesOptions, device: str = "cpu") -> None:
        drawn = pictures.with_rotations() if options.rotations else pictures
        self.options, self.classes = options, len(drawn.classes)
        self._images, self._labels = drawn.images.to(device), drawn.labels.to(device)
        self._normalize = Normalization.of(spec, device)

    def sample(self, n_tasks: int, generator: torch.Generator) -> Episode:
        """A meta-batch of batches; targets are (T, Q, all classes), a turned class's number after all those upright."""
        size = (n_tasks, self.options.batch)
        numbers = to_device(torch.randint(len(self._images), size, generator=generator), self._images.device)
        pictures = self._images[numbers.flatten()].float()
        inputs = self._normalize(augment(pictures, self.options.augmentation, generator=generator))
        targets = F.one_hot(self._labels[numbers], self.classes).to(inputs.dtype)
        inputs = inputs.view(*size, *inputs.shape[1:])
        nothing = SupportSet(inputs[:, :0], targets[:, :0], targets.new_ones(n_tasks, 0))
        return Episode(nothing, QuerySet(inputs, targets))


def build(*, pictures: Pictures, spec: InputSpec, device: str = "cpu", **options: object) -> AllClasses:
    """Batches of all of `pictures`; `options` are the fields of `AllClassesOptions`."""
    return AllClasses(pictures, spec=spec, options=AllClassesOptions.model_validate(options), device=device)

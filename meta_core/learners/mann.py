"""A memory-augmented neural network (Santoro, Bartunov, Botvinick, Wierstra & Lillicrap 2016)."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from meta_core import label_codes
from meta_core.episode import Episode, State, SupportSet, batch_of_one
from meta_core.external_memory import ExternalMemory, Memory
from meta_core.functional import check_support
from meta_core.learner import AdaptOptions, Learner
from meta_core.objectives import cross_entropy

_EMBEDDED = 64
"""Numbers of a picture in the sequence."""


class _Control(NamedTuple):
    """What the controller carries from one example to the next: (U,), (U,), (H · W,)."""

    output: Tensor
    cell: Tensor
    read: Tensor


class MANN(Learner):
    """An LSTM reads the labelled examples one by one into an external memory, and looks a query up in it (section 3).

    Differs from the paper:

    - An example's label comes with it, where the paper's comes one step later because each example is a question first;
      here questions are the queries, each asked right after the examples, and they write nothing.
    - Any number of ways up to `most_ways`: labels and outputs are places in a fixed number (`label_codes`).
    - A convolutional backbone encodes the pictures, as in Vinyals et al. 2016; the paper's controller reads pixels.
    - The heads see the example itself beside the controller's output, so that a picture is found by what it shows from
      the first step of training on, and reads are sharpened (`external_memory`): without both it was at chance after
      750 steps on Omniglot, and with them at 87 % after 250.

    Args:
        backbone: (N, *input) → (N, features).
        features: that the backbone makes.
        most_ways: labels it can tell apart.
        controller: units of the LSTM.
        rows: of the memory.
        width: of a row.
        heads: keys that read and write at once.
        usage_decay: how much of a row's usage is left after a step.
    """

    order_matters: ClassVar[bool] = True
    steps_to_learn: ClassVar[int] = 80

    def __init__(
        self,
        *,
        backbone: nn.Module,
        features: int,
        most_ways: int = 20,
        controller: int = 200,
        rows: int = 128,
        width: int = 40,
        heads: int = 4,
        usage_decay: float = 0.95,
    ) -> None:
        super().__init__(backbone=backbone)
        self.most_ways = self.places = most_ways
        self.controller = controller
        self.embed = nn.Linear(features, _EMBEDDED)
        example = _EMBEDDED + most_ways
        self.memory = ExternalMemory(controller + example, rows=rows, width=width, heads=heads, usage_decay=usage_decay)
        # The LSTM is written out: torch's has no batching rule under `torch.vmap`.
        self.gates = nn.Linear(example + self.memory.reads + controller, 4 * controller)
        self.answer = nn.Linear(controller + self.memory.reads, most_ways)

    def adapt(self, support: SupportSet, *, options: AdaptOptions) -> State:
        """Features (S, D) → the memory and the controller after the last example, and the classes' `places` (C,)."""
        self.check_options(options)
        check_support(support, most_ways=self.most_ways)
        kept = label_codes.without_padding(support)
        return self._show(kept, label_codes.by_appearance(kept.targets))

    def predict(self, state: State, query: Tensor) -> Tensor:
        """Features (Q, D) → (Q, C)."""
        before = _Control(state["output"], state["cell"], state["read"])
        unlabelled = torch.cat([self.embed(query), query.new_zeros(len(query), self.places)], dim=-1)
        outputs, _ = self._control(before, unlabelled)
        read = self.memory.read(state["rows"], torch.cat([outputs, unlabelled], dim=-1))
        logits: Tensor = self.answer(torch.cat([outputs, read], dim=-1))
        return logits.index_select(1, state["places"])

    def meta_loss(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:
        """Of one task, as `meta_losses`."""
        return self.meta_losses(batch_of_one(episode), generator=generator, progress=progress)[0]

    def meta_losses(self, episode: Episode, *, generator: torch.Generator, progress: float) -> Tensor:  # noqa: ARG002
        """The queries' cross-entropy, the examples in random order and the classes at random places."""
        tasks, places = label_codes.dealt(episode, self.places, generator)
        return torch.vmap(self._loss)(tasks, places)

    def _loss(self, episode: Episode, places: Tensor) -> Tensor:
        state = self._show(episode.support, places)
        return cross_entropy(self.predict(state, episode.query.inputs), episode.query.targets)

    def _show(self, support: SupportSet, places: Tensor) -> State:
        codes = label_codes.codes(support.targets, places, self.places)
        labelled = torch.cat([self.embed(support.inputs), codes], dim=-1)
        memory, nothing = self.memory.empty(support.inputs), support.inputs.new_zeros
        control = _Control(nothing(self.controller), nothing(self.controller), nothing(self.memory.reads))
        for example in labelled.unbind():
            control, memory = self._read_example(control, memory, example)
        return {"rows": memory.rows, "places": places, **control._asdict()}

    def _read_example(self, control: _Control, memory: Memory, example: Tensor) -> tuple[_Control, Memory]:
        outputs, cells = self._control(control, example[None])
        memory, read = self.memory.write(memory, torch.cat([outputs[0], example]))
        return _Control(outputs[0], cells[0], read), memory

    def _control(self, before: _Control, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's step on each of the inputs (N, F), all from the same `before`: outputs and cells (N, U)."""
        known = torch.cat([before.read, before.output]).expand(len(inputs), -1)
        enter, forget, new, out = self.gates(torch.cat([inputs, known], dim=-1)).chunk(4, dim=-1)
        cells = (forget + 1).sigmoid() * before.cell + enter.sigmoid() * new.tanh()
        return out.sigmoid() * cells.tanh(), cells


def build(
    *,
    backbone: nn.Module,
    features: int,
    most_ways: int = 20,
    controller: int = 200,
    rows: int = 128,
    width: int = 40,
    heads: int = 4,
    usage_decay: float = 0.95,
) -> MANN:
    """A MANN around `backbone`."""
    return MANN(
        backbone=backbone,
        features=features,
        most_ways=most_ways,
        controller=controller,
        rows=rows,
        width=width,
        heads=heads,
        usage_decay=usage_decay,
    )

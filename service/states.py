"""Adapted states in memory, within a budget of bytes; what is not here is read from the store."""

from collections import OrderedDict
from typing import NamedTuple

from meta_core.episode import State
from service.classifier import Classifier


class _Entry(NamedTuple):
    classifier: Classifier
    state: State
    size: int


class StateCache:
    """The states used last; those not used for longest make room.

    Where several processes write to one database it is asked with what that says of a classifier now, and answers for
    that very revision alone: what was replaced or deleted, by whatever process, is never answered from here. Where one
    process alone does, it is told of every change, and what is here is so.

    Args:
        max_bytes: of all states together; 0 keeps none.

    Attributes:
        held_bytes: of the states held now.
        hits: how often a state was here.
        misses: how often it was not.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = self.hits = self.misses = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, classifier: Classifier) -> State | None:
        """The classifier's state, if it is here."""
        entry = self._entries.get(classifier.id)
        if entry is None or entry.classifier.revision != classifier.revision:
            self.misses += 1
            return None
        return self._found(entry).state

    def find(self, classifier_id: str, *, tenant: str) -> tuple[Classifier, State] | None:
        """A tenant's classifier that has not expired, as it was put, and its state, if they are here."""
        entry = self._entries.get(classifier_id)
        if entry is None or entry.classifier.tenant != tenant or entry.classifier.expired():
            self.misses += 1
            return None
        return self._found(entry).classifier, entry.state

    def _found(self, entry: _Entry) -> _Entry:
        self.hits += 1
        self._entries.move_to_end(entry.classifier.id)
        return entry

    def put(self, classifier: Classifier, state: State) -> None:
        """Keep a state in place of the classifier's former one; one that is over the budget alone is not kept."""
        self.forget(classifier.id)
        size = sum(tensor.nbytes for tensor in state.values())
        if size > self.max_bytes:
            return
        self._entries[classifier.id] = _Entry(classifier.bare(), state, size)
        self.held_bytes += size
        while self.held_bytes > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.held_bytes -= oldest.size

    def forget(self, classifier_id: str) -> None:
        """Let go of a classifier's state, if it is here."""
        entry = self._entries.pop(classifier_id, None)
        if entry is not None:
            self.held_bytes -= entry.size

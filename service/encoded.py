"""Encoded pictures in memory, by their content: what the same tenant sends again is not encoded again.

Never across tenants: that an answer comes quickly would tell one what another has sent.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from service.served import ServedModel

Key = tuple[str, ...]


class Recalled(NamedTuple):
    """Which of some pictures were encoded before.

    Attributes:
        keys: of all N pictures.
        known: places of those that were, and what they were encoded to, (k, …).
        rest: places of the others.
    """

    keys: list[Key]
    known: list[int]
    features: list[Tensor]
    rest: list[int]

    def order(self, *, before: int) -> Tensor:
        """Where each row is found in: `before` other rows, the known ones, the rest."""
        found = torch.empty(len(self.keys), dtype=torch.int64)
        found[torch.tensor([*self.known, *self.rest], dtype=torch.int64)] = torch.arange(len(self.keys))
        return torch.cat([torch.arange(before), before + found])


class EncodedCache:
    """What pictures were encoded to, those used last; those not used for longest make room.

    Args:
        max_bytes: of all together; 0 keeps none.

    Attributes:
        held_bytes: of what is held now.
        hits: how often a picture was here.
        misses: how often it was not.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = self.hits = self.misses = 0
        self._entries: OrderedDict[Key, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, keys: list[Key]) -> Recalled:
        """Which of these are here."""
        known = [place for place, key in enumerate(keys) if key in self._entries]
        for place in known:
            self._entries.move_to_end(keys[place])
        self.hits += len(known)
        self.misses += len(keys) - len(known)
        there = set(known)
        rest = [place for place in range(len(keys)) if place not in there]
        return Recalled(keys, known, [self._entries[keys[place]] for place in known], rest)

    def put(self, keys: Sequence[Key], features: Tensor) -> None:
        """Keep the features (N, …) of pictures that were encoded just now."""
        for key, row in zip(keys, features, strict=True):
            if row.nbytes > self.max_bytes:
                return
            former = self._entries.pop(key, None)
            self._entries[key] = row.clone()  # alone, or a whole batch would be held with it
            self.held_bytes += row.nbytes - (0 if former is None else former.nbytes)
        while self.held_bytes > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.held_bytes -= oldest.nbytes


def keys_of(tenant: str, model: ServedModel, pictures: Tensor) -> list[Key]:
    """Of pictures (N, channels, H, W) as the model takes them; takes a millisecond for a dozen of 224 px."""
    made_by = (tenant, model.encoder_sha256, model.encoder.runtime)
    return [(*made_by, hashlib.sha256(picture.tobytes()).hexdigest()) for picture in pictures.numpy()]

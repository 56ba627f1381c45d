"""What is asked of every contestant, and what the issue wants of kshot."""

from typing import Any, Final, NamedTuple

WAYS: Final = 5
SHOTS: Final = 5
CLIENTS: Final = 16
COMPARED: Final = 50
"""Pictures whose probabilities all contestants must agree on before anything is timed."""

TOLERANCE: Final = 1e-3
"""Of a probability, from the reference that `prepare` computes."""

REDUCED_TOLERANCE: Final = 0.1
"""The same of those that compute in 8-bit integers, of weights that are random, so that no layer's range is narrow."""

LEAST_SAME: Final = 0.9
"""Share of the pictures that those must give the reference's label."""

CALIBRATED: Final = 240
"""Pictures that the layers' ranges are taken from and the integers are compared on."""

OPEN_SHARE: Final = 0.8
"""Of a contestant's own capacity, at which the open loop asks."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Network(NamedTuple):
    """A network that all contestants serve with the same weights.

    Attributes:
        name: of kshot's model folder.
        title: in tables.
        side: height and width of its input, pixels.
        decoded_side: what Pillow's `draft` is asked for, pixels: kshot's own rule, obeyed by all contestants.
        backbone: name and options in kshot's registry.
    """

    name: str
    title: str
    side: int
    decoded_side: int
    backbone: dict[str, Any]


NETWORKS: Final = (
    Network("conv4-84", "Conv-4 at 84 px", 84, 168, {"name": "conv4"}),
    Network("resnet18-224", "ResNet-18 at 224 px", 224, 224, {"name": "timm", "options": {"model": "resnet18"}}),
)

BEST_PEER_TIMES: Final = 2.0
"""Target 1: kshot's requests a second over the best peer's."""

OF_FLOOR: Final = 0.7
"""Targets 1 and 2: requests a second over the floor's."""

ALONE_TIMES: Final = 1.4
"""Target 2: a lone stateless call's latency over the floor's."""

ONCE_QUERIES: Final = 15
"""Of a stateless call."""

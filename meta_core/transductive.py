"""The mode in which many papers measured, and in which nothing is served: batch norm by the batch it is given."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from meta_core.errors import InvalidOptions

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """While the block runs, every batch norm of `module`, and nothing else, normalizes by the batch it is given.

    So do the released codes of Finn et al. 2017 and Nichol et al. 2018: an episode's queries, sent as one batch, then
    tell each other what a typical query looks like. The running statistics are neither used nor changed, whatever mode
    the module is in, and come back afterwards. Copies of the module that are made inside keep the mode.

    Raises:
        InvalidOptions: the module has no batch norm.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BATCH_NORMS)]
    if not layers:
        raise InvalidOptions(
            "this model has no batch norm: what it answers to a query never depends on the other queries, so there is "
            "no transductive mode to measure. Leave it out; the inductive figure is the only one"
        )
    # A layer that has no running statistics falls back on the batch's, in `eval` mode too.
    before = [(layer, layer.track_running_stats, dict(layer.named_buffers(recurse=False))) for layer in layers]
    try:
        for layer, _, buffers in before:
            layer.track_running_stats = False
            for name in buffers:
                setattr(layer, name, None)
        yield
    finally:
        for layer, tracks, buffers in before:
            layer.track_running_stats = tracks
            for name, buffer in buffers.items():
                setattr(layer, name, buffer)

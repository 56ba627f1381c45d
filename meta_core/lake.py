"""Lake's one-shot runs: the official test of one-shot learning on Omniglot (Lake, Salakhutdinov & Tenenbaum 2015)."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from meta_core.asking import ask, encoded_each_time
from meta_core.card import Accuracy
from meta_core.datasets import read_pictures
from meta_core.errors import InvalidDataset
from meta_core.intervals import mean_ci95
from meta_core.learner import AdaptOptions, Learner
from meta_core.norms import normalizes_batches
from meta_core.preprocess import InputSpec
from meta_core.transductive import batch_statistics

_ARRAYS = ("runs_train_index", "runs_test_index", "runs_answer")


def holds_lake_runs(path: Path) -> bool:
    """Whether `lake_accuracy` can be measured on a data set."""
    if path.suffix != ".npz":
        return False
    with np.load(path, allow_pickle=False) as arrays:
        return set(arrays) >= set(_ARRAYS)


def lake_accuracy(
    learner: Learner, spec: InputSpec, path: Path, *, options: AdaptOptions | None = None, transductive: bool = False
) -> Accuracy:
    """The 20 official one-shot runs: 20 ways within one alphabet, one picture each, asked by other drawers.

    Args:
        learner: trained on the background characters alone.
        spec: of its input.
        path: an `.npz` that also holds the arrays `runs_*` (`docs/data.md`).
        options: of adaptation.
        transductive: batch norm by the statistics of a run's pictures, as in `evaluate_data`.

    Raises:
        InvalidDataset: the file holds no such runs.
        InvalidOptions: the learner has no such adaptation option, or no transductive mode.
    """
    if not holds_lake_runs(path):
        raise InvalidDataset(f"{path.name}: Lake's runs are read from an .npz with {', '.join(_ARRAYS)} (docs/data.md)")
    with np.load(path, allow_pickle=False) as arrays:
        shown, asked, answers = (torch.from_numpy(arrays[name].astype(int)) for name in _ARRAYS)
    pictures = read_pictures(path, spec, split=None)
    options = options or AdaptOptions()
    lookup = encoded_each_time(learner, pictures.images, spec)
    with batch_statistics(learner) if transductive else nullcontext():
        inductive = not normalizes_batches(learner)
        logits = torch.stack(ask(learner, lookup, list(shown[:, :, None]), list(asked), options=options))
    mean, ci95 = mean_ci95((logits.argmax(-1) == answers).double().mean(-1))
    return Accuracy(
        data=pictures.source,
        ways=shown.shape[1],
        shots=1,
        queries=1,
        episodes=len(shown),
        accuracy=mean,
        ci95=ci95,
        protocol="lake",
        inductive=inductive,
        adapt=options.given(),
    )

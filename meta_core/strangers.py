"""Telling strangers from known queries: logistic regression on `open_set.statistics` of whole domains."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from meta_core import open_set
from meta_core.errors import MissingExtra

_CENTRED, _CENTRED_ONE_SHOT = 0.5, 1.0
"""How much of a domain's own level is taken out before the weights are fitted. Left in, it is learned in place of what
tells strangers apart within a domain; taken out wholly, no threshold holds on another. At one shot none does anyway,
and nobody is refused by default: there it is the order that counts."""


class Strangers(NamedTuple):
    """`open_set.statistics` (N, F), largest cosines (N,), and whether a query was of no class, (N,)."""

    found: Tensor
    cosines: Tensor
    unknown: Tensor


class StrangerFit(NamedTuple):
    """Logistic regression: found (N, F) → probability of a stranger (N,)."""

    weights: Tensor
    bias: float

    def __call__(self, found: Tensor) -> Tensor:
        """(N, F) → (N,)."""
        return torch.sigmoid(found @ self.weights + self.bias)

    @classmethod
    def of(cls, domains: Sequence[Strangers]) -> "StrangerFit":
        """The direction within domains first, then where on it the even chance is, over all of them."""
        regression = _logistic_regression()
        found = torch.cat([each.found for each in domains])
        unknown = torch.cat([each.unknown for each in domains]).numpy()
        mean, spread = found.mean(0), found.std(0).clamp_min(1e-9)
        scaled = [(each.found - mean) / spread for each in domains]
        share = _CENTRED if found.shape[1] > len(open_set.ONE_SHOT) else _CENTRED_ONE_SHOT
        levelled = torch.cat([rows - share * rows.mean(0) for rows in scaled])
        direction = torch.from_numpy(regression(C=0.03, max_iter=1000).fit(levelled.numpy(), unknown).coef_[0])
        along = (torch.cat(scaled) @ direction)[:, None].numpy()
        level = regression(C=1e6, max_iter=1000).fit(along, unknown)
        weights = float(level.coef_[0, 0]) * direction / spread
        return cls(weights, float(level.intercept_[0]) - float(mean @ weights))


def area_under_curve(unknown: Tensor, chances: Tensor) -> float:
    """Under the ROC curve of `chances` (N,) telling the `unknown` (N,).

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise MissingExtra(f"calibration needs {error.name}; install kshot[train]") from error
    return float(roc_auc_score(unknown.numpy(), chances.numpy()))


def _logistic_regression() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra(f"calibration needs {error.name}; install kshot[train]") from error
    return LogisticRegression

"""“None of these”: what a support set tells of queries that belong to none of its classes.

How near a query must be depends on the domain, so that a threshold on a distance does not transfer (on two data sets
of textures and hand signs the share of strangers accepted went from 5 % to 0 % and 84 %). Every statistic is therefore
measured against the support set itself: its mean, its spread, how near its examples are to their own class and how
sure they are of it when each is left out.
"""

import torch
from torch import Tensor

from meta_core.episode import State
from meta_core.functional import unit_rows
from meta_core.support_summary import CENTRED, MEAN, PLAIN, SCALE

ONE_SHOT = ("near", "near centred", "top logit", "energy", "radius", "between")
MORE_SHOTS = (*ONE_SHOT, "near, against the examples", "top logit, against the examples")

_SMALLEST_SPREAD = 0.02
"""Of cosines: what a handful of nearly equal examples would else divide by."""


def statistics(
    summary: State, query: Tensor, logits: Tensor, *, temperature: float, repeated: bool | None = None
) -> Tensor:
    """What tells known queries (Q, D) with logits (Q, C) from strangers: (Q, F), float64, in the order of the names.

    `ONE_SHOT`'s where no class has two examples, `MORE_SHOTS`' else; `repeated` says which for those who cannot look at
    values, as when exporting.
    """
    query, mean = query.double(), summary[MEAN].double()
    radius, between, near_mean, near_spread, own_mean, own_spread = summary[SCALE][:6].double()
    logits = logits.double() - logits.double().mean(-1, keepdim=True)
    near = (unit_rows(query) @ summary[PLAIN].double().T).amax(-1)
    centred = (unit_rows(query - mean) @ summary[CENTRED].double().T).amax(-1)
    top = logits.amax(-1)
    found = [
        near,
        centred,
        top / temperature,
        torch.logsumexp(logits / temperature, dim=-1),
        (query - mean).norm(dim=-1) / radius.clamp_min(1e-12),
        between.expand_as(near),
    ]
    if repeated if repeated is not None else not bool(near_mean.isnan()):
        found += [
            (centred - near_mean) / near_spread.clamp_min(_SMALLEST_SPREAD),
            (top - own_mean) / own_spread.clamp_min(1e-3 * temperature),
        ]
    return torch.stack(found, dim=-1)

"""Ranks over all items and the metrics of section 5."""

import numpy as np
from torch import Tensor

from data import CLICK, PURCHASE, Batch

CUTOFFS = (5, 10, 20)


def ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Pessimistic rank of each target, from 1: items with an equal score are ranked before it."""
    if scores.isnan().any():
        raise ValueError("a score is NaN")
    return (scores >= scores.gather(1, targets.unsqueeze(1))).sum(1)


def rank(model, batch: Batch) -> tuple:
    """The timed ranking of a batch: all items scored, the rank of each target and the 20 best."""
    scores = model.scores(batch)
    return (scores >= scores.gather(1, batch.targets[:, None])).sum(1), scores.topk(20)


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% Wilson interval of a share."""
    share, spread = hits / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return centre - half, centre + half


def summary(rank: np.ndarray, kinds: np.ndarray) -> dict:
    """HR@k as [value, low, high] and NDCG@k, over the purchases and over the clicks."""
    return {
        name: _of_kind(rank[kinds == kind]) for name, kind in (("purchase", PURCHASE), ("click", CLICK))
    }


def _of_kind(rank: np.ndarray) -> dict:
    count = len(rank)
    result = {"count": count}
    for k in CUTOFFS if count else ():
        hit = rank <= k
        result[f"HR@{k}"] = [float(x) for x in (hit.mean(), *wilson(hit.sum(), count))]
        result[f"NDCG@{k}"] = float(np.sum(hit / np.log2(rank + 1)) / count)
    return result

"""How good scores are: AUC over labelled pairs, hits among the first recommended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auc(scores: NDArray[np.floating], clicked: NDArray[np.bool_]) -> float:
    """Chance that a random click scores above a random exposure without one; ties count half.

    0.5 if either lacks, NaN if a score is.
    """
    if np.isnan(scores).any():
        return float("nan")
    positives = int(clicked.sum())
    if not 0 < positives < len(clicked):
        return 0.5
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    above = ranks[clicked].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(clicked) - positives)))


def ranks_of(
    scores: NDArray[np.float32], wanted: NDArray[np.int64], seen: list[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """How many items score at least as high as the wanted one, for each request; those already seen do not count.

    A score that is no number is above all others for another item, and below them for the wanted one.

    Args:
        scores: (n, items); wanted: (n,) item; seen: for each request the items that are not recommended again.
    """
    rows = np.arange(len(wanted))
    own = scores[rows, wanted]
    masked = scores.copy()
    for row, items in enumerate(seen):
        masked[row, items] = -np.inf
    masked[rows, wanted] = -np.inf
    return np.asarray((~(masked < own[:, None])).sum(axis=1))


def hit_rate(ranks: NDArray[np.int64], k: int) -> float:
    """Share of requests whose item is among the first k."""
    return float((ranks < k).mean()) if len(ranks) else 0.0


def ndcg(ranks: NDArray[np.int64], k: int) -> float:
    """Mean discounted gain with one item wanted: 1 / log2(rank + 2) within the first k, else 0."""
    return float(np.where(ranks < k, 1.0 / np.log2(ranks + 2.0), 0.0).mean()) if len(ranks) else 0.0

"""What a click-through model is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def auc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Probability that a click's score is above that of a row without one; ties count half.

    Args:
        scores, labels: (n,) numbers; labels 0 and 1, both present.
    Returns:
        The area under the ROC curve; NaN if a score is not a number.
    """
    if np.isnan(scores).any():
        return float("nan")
    values, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    clicks = np.bincount(which, labels, minlength=len(values)).astype(np.float64)
    below = np.cumsum(counts - clicks) - (counts - clicks)
    total = float(clicks.sum())
    return float((clicks * (below + 0.5 * (counts - clicks))).sum() / (total * (len(labels) - total)))


def log_loss(odds: NDArray[Any], labels: NDArray[Any]) -> float:
    """Nats per row, for log-odds (n,)."""
    exact = odds.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, exact) - labels * exact))

"""What is measured on held-out rows; always float64, so that no library's rounding decides a comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def classification_metrics(margins: NDArray[Any], classes: NDArray[np.int64]) -> dict[str, float]:
    """Log loss (nats per row), error rate and accuracy.

    Args:
        margins: (n, k) scores whose softmax are the class probabilities.
        classes: (n,) true classes from 0 to k - 1.
    Returns:
        `loss`, `error` and `accuracy`; all NaN if a margin is, or the largest is infinite.
    """
    scores = margins.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = scores - scores.max(axis=1, keepdims=True)
        log_normalizer = np.log(np.exp(shifted).sum(axis=1))
    loss = float(np.mean(log_normalizer - shifted[np.arange(len(classes)), classes]))
    # The largest of margins that are no numbers would be the first, and classes of a diverged model partly right.
    wrong = math.nan if math.isnan(loss) else int(np.count_nonzero(scores.argmax(axis=1) != classes))
    return {"loss": loss, "error": wrong / len(classes), "accuracy": 1 - wrong / len(classes)}


def regression_metrics(predicted: NDArray[Any], targets: NDArray[Any]) -> dict[str, float]:
    """Root mean squared error (in the target's unit) and the share of variance explained.

    Args:
        predicted, targets: (n,) numbers; the targets are not all equal.
    Returns:
        `loss` (the RMSE) and `r2`.
    """
    true = targets.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        squared = (predicted.astype(np.float64) - true) ** 2
        return {
            "loss": float(np.sqrt(squared.mean())),
            "r2": float(1 - squared.sum() / np.sum((true - true.mean()) ** 2)),
        }

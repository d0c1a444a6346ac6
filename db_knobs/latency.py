"""Quantiles of latency from what servers keep: buckets, or means and deviations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEPS = 60


def from_buckets(bounds: Sequence[float], counts: Sequence[float], q: float) -> float | None:
    """Quantile of a histogram, evenly spread in the logarithm within a bucket.

    Args:
        bounds: (n,) upper ends in seconds, ascending; the first bucket's lower end is half its upper one.
        counts: (n,) of each bucket, not cumulated.
    Returns:
        Seconds; None where nothing was counted.
    """
    heights = np.asarray(counts, dtype=np.float64)
    total = heights.sum()
    if total <= 0:
        return None
    reached = np.cumsum(heights)
    at = int(np.searchsorted(reached, q * total))
    upper = bounds[at]
    lower = bounds[at - 1] if at else upper / 2
    within = (q * total - (reached[at] - heights[at])) / heights[at]
    return float(lower * (upper / lower) ** within)


def from_moments(
    calls: NDArray[np.float64], means: NDArray[np.float64], deviations: NDArray[np.float64], q: float
) -> float | None:
    """Quantile of a mixture of log-normal distributions, one for each statement: an approximation.

    Latencies of one statement are close to log-normal where it does one thing; a tail that comes from another cause
    (a lock, a checkpoint) is understated.

    Args:
        calls: (n,) how often each statement ran.
        means, deviations: (n,) of its latency, seconds.
    Returns:
        Seconds; None where nothing ran.
    """
    from scipy.special import ndtr

    used = (calls > 0) & (means > 0)
    if not used.any():
        return None
    weights = calls[used] / calls[used].sum()
    variation = np.maximum(deviations[used] / means[used], 1e-3) ** 2
    sigma = np.sqrt(np.log1p(variation))
    mu = np.log(means[used]) - sigma**2 / 2
    low, high = float((mu - 8 * sigma).min()), float((mu + 8 * sigma).max())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if float(weights @ ndtr((middle - mu) / sigma)) < q:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))

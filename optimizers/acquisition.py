"""Scores of candidates: how much is a point worth trying?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
# Below this `1 - mills` cancels too, and the leading term 1 / z**2 is exact to six digits.
_ASYMPTOTIC = -1e3
# Its square is still a float.
_LARGEST = 1e150


def log_expected_improvement(
    mean: NDArray[np.float64], variance: NDArray[np.float64], best: float, xi: float = 0.0
) -> NDArray[np.float64]:
    """Logarithm of the expected improvement below `best - xi` (Ament et al., LogEI, NeurIPS 2023, section 4.1).

    Far from the incumbent the improvement itself underflows to 0 and candidates become equal; its logarithm does not.

    Args:
        mean: (n,) predicted losses.
        variance: (n,) of the predictions, at least 0.
        best: loss of the incumbent.
        xi: improvement to ask for on top, in units of the loss.
    Returns:
        (n,) finite numbers, or -inf where there is neither variance nor an improvement.
    """
    deviation = np.sqrt(np.maximum(variance, 0.0))
    gain = best - xi - mean
    # The two by each other alone, for losses have any unit.
    certain = (deviation == 0) | (deviation < 1e-12 * np.abs(gain))
    with np.errstate(divide="ignore"):
        sure = np.log(np.maximum(gain, 0.0))
    z = gain / np.where(certain, 1.0, deviation)
    return np.where(certain, sure, log_h(np.where(certain, 0.0, z)) + np.log(np.where(certain, 1.0, deviation)))


def expected_improvement(
    mean: NDArray[np.float64], variance: NDArray[np.float64], best: float, xi: float = 0.0
) -> NDArray[np.float64]:
    """E[max(best - xi - Y, 0)] for normal Y; see `log_expected_improvement`."""
    return np.exp(log_expected_improvement(mean, variance, best, xi))


def log_hypervolume_improvement(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    boxes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Logarithm of the expected hypervolume improvement of independent normal losses, exactly.

    What a point gains of a box from l to u is the product over losses of u - max(l, Y), or nothing; its expectation is
    the product of the differences EI(u) - EI(l) (Yang et al., Journal of Global Optimization 2019, section 4).

    Args:
        mean, variance: (n, m) of the predicted losses.
        boxes: (k, m) lower and (k, m) upper corners of what is not dominated yet; see `pareto.free_boxes`.
    Returns:
        (n,) numbers; -inf where no gain is possible.
    """
    total = np.zeros((len(mean), len(boxes[0])))
    for loss in range(mean.shape[1]):
        # Boxes share their corners, so that there are far fewer of them along one loss.
        corners, place = np.unique(np.concatenate([corner[:, loss] for corner in boxes]), return_inverse=True)
        gains = np.full((len(mean), len(corners)), -np.inf)
        for column in np.flatnonzero(np.isfinite(corners)):
            gains[:, column] = log_expected_improvement(mean[:, loss], variance[:, loss], float(corners[column]))
        low, high = place[: len(boxes[0])], place[len(boxes[0]) :]
        with np.errstate(invalid="ignore", divide="ignore"):
            # Of corners that differ in their last digits, the lower one's gain may be rounded to more than the upper's.
            less = np.minimum(gains[:, low] - gains[:, high], 0.0)
            part = gains[:, high] + np.log1p(-np.exp(less))
        total += np.where(np.isneginf(gains[:, high]), -np.inf, part)
    return np.asarray(np.logaddexp.reduce(total, axis=1))


def log_h(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(phi(z) + z Phi(z)), of which the direct form cancels to nothing for negative z (LogEI, equation 9)."""
    from scipy.special import erfcx, ndtr

    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near**2 - _LOG_SQRT_2PI) + near * ndtr(near))
    # phi(z) + z Phi(z) = phi(z) (1 - |z| sqrt(pi / 2) erfcx(|z| / sqrt(2))), and 1 - ... tends to 1 / z**2.
    far = np.clip(z, -_LARGEST, -1.0)
    mills = math.sqrt(math.pi / 2) * -far * erfcx(-far / math.sqrt(2))
    rest = np.where(far < _ASYMPTOTIC, -2 * np.log(-far), np.log1p(-np.where(far < _ASYMPTOTIC, 0.0, mills)))
    return np.where(z > -1.0, direct, -0.5 * far**2 - _LOG_SQRT_2PI + rest)


def log_probability_below(
    mean: NDArray[np.float64], variance: NDArray[np.float64], bound: float
) -> NDArray[np.float64]:
    """log P(Y <= bound) for normal Y: how likely a constraint holds (Gardner et al., ICML 2014, section 3.2).

    Returns:
        (n,) numbers of at most 0.
    """
    from scipy.special import log_ndtr

    room = bound - mean
    # What is certain keeps an order: of points that miss the bound, those that miss it less are the more likely.
    least = 1e-12 * np.abs(room).max(initial=0.0)
    deviation = np.maximum(np.sqrt(np.maximum(variance, 0.0)), least)
    return np.asarray(log_ndtr(room / np.where(deviation > 0, deviation, 1.0)))


def chebyshev(
    losses: NDArray[np.float64],
    weights: NDArray[np.float64],
    rho: float = 0.05,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Several losses as one: the augmented Chebyshev sum (Knowles, ParEGO, IEEE TEC 2006, equation 2).

    Args:
        losses: (n, m); each column is scaled first, so that its bounds lie at 0 and 1.
        weights: (m,) at least 0, with sum 1.
        rho: share of the plain sum, which tells weakly dominated points apart.
        bounds: (m,) lowest and (m,) highest losses; by default those of the n points.
    Returns:
        (n,) scalar losses.
    """
    low, high = bounds or (losses.min(axis=0), losses.max(axis=0))
    scaled = (losses - low) / np.where(high > low, high - low, 1.0)
    weighted = scaled * weights
    return np.asarray(weighted.max(axis=1) + rho * weighted.sum(axis=1))

"""Sets of points that no other beats: which they are, and how much they cover."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import OptimizerError


def dominated(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, n) whether point j (column) is at least as good as point i (row) in every loss and better in one."""
    no_worse = (points[None, :, :] <= points[:, None, :]).all(axis=2)
    better = (points[None, :, :] < points[:, None, :]).any(axis=2)
    return np.asarray(no_worse & better)


def fronts(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """The front of each point, 0 for those that nothing dominates (Deb et al., NSGA-II, 2002, section III-A).

    Args:
        points: (n, m) losses.
    Returns:
        (n,) numbers of fronts; quadratic in n.
    """
    by = dominated(points)
    front = np.full(len(points), -1)
    left = np.ones(len(points), dtype=bool)
    number = 0
    while left.any():
        best = left & ~by[:, left].any(axis=1)
        front[best] = number
        left &= ~best
        number += 1
    return front


class Front:
    """Rows of points that no other dominates, kept up as points come in; of equal points the first.

    Attributes:
        rows: in order of arrival.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._points: list[NDArray[np.float64]] = []

    def add(self, row: int, point: NDArray[np.float64]) -> None:
        """A new (m,) point."""
        points = np.array(self._points).reshape(-1, len(point))
        if (points <= point).all(axis=1).any():
            return
        kept = np.flatnonzero((points < point).any(axis=1))
        self.rows = [*(self.rows[place] for place in kept), row]
        self._points = [*points[kept], point]


def hypervolume(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Volume between the points and a reference that is worse: what they dominate of it, exactly.

    Args:
        points: (n, m) losses, m at most 3; those beyond the reference count for nothing.
        reference: (m,) losses that all should beat.
    Raises:
        OptimizerError: there are more than three objectives, or the two differ in number.
    """
    m = len(reference)
    if not 1 <= m <= 3 or points.shape[1:] != (m,):
        raise OptimizerError(f"hypervolume: points of shape {points.shape} and {m} references; up to 3 objectives")
    inside = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if m == 1:
        return float(reference[0] - inside.min())
    if m == 2:
        return _area(inside, reference)
    # Slices along the last loss: between two of its values the same points dominate.
    inside = inside[np.argsort(inside[:, 2], kind="stable")]
    heights = np.diff(np.append(inside[:, 2], reference[2]))
    return float(sum(h * _area(inside[: i + 1, :2], reference[:2]) for i, h in enumerate(heights) if h > 0))


def _area(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Of two losses: the steps of a staircase."""
    ranked = points[np.lexsort((points[:, 1], points[:, 0]))]
    below = np.minimum.accumulate(np.concatenate([reference[1:2], ranked[:, 1]]))
    return float(np.sum((reference[0] - ranked[:, 0]) * -np.diff(below)))


def free_boxes(
    points: NDArray[np.float64], reference: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Disjoint boxes that together are all below a reference that no point dominates, in any number of objectives.

    Each point cuts what it dominates out of the boxes that reach there: of such a box, one piece is left along each
    loss (it lies below the point in that loss and not in those before). Two objectives leave a box more than points.

    Args:
        points: (n, m) losses.
        reference: (m,) losses.
    Returns:
        (k, m) lower corners, of which some are -inf, and (k, m) upper corners.
    """
    m = len(reference)
    lower, upper = np.full((1, m), -np.inf), reference[None, :].astype(np.float64)
    for point in points[np.lexsort(points.T[::-1])]:
        cut = (upper > point).all(axis=1)
        low, high = lower[cut], upper[cut]
        lowers, uppers = [lower[~cut]], [upper[~cut]]
        for loss in range(m):
            top = high.copy()
            top[:, loss] = np.minimum(top[:, loss], point[loss])
            left = top[:, loss] > low[:, loss]
            lowers.append(low[left])
            uppers.append(top[left])
            low = low.copy()
            low[:, loss] = np.maximum(low[:, loss], point[loss])
        lower, upper = np.concatenate(lowers), np.concatenate(uppers)
    return lower, upper

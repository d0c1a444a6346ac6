"""Which safe candidate to run: the most promising one, or one at the border of the safe set (section 6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optimizers.onlinetune.safety import Bounds

# The authors' values: when the most promising candidate is safe it is taken outright with this probability; border
# points are explored while their doubt is so many times that of the safe choice, the less the longer it goes on.
_OUTRIGHT = 0.6
_RATIOS, _PATIENCE = (6.0, 1.5), 100.0


@dataclass(frozen=True)
class Pick:
    """A candidate.

    Attributes:
        row: of the candidates.
    """

    row: int
    kind: Literal["safe", "expander"]


def promising(bounds: Bounds, weight: float) -> NDArray[np.float64]:
    """(n,) how much candidates promise: the mean and `weight` deviations more."""
    return bounds.mean + weight * bounds.deviation


def pick(
    bounds: Bounds,
    x: NDArray[np.float64],
    centre: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    weight: float,
    number: int,
    may_expand: bool,
    rng: np.random.Generator,
) -> Pick | None:
    """The candidate to run, or None where none is safe.

    Args:
        x: (n, d) candidates.
        centre: (d,) of the subspace.
        allowed: (n,) that no rule forbids and that have not been tried here.
        number: of the interval: patience with border points wears off.
        may_expand: the last choice was no border point.
    """
    safe = np.flatnonzero(bounds.safe & allowed)
    if not len(safe):
        return None
    score = promising(bounds, weight)
    best_safe = int(safe[np.argmax(score[safe])])
    open_ = np.flatnonzero(allowed)
    best = int(open_[np.argmax(score[open_])])
    if bounds.safe[best] and rng.random() < _OUTRIGHT:
        return Pick(best, "safe")
    border = _border(bounds, x, centre, x[best], safe)
    ratio = _RATIOS[1] + (_RATIOS[0] - _RATIOS[1]) * float(np.exp(-number / _PATIENCE))
    if may_expand and border != best_safe and bounds.deviation[border] > ratio * bounds.deviation[best_safe]:
        return Pick(border, "expander")
    return Pick(best_safe, "safe")


def _border(
    bounds: Bounds,
    x: NDArray[np.float64],
    centre: NDArray[np.float64],
    goal: NDArray[np.float64],
    safe: NDArray[np.int64],
) -> int:
    """The safe candidate that lies furthest on the way from the centre to a goal.

    Candidates off the way count less the further they are from it: on a line it is exactly the last safe point.
    """
    way = goal - centre
    length = float(way @ way)
    if length <= 0:
        return int(safe[np.argmax(bounds.deviation[safe])])
    offsets = x[safe] - centre
    along = offsets @ way / length
    aside = np.linalg.norm(offsets - along[:, None] * way, axis=1) / np.sqrt(length)
    return int(safe[np.argmax(np.minimum(along, 1.0) - aside)])

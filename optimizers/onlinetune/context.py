"""Contexts as models see them: standardised by what has been seen so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A feature that has hardly moved yet is not stretched until its noise looks like a change, and every interval like a
# load of its own. Features are shares, logarithms or embeddings: so much counts as one deviation at least.
_STILL = 0.1
# By how much a session grows from one scale to the next, and how many intervals have to be seen for the first.
GROWTH, FIRST = 1.2, 6


@dataclass(frozen=True)
class Scale:
    """Means and deviations of features.

    Attributes:
        mean, deviation: (q,).
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, contexts: NDArray[np.float64]) -> Scale:
        """Of (n, q) contexts, n >= 1."""
        return cls(contexts.mean(axis=0), np.maximum(contexts.std(axis=0), _STILL))

    def __call__(self, contexts: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., q) standardised."""
        return (contexts - self.mean) / self.deviation


def milestone(count: int) -> int:
    """The largest of FIRST, FIRST * GROWTH, ... (rounded up) that is at most `count`; 0 while there is none.

    What is learnt anew at milestones follows from the intervals before them alone, whenever it is asked for: a
    session that replays its journal needs the last one only.
    """
    last, following = 0, FIRST
    while following <= count:
        last, following = following, int(np.ceil(following * GROWTH))
    return last


def principal(contexts: NDArray[np.float64], dimensions: int = 3) -> NDArray[np.float64]:
    """(n, <= dimensions) principal components of (n, q) contexts, with signs that do not depend on the library."""
    _, _, axes = np.linalg.svd(contexts - contexts.mean(axis=0), full_matrices=False)
    axes = axes[:dimensions]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    return np.asarray((contexts - contexts.mean(axis=0)) @ axes.T)

"""The node2vec rule: how likely a neighbour is to be next, given the vertex before (Grover and Leskovec 2016).

From `current`, having come from `previous`, neighbour x weighs 1/p if x is `previous`, 1 if it is a neighbour of
`previous`, else 1/q; times the edge's weight in weighted graphs. A neighbour is drawn by edge weight alone and accepted
with its weight over a bound, so membership has to be looked up only when the random number falls between the outcomes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.walks.errors import GraphError

MAX_LENGTH = 2**16 - 2
MAX_WALKS = 2**48 - 1
RANGE = (1e-3, 1e3)
_FULL = 2.0**32


@dataclass(frozen=True)
class Rule:
    """What decides walks.

    Attributes:
        p, q: return and in-out parameters, 0.001 to 1000.
        length: steps of a walk, unless it meets a vertex without neighbours.
        seed: of all randomness.
        decay: probability to take each step at all; below 1 for PageRank.
    """

    p: float = 1.0
    q: float = 1.0
    length: int = 80
    seed: int = 0
    decay: float = 1.0

    def __post_init__(self) -> None:
        for name in ("p", "q"):
            value = getattr(self, name)
            if not (math.isfinite(value) and RANGE[0] <= value <= RANGE[1]):
                raise GraphError(f"{name}: {value!r} must be from {RANGE[0]:g} to {RANGE[1]:g}")
        if not 1 <= self.length <= MAX_LENGTH:
            raise GraphError(f"length: {self.length!r} must be a whole number from 1 to {MAX_LENGTH}")
        if not 0 <= self.seed < 2**63:
            raise GraphError(f"seed: {self.seed!r} must be from 0 to 2**63 - 1")
        if not 0 < self.decay <= 1:
            raise GraphError(f"decay: {self.decay!r} must be above 0 and at most 1")

    @property
    def first_order(self) -> bool:
        """Whether the vertex before does not matter (DeepWalk)."""
        return self.p == self.q == 1

    def acceptance(self, weighted: bool) -> Acceptance:
        """How a drawn neighbour is accepted.

        Where going back weighs most, only the edge back would need the high bound. It is bounded by the rest, and what
        it has above that is an area of its own behind the list, drawn like one more (fractional) neighbour. In weighted
        graphs that area would need the edge's weight, and the bound is the largest of the three.
        """
        most = max(1.0, 1 / self.q, 1 / self.p if weighted else 0.0)
        shares = (min(1.0, 1 / self.p / most), 1 / most, 1 / self.q / most, self.decay)
        thresholds = np.array([max(1, round(share * _FULL)) for share in shares], np.uint64)
        return Acceptance(thresholds, max(0.0, 1 / self.p / most - 1))


@dataclass(frozen=True)
class Acceptance:
    """The rule as the kernels want it.

    Attributes:
        thresholds: (4,) out of 2**32: acceptance of a return, a common neighbour, any other, and the decay.
        extra: the area behind the list that leads back, in neighbours.
    """

    thresholds: NDArray[np.uint64]
    extra: float

    def free(self, directed: bool) -> np.uint64:
        """Numbers below this accept whatever neighbour is drawn first, without a look at the list of the vertex before.

        Where edges have a direction, a draw from the area behind the list may fail, so that none is sure.
        """
        return np.uint64(0) if directed and self.extra > 0 else np.uint64(self.thresholds[:3].min())

"""What may be tried: confidence bounds, the safe set, and how cautious experience has made the session."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizers.onlinetune.process import Posterior


def confidence_width(information: float, norm: float, delta: float) -> float:
    """beta = sqrt(2 ln(1 / delta) + log det(K + N) - log det N) + norm (section 6.1; Chowdhury and Gopalan, 2017).

    Args:
        information: log det(K + N) - log det N, for the covariance K of the intervals and N of their noise.
        norm: of the function in the kernel's space.
        delta: probability with which the bound may fail, over all points and intervals together.
    """
    return math.sqrt(2.0 * math.log(1.0 / delta) + information) + norm


@dataclass(frozen=True)
class Bounds:
    """Candidates under a width.

    Attributes:
        mean, deviation: (n,) of the improvement, as logarithms.
        width: deviations between mean and bound.
        safe: (n,) bool.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    width: float
    safe: NDArray[np.bool_]

    @property
    def lower(self) -> NDArray[np.float64]:
        return self.mean - self.width * self.deviation

    @property
    def upper(self) -> NDArray[np.float64]:
        return self.mean + self.width * self.deviation


def bounds(
    posterior: Posterior, x: NDArray[np.float64], allowed: NDArray[np.bool_], trusted: float, least: float, delta: float
) -> Bounds:
    """The safe ones among candidates: allowed, and no worse than `least` at the pessimistic end.

    The theoretical width holds over all points and intervals together, and is far too wide to learn anything with tens
    of knobs (the authors shrink it step by step, too). `trusted` takes its place where it is smaller: the width that
    experience in this session bears out.

    Args:
        x: (n, d) points.
        allowed: (n,) that no rule forbids.
        least: logarithm of the smallest allowed performance, relative to the reference.
    """
    mean, deviation = posterior.improvement(x)
    width = min(trusted, confidence_width(posterior.information, posterior.norm, delta))
    return Bounds(mean, deviation, width, allowed & (mean - width * deviation >= least))


class Caution:
    """The width that a session trusts: it grows with every unsafe interval and wears off slowly.

    Where the model is right about its own doubt it settles at `least`; where the server has cliffs that no smooth model
    foresees it stays high.
    """

    def __init__(self, start: float, least: float, most: float) -> None:
        self.width = start
        self._least, self._most = least, most

    def learn(self, unsafe: bool) -> None:
        """An interval off the reference ended."""
        self.width = min(self._most, self.width * 1.3) if unsafe else max(self._least, self.width * 0.985)

"""What trials cost: seconds of a whole one by configuration, and what it takes to start a leg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from optimizers.evidence import Evidence
from optimizers.protocol import Problem
from optimizers.surrogates.growing import GrowingForest, single
from tunewright.space import Config
from tunewright.study import Objective

_METRIC = "log_seconds"
# Measurements from which there is a model.
_MODEL_FROM = 4
# Shorter times are a matter of the clock.
_LEAST = 1e-3
# Legs from which there is a line.
_LEGS_FROM = 6
# More says no more: legs of any length then cost the same.
_MOST_OVERHEAD = 100.0


class Costs:
    """A forest of the logarithm of seconds: costs differ by factors.

    Args:
        seed, trees: see `GrowingForest`.
    """

    def __init__(self, problem: Problem, seed: Sequence[int], trees: int) -> None:
        self._evidence = Evidence(replace(problem, objectives=[Objective(metric=_METRIC)]))
        self._forest = GrowingForest(seed, trees)

    def add(self, config: Config, seconds: float) -> None:
        """A whole trial took so long."""
        self._evidence.add(config, {_METRIC: float(np.log(max(seconds, _LEAST)))})

    @property
    def known(self) -> bool:
        """Whether enough was measured for a model."""
        return len(self._evidence) >= _MODEL_FROM

    def log_seconds(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) expected logarithms of seconds at (n, d) points of the unit cube, once they are `known`."""
        points = single(self._evidence.points)
        nothing = points[:0], self._evidence.losses[:0]
        found = self._forest.grown(points, self._evidence.losses, *nothing)(single(x))
        return np.asarray(found.mean(axis=0)[:, 0])


class LegCosts:
    """What it takes to start a leg, beside what it trains: a line through the seconds of legs by their length.

    seconds = start + slope * length, by least squares of the relative error, both at least 0. A worker has to be found,
    a program loaded, a state fetched and data read before anything is trained.
    """

    def __init__(self) -> None:
        # Sums over legs of 1, length and length^2 by seconds^2, and of 1 and length by seconds.
        self._sums = np.zeros(5)
        self._legs = 0

    def add(self, length: float, seconds: float) -> None:
        """A leg trained so much resource in so many seconds, its start included."""
        share = 1.0 / max(seconds, _LEAST)
        self._sums += share * np.array([share, length * share, length * length * share, 1.0, length])
        self._legs += 1

    def overhead(self, whole: float) -> float:
        """What a start costs, in trainings of `whole` resource; 0 while nothing is known, `_MOST_OVERHEAD` at most."""
        a, b, c, d, e = self._sums
        spread = a * c - b * b
        if self._legs < _LEGS_FROM or spread <= 1e-9 * a * c:
            return 0.0
        start, slope = (d * c - e * b) / spread, (e * a - d * b) / spread
        unexplained = max(0.0, self._legs - start * d - slope * e) / (self._legs - 2)
        # Trainings that differ in cost look like a start: only what is certain of it counts.
        start -= float(np.sqrt(unexplained * c / spread))
        if start <= 0:
            return 0.0
        return float(min(start / (slope * whole), _MOST_OVERHEAD)) if slope > 0 else _MOST_OVERHEAD

"""What a whole trial costs: seconds by configuration, learned from those that were measured."""

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

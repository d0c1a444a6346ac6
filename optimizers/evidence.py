"""What was measured, as arrays for models: points, which coordinates count, and results as losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.acquisition import chebyshev
from optimizers.protocol import Problem
from optimizers.surrogates.growing import below, ceiling
from tunewright.space import Config, SearchSpace

# Sums of squares of larger losses overflow.
_LARGEST = 1e150
_ROOM = 64


class Evidence:
    """Results in order of arrival; adding one costs the same however many there are.

    Attributes:
        goals: columns of `losses` that are to be minimised.
        bounds: (column, largest allowed loss) of each constraint.
    """

    def __init__(self, problem: Problem) -> None:
        self._space = problem.space
        self._objectives = problem.objectives
        self.goals = [i for i, o in enumerate(problem.objectives) if o.bound is None]
        self.bounds = [(i, o.sign * o.bound) for i, o in enumerate(problem.objectives) if o.bound is not None]
        self._size = 0
        self._points = np.empty((_ROOM, problem.space.dimension))
        self._active = np.empty((_ROOM, problem.space.dimension), dtype=bool)
        self._losses = np.empty((_ROOM, len(problem.objectives)))
        # Made when first asked for, for so many rows.
        self._capped = self._losses[:0]

    def __len__(self) -> int:
        return self._size

    @property
    def points(self) -> NDArray[np.float64]:
        """(n, d) in the unit cube."""
        return self._points[: self._size]

    @property
    def active(self) -> NDArray[np.bool_]:
        """(n, d) whether the configuration has this parameter."""
        return self._active[: self._size]

    @property
    def losses(self) -> NDArray[np.float64]:
        """(n, objectives) smaller is better; rows of failed trials are nan."""
        return self._losses[: self._size]

    @property
    def capped(self) -> NDArray[np.float64]:
        """(n, objectives) losses cut off at their ceiling, where failures lie too: what models are told of them.

        Not to be written to.
        """
        if len(self._capped) != self._size:
            self._capped = below(self.losses, ceiling(self.losses, dict(self.bounds)))
        return self._capped

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(n,) whether there is no result."""
        return np.isnan(self.losses[:, 0])

    @property
    def measured(self) -> int:
        """Rows that have a result."""
        return self._size - int(self.failed.sum())

    @property
    def violations(self) -> NDArray[np.float64]:
        """(n,) sum of how far constraints are missed; nan where the trial failed."""
        missed = np.zeros(self._size)
        for column, bound in self.bounds:
            missed += np.maximum(self.losses[:, column] - bound, 0.0)
        return np.where(self.failed, np.nan, missed)

    def add(self, config: Config, metrics: Mapping[str, float] | None) -> None:
        """A trial's result came in; None if it failed."""
        if self._size == len(self._points):
            self._points, self._active, self._losses = (
                np.concatenate([array, np.empty_like(array)]) for array in (self._points, self._active, self._losses)
            )
        self._points[self._size], self._active[self._size] = encode_active(self._space, config)
        if metrics is None:
            self._losses[self._size] = np.nan
        else:
            values = [objective.sign * metrics[objective.metric] for objective in self._objectives]
            self._losses[self._size] = np.clip(values, -_LARGEST, _LARGEST)
        self._size += 1

    def ranked(
        self, rng: np.random.Generator, rows: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Rows from best to worst: by violation, then loss, failed ones last; among equals the older first.

        Args:
            rows: (n,) ascending; None for all.
        Returns:
            (n,) the rows in their order, and the weights of several losses for `why`.
        """
        rows = np.arange(self._size) if rows is None else rows
        # Of a few rows by themselves, one that diverged would be the scale.
        loss, weights = self.scalar(self.losses, rng)
        return rows[np.lexsort((loss[rows], self.violations[rows]))], weights

    def scalar(
        self, losses: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """(n,) one loss from rows of `losses`; of several, a sum whose weights are drawn anew each time.

        Several are cut off at their ceiling first: one that diverged would be the scale of all.
        """
        if len(self.goals) == 1:
            return losses[:, self.goals[0]], {}
        weights = rng.dirichlet(np.ones(len(self.goals)))
        names = [self._objectives[i].metric for i in self.goals]
        shown = {name: figure(weight) for name, weight in zip(names, weights, strict=True)}
        known = ~np.isnan(losses[:, 0])
        combined = np.full(len(losses), np.nan)
        if known.any():
            goals = losses[known][:, self.goals]
            combined[known] = chebyshev(below(goals, ceiling(goals)), weights)
        return combined, {"weights": shown}


def encode_active(space: SearchSpace, config: Config) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(d,) point of a configuration, and (d,) which of its parameters are active."""
    return space.encode(config), np.array([name in config for name in space.names])


def figure(value: float) -> float:
    """Four digits: enough for people, and the same in every journal; numbers that JSON lacks are 0."""
    return float(f"{value:.4g}") if np.isfinite(value) else 0.0

"""What is believed of every objective, given whole trials and those that still run: forests or Gaussian processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from optimizers.acquisition import chebyshev
from optimizers.evidence import Evidence
from optimizers.surrogates.growing import GrowingForest, below, ceiling, single

if TYPE_CHECKING:
    from optimizers.surrogates.gp import GaussianProcess, GrowingProcess


@dataclass(frozen=True)
class Columns:
    """How losses become the columns that are modelled: what is to be minimised, then what is bounded.

    Attributes:
        goals, bounded: columns of the losses.
        weights: (goals,) with which goals become one column; None: each is a column of its own.
        low, high: (goals,) losses at which the weighted ones are 0 and 1: the least and the ceiling.
    """

    goals: Sequence[int]
    bounded: Sequence[int]
    weights: NDArray[np.float64] | None
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, evidence: Evidence, weights: NDArray[np.float64] | None) -> Columns:
        """Scaled by all results."""
        losses = evidence.capped[:, evidence.goals]
        bounded = [column for column, _ in evidence.bounds]
        return cls(evidence.goals, bounded, weights, losses.min(axis=0), losses.max(axis=0))

    def __call__(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., objectives) losses as (..., columns)."""
        goals = losses[..., self.goals]
        if self.weights is not None:
            flat = chebyshev(goals.reshape(-1, len(self.goals)), self.weights, bounds=(self.low, self.high))
            goals = flat.reshape(*losses.shape[:-1], 1)
        return np.concatenate([goals, losses[..., self.bounded]], axis=-1)


class Belief(Protocol):
    """One state of belief."""

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n, d) points -> (n, columns) means and variances, without measurement noise."""


class Beliefs(Protocol):
    """A model of all objectives that keeps up with the evidence.

    What may be relied on: a belief follows from the evidence in its order, what is pending, the columns and the
    generator's state, whatever was believed before.
    """

    def given(
        self, evidence: Evidence, pending: NDArray[np.float64], columns: Columns, rng: np.random.Generator
    ) -> Belief:
        """What the evidence says, of which two results at least are no failures.

        Args:
            pending: (p, d) points that still run. They are taken for the median result: a lie that takes the appeal
                from their neighbourhood, so that parallel trials spread out.
        """


@dataclass(frozen=True)
class _Trees:
    forest: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    columns: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = self.columns(self.forest(single(x)))
        mean = values.mean(axis=0)
        return mean, np.square(values - mean).mean(axis=0)


class ForestBeliefs:
    """One forest for all objectives; failures are as bad as its ceiling.

    Args:
        bounds: column of the losses -> largest allowed, of constraints.
    """

    def __init__(self, seed: Sequence[int], trees: int, bounds: Mapping[int, float]) -> None:
        self._forest = GrowingForest(seed, trees, bounds)

    def given(
        self, evidence: Evidence, pending: NDArray[np.float64], columns: Columns, rng: np.random.Generator
    ) -> Belief:
        """See `Beliefs.given`."""
        guesses = np.tile(np.median(evidence.losses[~evidence.failed], axis=0), (len(pending), 1))
        points = single(evidence.points)
        return _Trees(self._forest.grown(points, evidence.losses, single(pending), guesses), columns)


class Processes:
    """A belief of one Gaussian process for each column."""

    def __init__(self, models: Sequence[GaussianProcess]) -> None:
        self.models = models

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Belief.predict`."""
        means, variances = zip(*(model.predict(x) for model in self.models), strict=True)
        return np.stack(means, axis=-1), np.stack(variances, axis=-1)


class ProcessBeliefs:
    """One Gaussian process for each column; failures, and what is worse still, are as bad as the results' ceiling.

    Args:
        bounds: column of the losses -> largest allowed, of constraints.
    """

    def __init__(self, seed: Sequence[int], categories: Mapping[int, int], bounds: Mapping[int, float]) -> None:
        self._seed = list(seed)
        self._categories = categories
        self._bounds = bounds
        self._processes: list[GrowingProcess] = []

    def given(
        self, evidence: Evidence, pending: NDArray[np.float64], columns: Columns, rng: np.random.Generator
    ) -> Processes:
        """See `Beliefs.given`."""
        from optimizers.surrogates.gp import GrowingProcess

        # A diverged training would stretch a process' scale until all else looks the same.
        known = evidence.capped
        guesses = np.tile(np.median(known[~evidence.failed], axis=0), (len(pending), 1))
        x, y = np.concatenate([evidence.points, pending]), columns(np.concatenate([known, guesses]))
        while len(self._processes) < y.shape[1]:
            self._processes.append(GrowingProcess([*self._seed, len(self._processes)], self._categories))
        models = []
        for column, process in enumerate(self._processes):
            first = partial(_first, evidence=evidence, columns=columns, column=column, bounds=self._bounds)
            model = process.grown(evidence.measured, first)
            model.condition(x, y[:, column], rng)
            models.append(model)
        return Processes(models)


def _first(
    count: int, evidence: Evidence, columns: Columns, column: int, bounds: Mapping[int, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and outcomes of the first so many results; goals that become one column weigh the same."""
    rows = np.flatnonzero(~evidence.failed)[:count]
    losses = below(evidence.losses[rows], ceiling(evidence.losses[rows], bounds))
    goals = losses[:, columns.goals]
    weights = None if columns.weights is None else np.full(len(columns.goals), 1 / len(columns.goals))
    equal = replace(columns, weights=weights, low=goals.min(axis=0), high=goals.max(axis=0))
    return evidence.points[rows], equal(losses)[:, column]

"""What is known on each rung, how much of it holds at the full resource, and what it predicts together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from optimizers import surrogates
from optimizers.acquisition import chebyshev
from optimizers.allocation import (
    FULL_FROM,
    growing_share,
    ordered_share,
    theta_p_norm,
    theta_probability,
    with_full_share,
)
from optimizers.evidence import Evidence
from optimizers.protocol import Problem
from optimizers.surrogates import SurrogateName
from optimizers.surrogates.ensemble import Fusion, fuse
from optimizers.surrogates.growing import GrowingForest, below, ceiling, deviation, single
from tunewright.space import Config

if TYPE_CHECKING:
    from optimizers.surrogates.gp import GaussianProcess, GrowingProcess

ThetaName: TypeAlias = Literal["rank_loss_p_norm", "rank_loss_prob"]
# (n, d) points -> (n, columns) means and variances.
Predict: TypeAlias = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]

# Results from which a rung has a surrogate, and from which its ranks measure the surrogates of others.
MODEL_FROM, REFERENCE_FROM = 4, 8
# Results compared for theta: pairs grow with the square.
_COMPARED = 100
# Results that a rung's process sees; its cost is their cube.
_PROCESS_POINTS = 200
_LEAST_WEIGHT = 0.02
# Streams of randomness, apart from each other and from the optimizer's.
_FOREST, _THETA, _GP = 101, 102, 103


@dataclass(frozen=True)
class Theta:
    """How well each rung's surrogate ranks configurations at the highest rung that has results to compare.

    Attributes:
        values: (K,) precisions with sum 1; 0 for rungs without a surrogate.
        reference: the rung against which they were measured; the highest once it has results enough.
        results: results there; 0 while nothing was compared.
        shares: (K,) pairs in their order, as shares; nan for rungs that were not compared.
    """

    values: NDArray[np.float64]
    reference: int
    results: int
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Of one rung's results: how they become columns that can be compared between rungs.

    Attributes:
        top, median: (objectives,) of its losses: the ceiling and the middle.
        low, high: (goals,) their range, for the weighing of several.
        spread: (constraints,) deviations.
        mean, deviation: of the loss.
    """

    top: NDArray[np.float64]
    median: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]
    mean: float
    deviation: float


class RungModels:
    """Evidence and surrogates of all rungs.

    A surrogate predicts columns: first the loss, in deviations of its rung's results, then for each constraint how
    far it is missed, in deviations too; at most 0 keeps it. Of several objectives `weights` make the loss.

    What may be relied on: all answers follow from the results in their order and from the seed; models are kept only
    as copies of what would be computed again.

    Attributes:
        surrogate: kind of the models.
    """

    def __init__(
        self, problem: Problem, rungs: int, surrogate: SurrogateName, trees: int, theta: ThetaName, fusion: Fusion
    ) -> None:
        self.evidence = [Evidence(problem) for _ in range(rungs)]
        # Results that are no failures, by rung.
        self.measured = [0] * rungs
        self._seed = problem.seed
        self._goals, self._bounds = self.evidence[0].goals, self.evidence[0].bounds
        self.surrogate: SurrogateName = surrogate
        self._categories = surrogates.categorical_columns(problem.space)
        self._forests = [GrowingForest([problem.seed, _FOREST, k], trees, dict(self._bounds)) for k in range(rungs)]
        self._theta_name = theta
        self._fusion: Fusion = fusion
        # By rung and column.
        self._processes: dict[tuple[int, int], GrowingProcess] = {}
        # When theta was last due: the rung it is measured on, results there, and rows of each rung at that time.
        self._due: tuple[int, int, tuple[int, ...]] | None = None
        self._scales: dict[int, tuple[tuple[int, bytes], Scale]] = {}
        self._ranked: dict[int, tuple[tuple[int, bytes], NDArray[np.int64]]] = {}
        self._computed: tuple[tuple[int, int, tuple[int, ...]], Theta] | None = None

    @property
    def reference(self) -> int | None:
        """The highest rung with results enough to compare surrogates by; None while there is none."""
        return max((k for k, n in enumerate(self.measured) if n >= REFERENCE_FROM), default=None)

    @property
    def modelled(self) -> list[int]:
        """Rungs that have a surrogate."""
        return [k for k, n in enumerate(self.measured) if n >= MODEL_FROM]

    @property
    def goals(self) -> int:
        """Objectives that are no constraints."""
        return len(self._goals)

    def add(self, rung: int, config: Config, metrics: Mapping[str, float] | None) -> None:
        """A result of a rung, or None for a failure on the way there."""
        self.evidence[rung].add(config, metrics)
        if metrics is None:
            return
        self.measured[rung] += 1
        if rung == self.reference:
            known = self._due[1] if self._due is not None and self._due[0] == rung else 0
            if self.measured[rung] >= known + max(1, known // 20):
                self._due = (rung, self.measured[rung], tuple(len(evidence) for evidence in self.evidence))

    def deciding(self) -> AbstractContextManager[None]:
        """Around a decision, which asks many models: processes are each asked on one thread, and to see to that takes
        a part of their time."""
        if self.surrogate == "forest" or not self.modelled:
            return nullcontext()
        from optimizers.surrogates.gp import one_thread

        return one_thread()

    def theta(self) -> Theta:
        """Precisions as of the last result that made them due; before the first, every surrogate counts the same."""
        if self._due is None:
            return self._equal()
        if self._computed is None or self._computed[0] != self._due:
            self._computed = (self._due, self._compared(*self._due))
        return self._computed[1]

    def ensemble_weights(self, growing: bool) -> NDArray[np.float64]:
        """(K,) theta; if asked, with a share of the full resource's own surrogate that grows with its results.

        Surrogates that would hardly be heard are left out: asking them takes as long as asking any other.
        """
        theta = self.theta()
        weights = theta.values
        if growing and theta.reference == len(self.evidence) - 1 and theta.results >= FULL_FROM:
            weights = with_full_share(weights, growing_share(theta.results))
        heard = np.where(weights < _LEAST_WEIGHT, 0.0, weights)
        return np.asarray(heard / heard.sum()) if heard.any() else weights

    def ensemble(
        self,
        theta: NDArray[np.float64],
        pending: Sequence[NDArray[np.float64]],
        weights: NDArray[np.float64],
        decision: int,
    ) -> Predict:
        """The surrogates of all rungs as one.

        Args:
            theta: (K,) weights of the rungs.
            pending: for each rung (p, d) points that still run towards it. The median of the rung's results stands in
                for theirs, so that near-copies lose their appeal.
            weights: (goals,) of the objectives.
            decision: number of this decision, for what has to be fitted anew for each.
        """
        rungs = np.flatnonzero(theta).tolist()
        parts = [self._surrogate_of(k, pending[k], weights, decision) for k in rungs]

        def predict(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            found = [part(at) for part in parts]
            means, variances = (np.array(each).reshape(len(rungs), -1) for each in zip(*found, strict=True))
            mean, variance = fuse(self._fusion, means, variances, theta[rungs])
            return mean.reshape(len(at), -1), variance.reshape(len(at), -1)

        return predict

    def scale(self, rung: int, weights: NDArray[np.float64], rows: int | None = None) -> Scale:
        """Of the first so many rows of a rung, of which one at least has a result."""
        rows = len(self.evidence[rung]) if rows is None else rows
        key = (rows, weights.tobytes())
        if self._scales.get(rung, (None,))[0] != key:
            self._scales[rung] = (key, self._scaled(rung, weights, rows))
        return self._scales[rung][1]

    def _scaled(self, rung: int, weights: NDArray[np.float64], rows: int) -> Scale:
        losses = self.evidence[rung].losses[:rows]
        losses = losses[~np.isnan(losses[:, 0])]
        top = ceiling(losses, dict(self._bounds))
        losses = below(losses, top)
        goals = losses[:, self._goals]
        low, high = goals.min(axis=0), goals.max(axis=0)
        loss = self._loss(losses, low, high, weights)
        spread = deviation(losses[:, [column for column, _ in self._bounds]])
        return Scale(top, np.median(losses, axis=0), low, high, spread, float(loss.mean()), float(deviation(loss)))

    def best(self, rung: int, weights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
        """(at most count,) rows of a rung's best results: the least violation first, then the least loss."""
        key = (len(self.evidence[rung]), weights.tobytes())
        if self._ranked.get(rung, (None,))[0] != key:
            evidence, scale = self.evidence[rung], self.scale(rung, weights)
            loss = self._loss(evidence.losses, scale.low, scale.high, weights)
            order = np.lexsort((loss, evidence.violations))[:count]
            self._ranked[rung] = (key, order[~evidence.failed[order]])
        return self._ranked[rung][1]

    def columns(self, losses: NDArray[np.float64], scale: Scale, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., objectives) losses as (..., columns)."""
        loss = (self._loss(losses, scale.low, scale.high, weights) - scale.mean) / scale.deviation
        missed = [
            (losses[..., column] - bound) / spread
            for (column, bound), spread in zip(self._bounds, scale.spread, strict=True)
        ]
        return np.stack([loss, *missed], axis=-1)

    def _loss(
        self,
        losses: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        if len(self._goals) == 1:
            return losses[..., self._goals[0]]
        goals = losses[..., self._goals]
        return chebyshev(goals.reshape(-1, len(self._goals)), weights, bounds=(low, high)).reshape(losses.shape[:-1])

    def _surrogate_of(
        self, k: int, guessed: NDArray[np.float64], weights: NDArray[np.float64], decision: int
    ) -> Predict:
        x, y = self.evidence[k].points, self.evidence[k].losses
        scale = self.scale(k, weights)
        guesses = np.tile(scale.median, (len(guessed), 1))
        if self.surrogate == "gp":
            columns = self.columns(below(np.concatenate([y, guesses]), scale.top), scale, weights)
            rng = np.random.default_rng([self._seed, _GP, k, decision])
            return _together(self._processes_of(k, len(x), np.concatenate([x, guessed]), columns, rng))
        forest = self._forests[k].grown(single(x), y, single(guessed), guesses)

        def predict(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            columns = self.columns(forest(single(at)), scale, weights)
            mean = columns.mean(axis=0)
            return mean, np.square(columns - mean).mean(axis=0)

        return predict

    def _processes_of(
        self, k: int, rows: int, x: NDArray[np.float64], columns: NDArray[np.float64], rng: np.random.Generator
    ) -> list[GaussianProcess]:
        """A Gaussian process for each column of what is believed, fitted to the first so many rows of a rung."""
        measured = int(np.sum(~self.evidence[k].failed[:rows]))
        models = []
        for column, outcomes in enumerate(columns.T):
            if (k, column) not in self._processes:
                from optimizers.surrogates.gp import GrowingProcess

                seed = [self._seed, _GP, k, column]
                self._processes[k, column] = GrowingProcess(seed, self._categories, _PROCESS_POINTS)
            model = self._processes[k, column].grown(measured, partial(self._first, k, column=column))
            model.condition(x, outcomes, rng)
            models.append(model)
        return models

    def _first(self, k: int, count: int, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points and outcomes of a rung's first results; several losses weigh the same."""
        evidence, weights = self.evidence[k], np.full(self.goals, 1.0 / self.goals)
        rows = np.flatnonzero(~evidence.failed)[:count]
        scale = self._scaled(k, weights, int(rows[-1]) + 1)
        return evidence.points[rows], self.columns(below(evidence.losses[rows], scale.top), scale, weights)[:, column]

    def _equal(self) -> Theta:
        values = np.zeros(len(self.evidence))
        values[self.modelled] = 1.0 / max(1, len(self.modelled))
        return Theta(values, max(self.modelled, default=0), 0, np.full(len(values), np.nan))

    def _compared(self, reference: int, results: int, rows: Sequence[int]) -> Theta:
        """Precisions from the results of the reference rung; its own surrogate is asked about what it has not seen."""
        evidence = self.evidence[reference]
        weights = np.full(self.goals, 1.0 / self.goals)
        compared = np.flatnonzero(~evidence.failed[: rows[reference]])[-_COMPARED:]
        scale = self.scale(reference, weights, rows[reference])
        measured = self.columns(below(evidence.losses[compared], scale.top), scale, weights)[:, 0]
        at = evidence.points[compared]
        rungs, found = [], []
        for k in range(reference):
            if np.sum(~self.evidence[k].failed[: rows[k]]) >= MODEL_FROM:
                rungs.append(k)
                found.append(self._ranking(k, rows[k], at, weights))
        if results >= FULL_FROM or not rungs:
            rungs.append(reference)
            found.append(self._held_out(reference, rows[reference], compared, weights))
        means, variances = (np.array(part) for part in zip(*found, strict=True))
        known = ~np.isnan(means).any(axis=0)
        means, variances, measured = means[:, known], variances[:, known], measured[known]
        shares, values = np.full(len(self.evidence), np.nan), np.zeros(len(self.evidence))
        shares[rungs] = ordered_share(means, measured)
        if self._theta_name == "rank_loss_p_norm":
            values[rungs] = theta_p_norm(shares[rungs])
        else:
            rng = np.random.default_rng([self._seed, _THETA, reference, results])
            values[rungs] = theta_probability(means, variances, measured, rng)
        return Theta(values, reference, results, shares)

    def _ranking(
        self, k: int, rows: int, at: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) mean and variance of the loss that a lower rung's surrogate expects, without guesses."""
        x, y = self.evidence[k].points[:rows], self.evidence[k].losses[:rows]
        scale = self.scale(k, weights, rows)
        if self.surrogate == "forest":
            columns = self.columns(self._forests[k].each(single(x), y, single(at)), scale, weights)[..., 0]
            return columns.mean(axis=0), columns.var(axis=0)
        columns = self.columns(below(y, scale.top), scale, weights)[:, :1]
        rng = np.random.default_rng([self._seed, _THETA, k, rows])
        return self._processes_of(k, rows, x, columns, rng)[0].predict(at)

    def _held_out(
        self, k: int, rows: int, asked: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) of its own rows: by trees not fitted on them (nan where there is none), or left out one at a time."""
        x, y = self.evidence[k].points[:rows], self.evidence[k].losses[:rows]
        scale = self.scale(k, weights, rows)
        if self.surrogate == "forest":
            columns = self.columns(self._forests[k].out_of_bag(single(x), y)[:, asked], scale, weights)[..., 0]
            trees = np.sum(~np.isnan(columns), axis=0)
            mean = np.where(trees > 0, np.nansum(columns, axis=0) / np.maximum(trees, 1), np.nan)
            return mean, np.nansum(np.square(columns - mean), axis=0) / np.maximum(trees, 1)
        columns = self.columns(below(y[asked], scale.top), scale, weights)[:, :1]
        # The last of many, and no more than a process takes whole: their order is kept.
        rng = np.random.default_rng([self._seed, _THETA, k, rows])
        return self._processes_of(k, rows, x[asked], columns, rng)[0].left_out()


def _together(models: Sequence[GaussianProcess]) -> Predict:
    """Processes of single columns as one prediction of all."""

    def predict(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        means, variances = zip(*(model.predict(at) for model in models), strict=True)
        return np.stack(means, axis=-1), np.stack(variances, axis=-1)

    return predict

"""Bayesian optimisation: a surrogate of the objectives, and the candidate that promises most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from optimizers import surrogates
from optimizers.acquisition import log_expected_improvement, log_hypervolume_improvement, log_probability_below
from optimizers.beliefs import Belief, Beliefs, Columns, ForestBeliefs, ProcessBeliefs, Processes
from optimizers.candidates import around, candidates, canonical, fresh
from optimizers.costs import Costs
from optimizers.curves import Curves
from optimizers.evidence import figure
from optimizers.pareto import Front, free_boxes
from optimizers.protocol import Job, JobEnd, Problem, Report, Trial, Verdict
from optimizers.rankings import crowding
from optimizers.surrogates import CHOICE, SurrogateChoice
from optimizers.surrogates.fantasies import log_fantasy_improvement
from optimizers.whole_trials import Choice, WholeTrials, WholeTrialsSettings
from tunewright.space import Config, config_key

# Best configurations around which candidates are placed, and best candidates around which more are.
_CENTRES = 10
# More objectives leave too many boxes; of two, these are points of the front times four.
_MOST_EXACT, _MOST_BOXED = 4, 160
# Streams of randomness, apart from those of `WholeTrials`.
_MODEL, _COST = 101, 102
# (n, d) points, (n, columns) means and variances -> (n,) logarithms of what is to be gained.
Gain: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


class BayesSettings(WholeTrialsSettings):
    """Settings of Bayesian optimisation."""

    surrogate: SurrogateChoice = Field(default="auto", description=CHOICE)
    trees: int = Field(default=20, ge=2, le=100, description="Trees of the forest.")
    candidates: int = Field(default=1000, ge=10, le=100_000, description="Candidates scored for each trial.")
    random_share: float = Field(default=0.1, ge=0, le=1, description="Share of trials drawn at random, as insurance.")
    xi: float = Field(default=0.0, ge=0, le=10, description="Improvement asked for, in deviations of the results.")
    several: Literal["ehvi", "parego"] = Field(
        default="ehvi",
        description="Several objectives: by what a trial adds to the volume that the front dominates (up to four, and"
        " without fantasies), or by a sum whose weights are drawn anew for each trial.",
    )
    pending: Literal["median", "fantasies"] = Field(
        default="median",
        description="What running trials are taken for: the median result, or samples of the model (processes only).",
    )
    fantasies: int = Field(default=16, ge=1, le=256, description="Samples of the running trials' results.")
    cost_aware: bool = Field(
        default=False, description="Improvement per second of training, where the seconds of trials are measured."
    )
    early_stop: bool = Field(
        default=False,
        description="End a trial that would not beat the best one even if it improved as much as any other did"
        " (one objective).",
    )

    @model_validator(mode="after")
    def _fantasies_need_a_joint_model(self) -> BayesSettings:
        if self.pending == "fantasies" and self.surrogate == "forest":
            raise ValueError('pending: "fantasies" needs surrogate: "gp"; a forest has no joint distribution')
        return self


class BayesianOptimization(WholeTrials):
    """Learns a model of how the objectives depend on the parameters, and trains whole the configuration whose
    expected improvement is largest. Strong when trials are expensive and few, and early results tell little.
    Failed trials count as bad, several objectives by the volume that their front dominates, and constraints by the
    probability that they hold.
    """

    name: ClassVar[str] = "bayes"
    settings_model: ClassVar[type[BayesSettings]] = BayesSettings

    def __init__(self, problem: Problem, settings: BayesSettings | None = None) -> None:
        self._own = settings or BayesSettings()
        super().__init__(problem, self._own)
        seed = [problem.seed, _MODEL]
        asked = "gp" if self._own.pending == "fantasies" else self._own.surrogate
        self._beliefs: Beliefs = (
            ForestBeliefs(seed, self._own.trees, dict(self._evidence.bounds))
            if surrogates.chosen(asked, problem.objectives) == "forest"
            else ProcessBeliefs(seed, surrogates.categorical_columns(problem.space), dict(self._evidence.bounds))
        )
        self._costs = Costs(problem, [problem.seed, _COST], self._own.trees)
        self._curves = Curves()
        # What trials that were asked to stop would have come to.
        self._given_up: dict[int, Mapping[str, float]] = {}
        goals = self._evidence.goals
        exact = self._own.several == "ehvi" and self._own.pending == "median" and len(goals) <= _MOST_EXACT
        self._front = Front() if exact and len(goals) > 1 else None

    def _choose(self, rng: np.random.Generator) -> Choice | None:
        """The candidate that promises most, times the probability that constraints hold."""
        if rng.random() < self._own.random_share:
            return self._draw(rng, "random share")
        several = len(self._evidence.goals) > 1 and self._front is None
        weights = rng.dirichlet(np.ones(len(self._evidence.goals))) if several else None
        columns = Columns.of(self._evidence, weights)
        pending, _ = self._pending()
        lied = pending if self._own.pending == "median" else pending[:0]
        belief = self._beliefs.given(self._evidence, lied, columns, rng)
        feasible = np.flatnonzero(self._evidence.violations == 0)
        # While nothing is feasible, all that counts is to become so.
        gain = self._gain(columns, belief, feasible, pending, rng) if len(feasible) else None
        charged = self._own.cost_aware and self._costs.known

        def score(pool: NDArray[np.float64]) -> NDArray[np.float64]:
            mean, variance = belief.predict(pool)
            parts = np.zeros((3, len(pool)))
            if gain is not None:
                parts[0] = gain(pool, mean, variance)
            for column, (_, bound) in enumerate(reversed(self._evidence.bounds), start=1):
                parts[1] += log_probability_below(mean[:, -column], variance[:, -column], bound)
            if charged:
                parts[2] = -self._costs.log_seconds(pool)
            return parts

        pool, parts = self._search(score, self._centres(columns), rng)
        order = np.argsort(-parts.sum(axis=0), kind="stable")
        for position in fresh(pool[order], np.concatenate([self._evidence.points, pending])):
            place = order[position]
            config = self.problem.space.decode(pool[place])
            if config_key(config) not in self._starts.tried:
                return Choice(
                    config, self._why(parts[:, place], gain is not None, charged, columns, belief, pool[place])
                )
        return self._draw(rng, "no new candidate")

    def _gain(
        self,
        columns: Columns,
        belief: Belief,
        feasible: NDArray[np.int64],
        pending: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> Gain:
        """How candidates are compared with the feasible results; see `Gain`."""
        # One that diverged would be the spread of all, and on the front its whole width.
        capped = self._evidence.capped
        losses = columns(capped[feasible])
        if self._front is not None:
            goals = losses[:, : len(self._evidence.goals)]
            asked = self._own.xi * goals.std(axis=0)
            boxes = open_boxes(capped[self._front.rows][:, self._evidence.goals], goals)
            m = goals.shape[1]
            return lambda _, mean, variance: log_hypervolume_improvement(mean[:, :m] + asked, variance[:, :m], boxes)
        best = float(losses[:, 0].min() - self._own.xi * losses[:, 0].std())
        if self._own.pending == "fantasies" and len(pending):
            assert isinstance(belief, Processes)
            loss, samples = belief.models[0], self._own.fantasies
            return lambda pool, *_: log_fantasy_improvement(loss, pool, pending, best, samples, rng)
        return lambda _, mean, variance: log_expected_improvement(mean[:, 0], variance[:, 0], best)

    def _centres(self, columns: Columns) -> NDArray[np.float64]:
        """(n, d) the best results: of the front the least crowded; while nothing is feasible, what misses least."""
        evidence = self._evidence
        ranked: NDArray[np.int64]
        if self._front is not None and self._front.rows:
            rows = np.array(self._front.rows)
            spread = crowding(evidence.capped[rows][:, evidence.goals])
            ranked = rows[np.argsort(-spread, kind="stable")]
        else:
            ranked = np.lexsort((columns(evidence.capped)[:, 0], evidence.violations))[: evidence.measured]
        return evidence.points[ranked[:_CENTRES]]

    def _search(
        self,
        score: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        centres: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Candidates around the centres and everywhere, and as many around the best of these.

        Returns:
            (n, d) points and (parts, n) parts of their scores.
        """
        space, count = self.problem.space, self._own.candidates // 2
        pool = candidates(space, centres, count, rng)
        parts = score(pool)
        peaks = pool[np.argsort(-parts.sum(axis=0), kind="stable")[:_CENTRES]]
        near = canonical(space, around(space, peaks, count, rng))
        return np.concatenate([near, pool]), np.concatenate([score(near), parts], axis=1)

    def _why(
        self,
        parts: NDArray[np.float64],
        improves: bool,
        charged: bool,
        columns: Columns,
        belief: Belief,
        point: NDArray[np.float64],
    ) -> dict[str, Any]:
        why: dict[str, Any] = {"rule": "probability of feasibility"}
        goals = [objective for objective in self.problem.objectives if objective.bound is None]
        if improves:
            why = {"rule": "expected improvement", "ei": figure(np.exp(parts[0]))}
        if improves and self._front is not None:
            why["rule"] = "expected hypervolume improvement"
        if improves and len(goals) == 1:
            mean, variance = (each[0, 0] for each in belief.predict(point[None]))
            why |= {"mean": figure(goals[0].sign * mean), "deviation": figure(np.sqrt(variance))}
        if self._evidence.bounds:
            why["feasible"] = figure(np.exp(parts[1]))
        if charged:
            why["seconds"] = figure(np.exp(-parts[2]))
        if columns.weights is not None:
            weights = zip(goals, columns.weights, strict=True)
            why["weights"] = {objective.metric: figure(weight) for objective, weight in weights}
        return why

    def _take(self, config: Config, metrics: Mapping[str, float] | None) -> None:
        super()._take(config, metrics)
        row = len(self._evidence) - 1
        if self._front is not None and self._evidence.violations[row] == 0:
            self._front.add(row, self._evidence.losses[row, self._evidence.goals])

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        whole = report.resource == self.problem.fidelity.max
        if whole and report.seconds is not None:
            self._costs.add(trial.config, report.seconds)
        super()._on_report(trial, report)
        if whole and trial.end is JobEnd.COMPLETED:
            self._learn_curve(trial)
        if not self._own.early_stop or whole or trial.running is None or len(self._evidence.goals) > 1:
            return Verdict.CONTINUE
        return self._judge(trial, report)

    def _judge(self, trial: Trial, report: Report) -> Verdict:
        """Whether a running trial can still beat the best whole one."""
        (column,) = self._evidence.goals
        goal = self.problem.objectives[column]
        outlook = self._curves.outlook(report.resource, goal.sign * report.metrics[goal.metric])
        best = self._evidence.losses[self._evidence.violations == 0, column]
        if outlook is None or not len(best) or not outlook.optimistic >= best.min():
            return Verdict.CONTINUE
        self._given_up[trial.id] = {**report.metrics, goal.metric: goal.sign * outlook.expected}
        return Verdict.STOP

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        super()._on_finish(job, trial, end)
        given_up = self._given_up.pop(trial.id, None)
        if end is JobEnd.CANCELLED and given_up is not None:
            self._take(trial.config, given_up)
        elif end is JobEnd.COMPLETED and self.problem.fidelity.max in trial.reports:
            self._learn_curve(trial)

    def _learn_curve(self, trial: Trial) -> None:
        """Of a trial that was trained whole and measured there."""
        goal, full = self.problem.objectives[self._evidence.goals[0]], self.problem.fidelity.max
        curve = {resource: goal.sign * metrics[goal.metric] for resource, metrics in trial.reports.items()}
        self._curves.add(curve, curve[full])


def open_boxes(
    front: NDArray[np.float64], losses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a front leaves to be gained; see `free_boxes`. Of a large front the least crowded points stand for it.

    The reference is half the front's width worse than the worst of the front. The common tenth rewards its ends too
    little: with it, processes reached 0.83 of ZDT1's volume in 60 trials (mean of 10 seeds), with the half 0.97.

    Args:
        front: (k, m) losses, k >= 1.
        losses: (n, m) all feasible ones, whose width stands in for that of a front without any.
    """
    m = front.shape[1]
    worst, width = front.max(axis=0), np.ptp(front, axis=0)
    width = np.where(width > 0, width, np.ptp(losses, axis=0))
    reference = worst + 0.5 * np.where(width > 0, width, 1.0)
    most = _MOST_BOXED >> m
    kept = np.argsort(-crowding(front), kind="stable")[:most]
    return free_boxes(front[kept], reference)

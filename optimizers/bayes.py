"""Bayesian optimisation: a surrogate of the loss, and the candidate that promises most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers import surrogates
from optimizers.acquisition import chebyshev, log_expected_improvement, log_probability_below
from optimizers.candidates import candidates, fresh
from optimizers.initial import Design, Starts
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Settings, Trial, Verdict
from optimizers.surrogates import SurrogateName
from tunewright.space import Config, config_key

# Streams of randomness; one decision uses each at most once.
_START, _CHOICE = 0, 1
# Best configurations around which candidates are placed.
_CENTRES = 10
# Sums of squares of larger losses overflow.
_LARGEST = 1e150


class BayesSettings(Settings):
    """Settings of Bayesian optimisation."""

    surrogate: SurrogateName = Field(default="forest", description="Random forest, or a GP for small studies.")
    initial_trials: int = Field(default=10, ge=1, le=1024, description="Trials of the design, before any model.")
    design: Design = Field(default="sobol", description="Where the first configurations come from.")
    candidates: int = Field(default=2000, ge=10, le=100_000, description="Candidates scored for each trial.")
    random_share: float = Field(default=0.1, ge=0, le=1, description="Share of trials drawn at random, as insurance.")
    xi: float = Field(default=0.0, ge=0, le=10, description="Improvement asked for, in deviations of the results.")


@dataclass(frozen=True)
class _Choice:
    config: Config
    why: dict[str, Any]


class BayesianOptimization(Optimizer):
    """Learns a model of how the objective depends on the parameters, and trains whole the configuration whose
    expected improvement is largest. Strong when trials are expensive and few, and early results tell little.
    Failed trials count as the worst seen, several objectives are weighed anew for each trial, and constraints
    enter as the probability that they hold.
    """

    name: ClassVar[str] = "bayes"
    settings_model: ClassVar[type[Settings]] = BayesSettings

    def __init__(self, problem: Problem, settings: BayesSettings | None = None) -> None:
        super().__init__(problem, settings)
        self._own = settings or BayesSettings()
        self._starts = Starts(problem.space, self._own.design, self._own.initial_trials, problem.seed)
        self._categories = surrogates.categorical_columns(problem.space)
        self._bounds = [(i, o.sign * o.bound) for i, o in enumerate(problem.objectives) if o.bound is not None]
        self._goals = [i for i, o in enumerate(problem.objectives) if o.bound is None]
        self._points: list[NDArray[np.float64]] = []
        # Trial -> its results as losses, in order of arrival; None where it failed.
        self._results: dict[int, NDArray[np.float64] | None] = {}

    def _propose(self) -> Job | None:
        if not self.may_start_trial:
            return None
        choice = self._start() if self._still_blind() else self._choose()
        if choice is None:
            return None
        return self._new_trial(choice.config, self.problem.fidelity.max, why=choice.why)

    def _still_blind(self) -> bool:
        measured = sum(result is not None for result in self._results.values())
        return len(self.trials) < self._own.initial_trials or measured < 2

    def _start(self) -> _Choice | None:
        index = len(self.trials)
        config = self._starts.propose(index, self.rng(_START, len(self.jobs)))
        return None if config is None else _Choice(config, {"rule": "initial design", "number": index})

    def _choose(self) -> _Choice | None:
        """The candidate with the largest expected improvement (times the probability that constraints hold)."""
        rng = self.rng(_CHOICE, len(self.jobs))
        if rng.random() < self._own.random_share:
            return self._draw(rng, "random share")
        x, columns = self._evidence()
        loss, weights = self._scalar_loss(columns, rng)
        feasible = np.all([columns[:, i] <= bound for i, bound in self._bounds], axis=0) & np.ones(len(x), dtype=bool)
        ranked = np.lexsort((loss, ~feasible))
        pool = candidates(self.problem.space, x[ranked[:_CENTRES]], self._own.candidates, rng)

        score = np.zeros(len(pool))
        why: dict[str, NDArray[np.float64]] = {}
        for i, bound in self._bounds:
            mean, variance = self._predict(x, columns[:, i], pool, rng)
            score += log_probability_below(mean, variance, bound)
        if self._bounds:
            why["feasible"] = np.exp(score)
        # While nothing is feasible, all that counts is to become so.
        if feasible.any():
            mean, variance = self._predict(x, loss, pool, rng)
            xi = self._own.xi * float(np.std(loss))
            gain = log_expected_improvement(mean, variance, float(loss[feasible].min()), xi)
            score += gain
            sign = self.problem.objectives[self._goals[0]].sign if len(self._goals) == 1 else 1.0
            why |= {"ei": np.exp(gain), "mean": sign * mean, "deviation": np.sqrt(variance)}

        order = np.argsort(-score, kind="stable")
        for position in fresh(pool[order], np.array(self._points)):
            place = order[position]
            config = self.problem.space.decode(pool[place])
            if config_key(config) not in self._starts.tried:
                rule = "expected improvement" if feasible.any() else "probability of feasibility"
                figures = {name: _figure(values[place]) for name, values in why.items()}
                return _Choice(config, {"rule": rule, **figures, **weights})
        return self._draw(rng, "no new candidate")

    def _draw(self, rng: np.random.Generator, rule: str) -> _Choice | None:
        config = self._starts.draw(rng)
        return None if config is None else _Choice(config, {"rule": rule})

    def _evidence(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points and losses of what ended and what still runs.

        A failed trial has the worst value seen of each loss. A running one has the median: a lie that takes the
        appeal from its neighbourhood, so that parallel trials spread out.

        Returns:
            (n, d) points and (n, objectives) losses.
        """
        measured = np.array([result for result in self._results.values() if result is not None])
        worst, middle = measured.max(axis=0), np.median(measured, axis=0)
        rows = [(trial, worst if result is None else result) for trial, result in self._results.items()]
        rows += [(job.trial, middle) for job in self.running.values() if job.trial not in self._results]
        return np.array([self._points[trial] for trial, _ in rows]), np.array([values for _, values in rows])

    def _scalar_loss(
        self, columns: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """(n,) one loss to model; of several, a sum whose weights are drawn anew for every decision."""
        if len(self._goals) == 1:
            return columns[:, self._goals[0]], {}
        weights = rng.dirichlet(np.ones(len(self._goals)))
        names = [self.problem.objectives[i].metric for i in self._goals]
        shown = {name: _figure(weight) for name, weight in zip(names, weights, strict=True)}
        return chebyshev(columns[:, self._goals], weights), {"weights": shown}

    def _predict(
        self, x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        model = surrogates.create(self._own.surrogate, self._categories)
        model.fit(x, y, rng)
        return model.predict(at)

    def _on_record(self, job: Job) -> None:
        self._starts.record(job.config)
        self._points.append(self.problem.space.encode(job.config))

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        if trial.end is JobEnd.COMPLETED:
            self._measure(trial)
        return Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        if trial.failed:
            self._results[trial.id] = None
        elif end is JobEnd.COMPLETED:
            self._measure(trial)

    def _measure(self, trial: Trial) -> None:
        """Take the whole trial's result into the books, once it is there."""
        metrics = trial.reports.get(self.problem.fidelity.max)
        if metrics is not None and trial.id not in self._results:
            values = np.array([o.sign * metrics[o.metric] for o in self.problem.objectives])
            self._results[trial.id] = np.clip(values, -_LARGEST, _LARGEST)


def _figure(value: float) -> float:
    """Four digits: enough for people, and the same in every journal."""
    return float(f"{value:.4g}") if math.isfinite(value) else 0.0

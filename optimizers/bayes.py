"""Bayesian optimisation: a surrogate of the loss, and the candidate that promises most."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from optimizers import surrogates
from optimizers.acquisition import log_expected_improvement, log_probability_below
from optimizers.candidates import candidates, fresh
from optimizers.evidence import figure
from optimizers.protocol import Problem
from optimizers.surrogates import Surrogate, SurrogateName
from optimizers.surrogates.fantasies import Fantasist, log_fantasy_improvement
from optimizers.whole_trials import Choice, WholeTrials, WholeTrialsSettings
from tunewright.space import config_key

# Best configurations around which candidates are placed.
_CENTRES = 10


class BayesSettings(WholeTrialsSettings):
    """Settings of Bayesian optimisation."""

    surrogate: SurrogateName = Field(default="forest", description="Random forest, or a GP for small studies.")
    candidates: int = Field(default=2000, ge=10, le=100_000, description="Candidates scored for each trial.")
    random_share: float = Field(default=0.1, ge=0, le=1, description="Share of trials drawn at random, as insurance.")
    xi: float = Field(default=0.0, ge=0, le=10, description="Improvement asked for, in deviations of the results.")
    pending: Literal["median", "fantasies"] = Field(
        default="median",
        description="What running trials are taken for: the median result, or samples of the model (GP only).",
    )
    fantasies: int = Field(default=16, ge=1, le=256, description="Samples of the running trials' results.")

    @model_validator(mode="after")
    def _fantasies_need_a_joint_model(self) -> BayesSettings:
        if self.pending == "fantasies" and self.surrogate != "gp":
            raise ValueError('pending: "fantasies" needs surrogate: "gp"; a forest has no joint distribution')
        return self


class BayesianOptimization(WholeTrials):
    """Learns a model of how the objective depends on the parameters, and trains whole the configuration whose
    expected improvement is largest. Strong when trials are expensive and few, and early results tell little.
    Failed trials count as the worst seen, several objectives are weighed anew for each trial, and constraints
    enter as the probability that they hold.
    """

    name: ClassVar[str] = "bayes"
    settings_model: ClassVar[type[BayesSettings]] = BayesSettings

    def __init__(self, problem: Problem, settings: BayesSettings | None = None) -> None:
        self._own = settings or BayesSettings()
        super().__init__(problem, self._own)
        self._categories = surrogates.categorical_columns(problem.space)

    def _choose(self, rng: np.random.Generator) -> Choice | None:
        """The candidate with the largest expected improvement (times the probability that constraints hold)."""
        if rng.random() < self._own.random_share:
            return self._draw(rng, "random share")
        pending, _ = self._pending()
        x, columns = self._believed(pending if self._own.pending == "median" else pending[:0])
        loss, weights = self._evidence.scalar(columns, rng)
        bounds = self._evidence.bounds
        feasible = np.all([columns[:, i] <= bound for i, bound in bounds], axis=0) & np.ones(len(x), dtype=bool)
        ranked = np.lexsort((loss, ~feasible))
        pool = candidates(self.problem.space, x[ranked[:_CENTRES]], self._own.candidates, rng)

        score = np.zeros(len(pool))
        why: dict[str, NDArray[np.float64]] = {}
        for i, bound in bounds:
            score += log_probability_below(*self._fit(x, columns[:, i], rng).predict(pool), bound)
        if bounds:
            why["feasible"] = np.exp(score)
        # While nothing is feasible, all that counts is to become so.
        if feasible.any():
            model = self._fit(x, loss, rng)
            mean, variance = model.predict(pool)
            target = float(loss[feasible].min()) - self._own.xi * float(np.std(loss))
            if self._own.pending == "fantasies" and len(pending):
                assert isinstance(model, Fantasist)
                gain = log_fantasy_improvement(model, pool, pending, target, self._own.fantasies, rng)
            else:
                gain = log_expected_improvement(mean, variance, target)
            score += gain
            goals = self._evidence.goals
            sign = self.problem.objectives[goals[0]].sign if len(goals) == 1 else 1.0
            why |= {"ei": np.exp(gain), "mean": sign * mean, "deviation": np.sqrt(variance)}

        order = np.argsort(-score, kind="stable")
        for position in fresh(pool[order], np.concatenate([self._evidence.points, pending])):
            place = order[position]
            config = self.problem.space.decode(pool[place])
            if config_key(config) not in self._starts.tried:
                rule = "expected improvement" if feasible.any() else "probability of feasibility"
                figures = {name: figure(values[place]) for name, values in why.items()}
                return Choice(config, {"rule": rule, **figures, **weights})
        return self._draw(rng, "no new candidate")

    def _believed(self, pending: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points and losses of what ended and of what is taken for the median.

        A failed trial has the worst value seen of each loss. The median is a lie that takes the appeal from a running
        trial's neighbourhood, so that parallel trials spread out.

        Returns:
            (n, d) points and (n, objectives) losses.
        """
        failed, losses = self._evidence.failed, self._evidence.losses
        measured = losses[~failed]
        known = np.where(failed[:, None], measured.max(axis=0), losses)
        lies = np.broadcast_to(np.median(measured, axis=0), (len(pending), losses.shape[1]))
        return np.concatenate([self._evidence.points, pending]), np.concatenate([known, lies])

    def _fit(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> Surrogate:
        model = surrogates.create(self._own.surrogate, self._categories)
        model.fit(x, y, rng)
        return model

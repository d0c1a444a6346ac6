"""MOBSTER: asynchronous halving with one Gaussian process over configuration and resource (Klein et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers import surrogates
from optimizers.acquisition import log_expected_improvement, log_probability_below
from optimizers.candidates import candidates, fresh
from optimizers.evidence import Evidence, figure
from optimizers.halving import AsynchronousHalving, HalvingSettings
from optimizers.protocol import Earlier, Job, JobEnd, Problem, Trial
from optimizers.surrogates.growing import below, ceiling
from tunewright.space import Config, config_key

if TYPE_CHECKING:
    from optimizers.surrogates.gp import GaussianProcess, GrowingProcess

# Streams of randomness; one decision uses each at most once.
_START, _CHOICE, _FIT = 0, 1, 2
# Best configurations around which candidates are placed.
_CENTRES = 10


class MobsterSettings(HalvingSettings):
    """Settings of MOBSTER."""

    initial_trials: int = Field(default=10, ge=1, le=1024, description="Trials of the design, before any model.")
    candidates: int = Field(default=500, ge=10, le=100_000, description="Candidates scored for each trial.")
    random_share: float = Field(default=0.1, ge=0, le=1, description="Share of trials drawn at random, as insurance.")
    model_points: int = Field(default=200, ge=20, le=1000, description="Results that the model sees, at most.")


class Mobster(AsynchronousHalving):
    """Asynchronous successive halving that learns: one Gaussian process over configurations and resources sees the
    results of all rungs, and a new configuration is the one with the largest expected improvement at the highest
    rung that has enough of them. Also known as A-BOHB. Suits small studies with expensive trials.
    """

    name: ClassVar[str] = "mobster"
    settings_model: ClassVar[type[MobsterSettings]] = MobsterSettings

    def __init__(self, problem: Problem, settings: MobsterSettings | None = None) -> None:
        self._own = settings or MobsterSettings()
        super().__init__(problem, self._own, self._own.initial_trials, "eager")
        self._evidence = Evidence(problem)
        # The rung of each row of the evidence.
        self._rung: list[int] = []
        # Earlier trials of which a rung has a result: they shorten the design.
        self._taught = 0
        levels = np.log([rung.level for rung in self.rungs])
        self._depth = (levels - levels[0]) / max(levels[-1] - levels[0], 1e-12)
        self._categories = surrogates.categorical_columns(problem.space)
        # By column of losses, None being the one to minimise.
        self._processes: dict[int | None, GrowingProcess] = {}
        # Points of the trials that run.
        self._placed: dict[int, NDArray[np.float64]] = {}

    def _start(self) -> Job | None:
        if not self.may_start_trial:
            return None
        config, why = self._choose(self.rng(_CHOICE, len(self.jobs)))
        return self._enter(config, 0, why)

    def _choose(self, rng: np.random.Generator) -> tuple[Config | None, dict[str, Any]]:
        index = len(self.trials)
        few = index + self._taught < self._own.initial_trials or self._evidence.measured < 2
        if few or self._starts.default_waits:
            return self._starts.propose(index, self.rng(_START, len(self.jobs))), {"rule": "new trial", "number": index}
        if rng.random() < self._own.random_share:
            return self._starts.draw(rng), {"rule": "random share"}
        x, columns, rung = self._believed()
        loss, weights = self._evidence.scalar(columns, rng)
        target = self._target_rung(rung)
        at = rung == target
        feasible = np.all([columns[:, i] <= bound for i, bound in self._evidence.bounds], axis=0) & at
        ranked = np.lexsort((loss, ~feasible, ~at))[:_CENTRES]
        pool = candidates(self.problem.space, x[ranked], self._own.candidates, rng)
        deep_pool = self._at(pool, np.full(len(pool), target))

        score = np.zeros(len(pool))
        why: dict[str, NDArray[np.float64]] = {}
        for i, bound in self._evidence.bounds:
            score += log_probability_below(*self._model(i, x, rung, columns[:, i], rng).predict(deep_pool), bound)
        if self._evidence.bounds:
            why["feasible"] = np.exp(score)
        if feasible.any():
            mean, variance = self._model(None, x, rung, loss, rng).predict(deep_pool)
            gain = log_expected_improvement(mean, variance, float(loss[feasible].min()))
            score += gain
            goals = self._evidence.goals
            sign = self.problem.objectives[goals[0]].sign if len(goals) == 1 else 1.0
            why |= {"ei": np.exp(gain), "mean": sign * mean, "deviation": np.sqrt(variance)}

        order = np.argsort(-score, kind="stable")
        for position in fresh(pool[order], x):
            place = order[position]
            config = self.problem.space.decode(pool[place])
            if config_key(config) not in self._starts.tried:
                rule = "expected improvement" if feasible.any() else "probability of feasibility"
                figures = {name: figure(values[place]) for name, values in why.items()}
                return config, {"rule": rule, "model_rung": target, **figures, **weights}
        return self._starts.draw(rng), {"rule": "no new candidate"}

    def _believed(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Points, losses and rungs of what is known, and of what runs, which is taken for its rung's median.

        A failed trial, and what is worse than the results' ceiling, is as bad as that; a rung without results has the
        median of all.

        Returns:
            (n, d) points, (n, objectives) losses, (n,) rungs.
        """
        evidence, rung = self._evidence, np.array(self._rung)
        losses = evidence.capped
        running = list(self.running.values())
        if not running:
            return evidence.points, losses, rung
        ends = np.array([job.rung for job in running])
        lies = np.tile(np.median(losses[~evidence.failed], axis=0), (len(running), 1))
        for k in np.unique(ends):
            here = (rung == k) & ~evidence.failed
            if here.any():
                lies[ends == k] = np.median(losses[here], axis=0)
        points = np.array([self._placed[job.trial] for job in running])
        return np.concatenate([evidence.points, points]), np.concatenate([losses, lies]), np.concatenate([rung, ends])

    def _target_rung(self, rung: NDArray[np.int64]) -> int:
        """The highest rung with more results than dimensions, or else the one with most."""
        counts = np.bincount(rung[: len(self._evidence)][~self._evidence.failed], minlength=len(self.rungs))
        enough = np.flatnonzero(counts > self.problem.space.dimension)
        return int(enough[-1]) if len(enough) else int(np.argmax(counts))

    def _at(self, points: NDArray[np.float64], rung: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, d + 1) points with the logarithm of the resource as their last coordinate, scaled to [0, 1]."""
        return np.column_stack([points, self._depth[rung]])

    def _model(
        self,
        column: int | None,
        x: NDArray[np.float64],
        rung: NDArray[np.int64],
        y: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> GaussianProcess:
        """The process of a loss given all that is believed."""
        if column not in self._processes:
            from optimizers.surrogates.gp import GrowingProcess

            seed = [self.problem.seed, _FIT, 0 if column is None else 1 + column]
            self._processes[column] = GrowingProcess(seed, self._categories, self._own.model_points)
        model = self._processes[column].grown(self._evidence.measured, lambda count: self._first(count, column))
        model.condition(self._at(x, rung), y, rng)
        return model

    def _first(self, count: int, column: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points and outcomes of the first so many results; weights of several losses go by their number."""
        rows = np.flatnonzero(~self._evidence.failed)[:count]
        losses = self._evidence.losses[rows]
        losses = below(losses, ceiling(losses, dict(self._evidence.bounds)))
        y = self._evidence.scalar(losses, self.rng(_FIT, count))[0] if column is None else losses[:, column]
        return self._at(self._evidence.points[rows], np.array(self._rung)[rows]), y

    def _on_warm_start(self, earlier: Sequence[Earlier]) -> None:
        for trial in earlier:
            known = [] if trial.failed else [k for k, rung in enumerate(self.rungs) if rung.level in trial.reports]
            for k in known:
                self._take(trial.config, k, trial.reports[self.rungs[k].level])
            self._taught += bool(known)
        self._starts.learn(trial.config for trial in earlier)

    def _on_record(self, job: Job) -> None:
        super()._on_record(job)
        self._placed[job.trial] = self.problem.space.encode(job.config)

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        del self._placed[trial.id]
        super()._on_finish(job, trial, end)

    def _on_result(self, trial: Trial, rung: int, metrics: Mapping[str, float] | None) -> None:
        self._take(trial.config, rung, metrics)

    def _take(self, config: Config, rung: int, metrics: Mapping[str, float] | None) -> None:
        self._evidence.add(config, metrics)
        self._rung.append(rung)

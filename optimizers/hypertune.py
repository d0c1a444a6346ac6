"""Hyper-Tune: delayed promotion, brackets by what they tell, configurations from all rungs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers.acquisition import log_expected_improvement, log_probability_below
from optimizers.allocation import affordable_sizes, bracket_payoffs, bracket_weights
from optimizers.candidates import around, candidates, canonical, fresh
from optimizers.costs import LegCosts
from optimizers.evidence import figure
from optimizers.halving import AsynchronousHalving, HalvingSettings
from optimizers.hyperband import PromotionRule, bracket_in_turn
from optimizers.multifidelity import MODEL_FROM, REFERENCE_FROM, RungModels, ThetaName
from optimizers.protocol import Earlier, Job, Problem, Report, Settings, Trial, Verdict
from optimizers.surrogates import CHOICE, SurrogateChoice, chosen
from optimizers.surrogates.ensemble import Fusion
from tunewright.space import Config, config_key

# Streams of randomness; one decision uses each at most once.
_START, _BRACKET, _CHOICE = 0, 1, 2
# Best configurations of a rung around which candidates are placed, and best candidates around which more are.
_CENTRES = 10


class HyperTuneSettings(HalvingSettings):
    """Settings of Hyper-Tune."""

    initial_trials: int = Field(default=12, ge=1, le=1024, description="Trials of the design, before any model.")
    promotion: PromotionRule = Field(
        default="delayed", description="Delayed: D-ASHA, which waits until ranks mean something. Eager: ASHA."
    )
    allocation: Literal["payoff", "learned", "round_robin", "off"] = Field(
        default="payoff",
        description="Brackets of new configurations: by what is expected to be found there, by how well their lowest "
        "rung ranks (the paper's rule), by turns, or the lowest. Unless off, declared defaults are trained whole.",
    )
    cost_aware: bool = Field(
        default=False,
        description="Payoff counts what it costs to start a leg, where the seconds of legs are measured. Brackets then "
        "follow the clock, and a seed no longer repeats a study.",
    )
    sampler: Literal["ensemble", "full_fidelity", "random"] = Field(
        default="ensemble", description="Models of all rungs together, of the full resource alone, or none."
    )
    theta: ThetaName = Field(
        default="rank_loss_prob", description="How a rung's precision follows from the pairs that it orders rightly."
    )
    fusion: Fusion = Field(
        default="idp", description="Surrogates as a weighted sum (idp) or as a product of experts (gpoe)."
    )
    growing_share: bool = Field(
        default=True, description="The full resource's own surrogate gains weight with every result there."
    )
    surrogate: SurrogateChoice = Field(default="auto", description=CHOICE)
    trees: int = Field(default=10, ge=2, le=100, description="Trees of each rung's forest.")
    candidates: int = Field(default=500, ge=10, le=100_000, description="Candidates scored for each trial.")
    random_share: float = Field(default=0.1, ge=0, le=1, description="Share of trials drawn at random, as insurance.")
    reports: Literal["all", "rungs"] = Field(
        default="all", description="Whether a report that passes a rung on the way to a higher one teaches its model."
    )


class HyperTune(AsynchronousHalving):
    """Learns from partly trained configurations what whole ones would do, starts the most promising ones at the
    resource that tells enough, and goes on with the best third of them once enough have been compared. Made for many
    trials that can be judged early.

    Li et al., Hyper-Tune, VLDB 2022. Each of its three parts can be switched off: `promotion`, `allocation`, `sampler`.
    """

    name: ClassVar[str] = "hypertune"
    settings_model: ClassVar[type[Settings]] = HyperTuneSettings

    def __init__(self, problem: Problem, settings: HyperTuneSettings | None = None) -> None:
        own = settings or HyperTuneSettings()
        super().__init__(problem, own, own.initial_trials, own.promotion)
        self._own = own
        surrogate = chosen(own.surrogate, problem.objectives)
        self.models = RungModels(problem, len(self.rungs), surrogate, own.trees, own.theta, own.fusion)
        self._rung_at = {rung.level: k for k, rung in enumerate(self.rungs)}
        self._points = np.empty((64, problem.space.dimension))
        self._costs = LegCosts()
        # Earlier trials of which a rung has a result: they shorten the design.
        self._taught = 0
        # Trials that a rung's model has heard of, for each rung.
        self._known: list[set[int]] = [set() for _ in self.rungs]

    def _start(self) -> Job | None:
        if not self.may_start_trial:
            return None
        with self.models.deciding():
            bracket, why = self._bracket()
            config, reasons = self._configuration()
        return self._enter(config, bracket, {**reasons, "bracket": bracket, **why})

    def _bracket(self) -> tuple[int, dict[str, Any]]:
        """Where the next configuration starts: by turns until the full resource has results, then by theta.

        Declared defaults are trained whole, so that a study ends no worse than what its user has.
        """
        if self._own.allocation == "off":
            return 0, {}
        if self._starts.default_waits and not self.queue:
            return len(self.sizes) - 1, {"rule": "declared defaults"}
        if self._own.allocation == "payoff":
            return self._bracket_by_payoff()
        number = len(self.trials)
        if self._own.allocation == "round_robin" or self.models.measured[-1] < REFERENCE_FROM:
            return self._bracket_in_turn(number), {}
        theta = self.models.theta()
        weights = bracket_weights(theta.values, self.sizes)
        chosen = int(self.rng(_BRACKET, len(self.jobs)).choice(len(weights), p=weights))
        return chosen, {"theta": _figures(theta.values), "bracket_weights": _figures(weights)}

    def _bracket_by_payoff(self) -> tuple[int, dict[str, Any]]:
        theta = self.models.theta()
        full = theta.reference == len(self.rungs) - 1
        levels = [rung.level for rung in self.rungs]
        overhead = self._costs.overhead(levels[-1]) if self._own.cost_aware else 0.0
        sizes = affordable_sizes(self.sizes, levels, self.eta, overhead)
        weights = bracket_payoffs(theta.shares, theta.results if full else 0, sizes)
        chosen = int(self.rng(_BRACKET, len(self.jobs)).choice(len(weights), p=weights))
        why = {"theta": _figures(theta.values), "bracket_weights": _figures(weights)}
        return chosen, why | ({"leg_overhead": figure(overhead)} if self._own.cost_aware else {})

    def _bracket_in_turn(self, number: int) -> int:
        """Hyperband's shares, the highest bracket first: whole trainings tell soonest what lower rungs are worth."""
        return len(self.sizes) - 1 - bracket_in_turn(number, self.sizes[::-1])

    def _configuration(self) -> tuple[Config | None, dict[str, Any]]:
        number = len(self.trials)
        if number + self._taught < self._own.initial_trials or self._starts.default_waits:
            config = self._starts.propose(number, self.rng(_START, len(self.jobs)))
            return config, {"rule": "initial design", "number": number}
        rng = self.rng(_CHOICE, len(self.jobs))
        theta = self._ensemble()
        if self._own.sampler == "random" or not theta.any():
            return self._starts.draw(rng), {"rule": "random"}
        if rng.random() < self._own.random_share:
            return self._starts.draw(rng), {"rule": "random share"}
        return self._choose(theta, rng)

    def _ensemble(self) -> NDArray[np.float64]:
        """(K,) weights of the surrogates; all 0 while there is none."""
        if self._own.sampler == "full_fidelity":
            weights = np.zeros(len(self.rungs))
            weights[-1] = self.models.measured[-1] >= MODEL_FROM
            return weights
        return self.models.ensemble_weights(self._own.growing_share)

    def _choose(self, theta: NDArray[np.float64], rng: np.random.Generator) -> tuple[Config | None, dict[str, Any]]:
        """The candidate with the largest expected improvement (times the probability that constraints hold)."""
        weights = rng.dirichlet(np.ones(self.models.goals)) if self.models.goals > 1 else np.ones(1)
        target = int(np.flatnonzero(theta)[-1])
        centres, incumbents = self._best_known(theta, target, weights)
        pending = [self._pending(k) for k in range(len(self.rungs))]
        predict = self.models.ensemble(theta, pending, weights, len(self.jobs))
        pool = candidates(self.problem.space, centres, self._own.candidates // 2, rng)
        # The best stand before the candidates: asked together they take little of a surrogate's time.
        mean, variance = predict(np.concatenate([incumbents, pool]))
        # What the ensemble itself expects of the best: rungs disagree on what is average, and measurements are noisy.
        best = float(mean[: len(incumbents), 0].min()) if len(incumbents) else None

        def score(
            mean: NDArray[np.float64], variance: NDArray[np.float64]
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            gain = np.zeros(len(mean)) if best is None else log_expected_improvement(mean[:, 0], variance[:, 0], best)
            feasible = np.zeros(len(mean))
            for column in range(1, mean.shape[1]):
                feasible += log_probability_below(mean[:, column], variance[:, column], 0.0)
            return gain + feasible, np.stack([gain, mean[:, 0], np.sqrt(variance[:, 0]), feasible])

        scores, figures = score(mean[len(incumbents) :], variance[len(incumbents) :])
        peaks = pool[np.argsort(-scores, kind="stable")[:_CENTRES]]
        near = canonical(self.problem.space, around(self.problem.space, peaks, self._own.candidates // 2, rng))
        found, told = score(*predict(near))
        pool, scores = np.concatenate([near, pool]), np.concatenate([found, scores])
        figures = np.concatenate([told, figures], axis=1)

        order = np.argsort(-scores, kind="stable")
        for position in fresh(pool[order], self._points[: len(self.trials)]):
            config = self.problem.space.decode(pool[order[position]])
            if config_key(config) not in self._starts.tried:
                return config, self._why(figures[:, order[position]], best is not None, theta, target, weights)
        return self._starts.draw(rng), {"rule": "no new candidate"}

    def _why(
        self,
        figures: NDArray[np.float64],
        improves: bool,
        theta: NDArray[np.float64],
        target: int,
        weights: NDArray[np.float64],
    ) -> dict[str, Any]:
        gain, mean, deviation, feasible = figures.tolist()
        why: dict[str, Any] = {"rule": "expected improvement" if improves else "probability of feasibility"}
        if improves:
            scale = self.models.scale(target, weights)
            why |= {"ei": figure(np.exp(gain) * scale.deviation), "deviation": figure(deviation * scale.deviation)}
            sign = 1.0
            goals = [o for o in self.problem.objectives if o.bound is None]
            if len(goals) == 1:
                sign = goals[0].sign
            else:
                why["weights"] = {o.metric: figure(weight) for o, weight in zip(goals, weights, strict=True)}
            why["mean"] = figure(sign * (mean * scale.deviation + scale.mean))
        if len(self.problem.objectives) > self.models.goals:
            why["feasible"] = figure(np.exp(feasible))
        return why | {"ensemble": _figures(theta)}

    def _best_known(
        self, theta: NDArray[np.float64], target: int, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The best of each rung that is heard, to look around; and those of the target rung that keep all constraints.

        Returns:
            (n, d) and (m, d) points.
        """
        rungs = np.flatnonzero(theta).tolist()
        best = [self.models.best(k, weights, _CENTRES) for k in rungs]
        evidence = self.models.evidence
        centres = [evidence[k].points[rows] for k, rows in zip(rungs, best, strict=True)]
        feasible = best[-1][evidence[target].violations[best[-1]] == 0]
        return np.concatenate(centres[::-1]), evidence[target].points[feasible]

    def _pending(self, k: int) -> NDArray[np.float64]:
        """(p, d) points of running trials that the rung's model has not heard of."""
        return self._points[[job.trial for job in self.running.values() if job.trial not in self._known[k]]]

    def _on_record(self, job: Job) -> None:
        super()._on_record(job)
        if job.start:
            return
        if job.trial == len(self._points):
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
        self._points[job.trial] = self.problem.space.encode(job.config)

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        verdict = super()._on_report(trial, report)
        k = self._rung_at.get(report.resource)
        job = None if trial.running is None else self.jobs[trial.running]
        if job is not None and report.resource == job.end and report.seconds is not None:
            self._costs.add(job.end - job.start, report.seconds)
        if self._own.reports == "all" and k is not None and trial.running is not None:
            # A result on the way is as good as one of a trial that stopped there; only promotion must not count it.
            rung = self.jobs[trial.running].rung
            assert rung is not None
            if k < rung:
                self._learn(trial, k, report.metrics)
        return verdict

    def _on_result(self, trial: Trial, rung: int, metrics: Mapping[str, float] | None) -> None:
        self._learn(trial, rung, metrics)

    def _learn(self, trial: Trial, k: int, metrics: Mapping[str, float] | None) -> None:
        if trial.id not in self._known[k]:
            self._known[k].add(trial.id)
            self.models.add(k, trial.config, metrics)

    def _on_warm_start(self, earlier: Sequence[Earlier]) -> None:
        for trial in earlier:
            known = [] if trial.failed else [k for level, k in self._rung_at.items() if level in trial.reports]
            for k in known:
                self.models.add(k, trial.config, trial.reports[self.rungs[k].level])
            self._taught += bool(known)
        self._starts.learn(trial.config for trial in earlier)


def _figures(values: NDArray[np.float64]) -> list[float]:
    return [figure(value) for value in values]

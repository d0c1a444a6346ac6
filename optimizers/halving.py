"""What asynchronous successive halving shares, whoever chooses configurations and brackets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from optimizers.hyperband import (
    MIN_ETA,
    PromotionRule,
    Rung,
    asha_promotes,
    bracket_sizes,
    delayed_promotes,
    rung_levels,
    rung_quorum,
)
from optimizers.initial import Design, Starts
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Settings, Trial, Verdict, losses, violation
from tunewright.space import Config

# What fails at the full resource so often seldom does so because of its configuration; and a trial that failed is
# nobody's best, so that to go on would leave a study with nothing.
MAX_FAILED_WHOLE = 3


class HalvingSettings(Settings):
    """Settings of everything that climbs rungs."""

    eta: float = Field(default=3.0, ge=MIN_ETA, le=1000, description="One in eta goes on to the next rung.")
    design: Design = Field(default="sobol", description="Where the first configurations come from.")
    finish_best: bool = Field(
        default=True,
        description="When no rule applies any more and no trial has been trained whole, train the best one further; "
        "the next best where it fails.",
    )


class AsynchronousHalving(Optimizer):
    """Base of optimizers that promote as soon as a rule allows it, and else start a new configuration.

    One table of rungs serves all brackets. Subclasses implement `_start`, and `_on_result` if they learn from results.
    """

    def __init__(self, problem: Problem, settings: HalvingSettings, design_size: int, promotion: PromotionRule) -> None:
        super().__init__(problem, settings)
        goals = sum(objective.bound is None for objective in problem.objectives)
        self.eta = settings.eta
        self.rungs = [Rung(level, goals) for level in rung_levels(problem.fidelity, settings.eta)]
        self.sizes = bracket_sizes(len(self.rungs), settings.eta)
        self._promotion_rule = promotion
        self._finish_best = settings.finish_best
        self._starts = Starts(problem.space, settings.design, design_size, problem.seed)
        # Trials that completed a leg whose result has not come in; and the rung where it belongs.
        self._unmeasured: dict[int, int] = {}

    def _propose(self) -> Job | None:
        return self._promotion() or self._start() or self._late_promotion() or self._last_resort()

    @abstractmethod
    def _start(self) -> Job | None:
        """A new configuration and its bracket, or None when there is none left."""

    def _promotion(self) -> Job | None:
        """From the highest rung down, the best one that waits, if the rule lets it climb."""
        for k in reversed(range(len(self.rungs) - 1)):
            candidate = self.rungs[k].best_waiting()
            if candidate is not None and self._climbs(k, candidate.rank):
                return self._climb(candidate.trial, k, "promotion", candidate.rank)
        return None

    def _climbs(self, k: int, rank: int) -> bool:
        rung = self.rungs[k]
        if self._promotion_rule == "eager":
            return asha_promotes(rank, rung.measured, self.eta)
        needed = rung_quorum(k, len(self.rungs), self.eta)
        return delayed_promotes(rank, rung.measured, rung.promoted, needed, self.eta)

    def _late_promotion(self) -> Job | None:
        """No new configuration can come: what a rung would wait for never will, and ASHA's rule is enough."""
        for k in reversed(range(len(self.rungs) - 1)):
            candidate = self.rungs[k].best_waiting()
            if candidate is not None and asha_promotes(candidate.rank, self.rungs[k].measured, self.eta):
                return self._climb(candidate.trial, k, "late promotion", candidate.rank)
        return None

    def _last_resort(self) -> Job | None:
        """A short study would end without a single whole trial: train the best of the highest rung further."""
        top = self.rungs[-1]
        if not self._finish_best or self.running or top.measured > top.failed or top.failed >= MAX_FAILED_WHOLE:
            return None
        for k in reversed(range(len(self.rungs) - 1)):
            candidate = self.rungs[k].best_waiting()
            if candidate is not None:
                return self._climb(candidate.trial, k, "finish the best", candidate.rank)
        return None

    def _climb(self, trial: int, k: int, rule: str, rank: int) -> Job:
        rung = self.rungs[k]
        why: dict[str, Any] = {"rule": rule, "rung": k + 1, "rank": rank + 1, "of": rung.measured}
        if self._promotion_rule == "delayed":
            why |= {"promoted": rung.promoted, "needed": rung_quorum(k, len(self.rungs), self.eta)}
        return self._continue(self.trials[trial], rung.level, self.rungs[k + 1].level, rung=k + 1, why=why)

    def _enter(self, config: Config | None, bracket: int, why: Mapping[str, Any]) -> Job | None:
        """A new trial at the first rung of a bracket; enqueued configurations come even where no other is left."""
        if config is None and not self.queue:
            return None
        return self._new_trial(config or {}, self.rungs[bracket].level, rung=bracket, bracket=bracket, why=why)

    def _on_record(self, job: Job) -> None:
        if job.start:
            assert job.rung is not None
            self.rungs[job.rung - 1].promote(job.trial)
        else:
            self._starts.record(job.config)

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        if trial.id in self._unmeasured:
            self._measure(trial, self._unmeasured.pop(trial.id))
        return Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        assert job.rung is not None
        if end is JobEnd.COMPLETED:
            self._measure(trial, job.rung)
        elif trial.failed:
            self.rungs[job.rung].add_failed()
            self._on_result(trial, job.rung, None)

    def _measure(self, trial: Trial, k: int) -> None:
        """Take the trial's result at the rung's resource into the books, now or when it comes."""
        metrics = trial.reports.get(self.rungs[k].level)
        if metrics is None:
            self._unmeasured[trial.id] = k
            return
        objectives = self.problem.objectives
        self.rungs[k].add(trial.id, violation(metrics, objectives), losses(metrics, objectives))
        self._on_result(trial, k, metrics)

    def _on_result(self, trial: Trial, rung: int, metrics: Mapping[str, float] | None) -> None:
        """A trial was measured on a rung; None if it failed on its way there."""

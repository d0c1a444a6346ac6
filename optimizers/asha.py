"""ASHA: asynchronous successive halving, by promotion from checkpoints or by stopping running trials."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from optimizers.halving import AsynchronousHalving, HalvingSettings
from optimizers.hyperband import PromotionRule, asha_continues, bracket_in_turn
from optimizers.protocol import Job, JobEnd, Problem, Report, Settings, Trial, Verdict, losses, violation


class AshaSettings(HalvingSettings):
    """Settings of ASHA."""

    design_size: int = Field(default=64, ge=0, le=1024, description="Configurations from the design; then uniform.")
    form: Literal["promotion", "stopping"] = Field(
        default="promotion",
        description="Promote the best from their checkpoints, or start trials whole and stop the worse at each rung.",
    )
    promotion: PromotionRule = Field(
        default="eager", description="Eager: ASHA's rule. Delayed: D-ASHA's, which waits until ranks mean something."
    )
    brackets: Literal["lowest", "round_robin"] = Field(
        default="lowest", description="Where new configurations start: at the lowest rung, or by turns as in Hyperband."
    )


class Asha(AsynchronousHalving):
    """Trains many configurations a little, and goes on with the best third of them, again and again, without ever
    waiting for the slowest. A promoted trial resumes from its checkpoint, so that nothing is trained twice.
    The right choice when early results tell something about late ones, and with many parallel trials.

    Algorithm 2 of Li et al., ASHA, MLSys 2020. The stopping form is that of Ray Tune: it needs no checkpoints, and
    never goes back to a trial that it stopped.
    """

    name: ClassVar[str] = "asha"
    settings_model: ClassVar[type[Settings]] = AshaSettings

    def __init__(self, problem: Problem, settings: AshaSettings | None = None) -> None:
        own = settings or AshaSettings()
        super().__init__(problem, own, own.design_size, own.promotion)
        self._stops = own.form == "stopping"
        self._by_turns = own.brackets == "round_robin"
        # Running trial -> the next rung that it passes; of the stopping form.
        self._ahead: dict[int, int] = {}

    def _start(self) -> Job | None:
        if not self.may_start_trial:
            return None
        index = len(self.trials)
        bracket = bracket_in_turn(index, self.sizes) if self._by_turns else 0
        config = self._starts.propose(index, self.rng(0, len(self.jobs)))
        return self._enter(config, bracket, {"rule": "new trial", "number": index})

    def _propose(self) -> Job | None:
        if not self._stops:
            return super()._propose()
        job = self._start()
        if job is None:
            return None
        top = len(self.rungs) - 1
        return self._new_trial(job.config, self.rungs[top].level, rung=top, bracket=job.bracket, why=job.why)

    def _on_record(self, job: Job) -> None:
        super()._on_record(job)
        if self._stops:
            self._ahead[job.trial] = job.bracket or 0

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        if not self._stops:
            return super()._on_report(trial, report)
        verdict = Verdict.CONTINUE
        while trial.id in self._ahead and report.resource >= self.rungs[self._ahead[trial.id]].level:
            if not self._pass(trial, report):
                verdict = Verdict.STOP
        return verdict

    def _pass(self, trial: Trial, report: Report) -> bool:
        """A running trial reached its next rung: may it go on?"""
        k = self._ahead.pop(trial.id)
        rung = self.rungs[k]
        metrics = trial.reports.get(rung.level, report.metrics)
        rung.add(trial.id, violation(metrics, self.problem.objectives), losses(metrics, self.problem.objectives))
        if k == len(self.rungs) - 1:
            return True
        if not asha_continues(rung.rank(trial.id), rung.measured, self.eta):
            return False
        rung.promote(trial.id)
        self._ahead[trial.id] = k + 1
        return True

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        if not self._stops:
            super()._on_finish(job, trial, end)
            return
        ahead = self._ahead.pop(trial.id, None)
        if ahead is not None and trial.failed:
            self.rungs[ahead].add_failed()

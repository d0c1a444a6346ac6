"""ASHA: asynchronous successive halving, with promotions that resume from checkpoints."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from optimizers.hyperband import MIN_ETA, Rung, asha_promotes, rung_levels
from optimizers.initial import Design, Starts
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Settings, Trial, Verdict, losses, violation


class AshaSettings(Settings):
    """Settings of ASHA."""

    eta: float = Field(default=3.0, ge=MIN_ETA, le=1000, description="One in eta goes on to the next rung.")
    design: Design = Field(default="sobol", description="Where the first configurations come from.")
    design_size: int = Field(default=64, ge=0, le=1024, description="Configurations from the design; then uniform.")
    finish_best: bool = Field(
        default=True,
        description="When no rule applies any more and no trial has been trained whole, train the best one further.",
    )


class Asha(Optimizer):
    """Trains many configurations a little, and goes on with the best third of them, again and again, without ever
    waiting for the slowest. A promoted trial resumes from its checkpoint, so that nothing is trained twice.
    The right choice when early results tell something about late ones, and with many parallel trials.
    """

    name: ClassVar[str] = "asha"
    settings_model: ClassVar[type[Settings]] = AshaSettings

    def __init__(self, problem: Problem, settings: AshaSettings | None = None) -> None:
        super().__init__(problem, settings)
        own = settings or AshaSettings()
        goals = sum(objective.bound is None for objective in problem.objectives)
        self.eta = own.eta
        self.rungs = [Rung(level, goals) for level in rung_levels(problem.fidelity, own.eta)]
        self._finish_best = own.finish_best
        self._starts = Starts(problem.space, own.design, own.design_size, problem.seed)
        # Trials that completed a leg whose result has not come in; and the rung where it belongs.
        self._unmeasured: dict[int, int] = {}

    def _propose(self) -> Job | None:
        return self._promotion() or self._start() or self._last_resort()

    def _promotion(self) -> Job | None:
        """From the highest rung down, the first trial in the top 1/eta that waits (algorithm 2, get_job)."""
        for k in reversed(range(len(self.rungs) - 1)):
            candidate = self.rungs[k].best_waiting()
            if candidate is not None and asha_promotes(candidate.rank, self.rungs[k].measured, self.eta):
                return self._climb(candidate.trial, k, "promotion", candidate.rank)
        return None

    def _start(self) -> Job | None:
        if not self.may_start_trial:
            return None
        index = len(self.trials)
        config = self._starts.propose(index, self.rng(0, len(self.jobs)))
        if config is None:
            return None
        return self._new_trial(config, self.rungs[0].level, rung=0, why={"rule": "new trial", "number": index})

    def _last_resort(self) -> Job | None:
        """A short study would end without a single whole trial: train the best of the highest rung further."""
        if not self._finish_best or self.running or self.rungs[-1].measured:
            return None
        for k in reversed(range(len(self.rungs) - 1)):
            candidate = self.rungs[k].best_waiting()
            if candidate is not None:
                return self._climb(candidate.trial, k, "finish the best", candidate.rank)
        return None

    def _climb(self, trial: int, k: int, rule: str, rank: int) -> Job:
        why = {"rule": rule, "rung": k + 1, "rank": rank + 1, "of": self.rungs[k].measured}
        return self._continue(self.trials[trial], self.rungs[k].level, self.rungs[k + 1].level, rung=k + 1, why=why)

    def _on_record(self, job: Job) -> None:
        if job.rung:
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

    def _measure(self, trial: Trial, k: int) -> None:
        """Take the trial's result at the rung's resource into the books, now or when it comes."""
        metrics = trial.reports.get(self.rungs[k].level)
        if metrics is None:
            self._unmeasured[trial.id] = k
            return
        objectives = self.problem.objectives
        self.rungs[k].add(trial.id, violation(metrics, objectives), losses(metrics, objectives))

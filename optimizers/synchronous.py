"""Hyperband: brackets of synchronous successive halving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from optimizers.hyperband import MIN_ETA, Rung, bracket_sizes, rung_levels
from optimizers.initial import Design, Starts
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report, Settings, Trial, Verdict, losses, violation


class HyperbandSettings(Settings):
    """Settings of Hyperband."""

    eta: float = Field(default=3.0, ge=MIN_ETA, le=1000, description="One in eta goes on to the next rung.")
    design: Design = Field(default="sobol", description="Where the first configurations come from.")
    design_size: int = Field(default=64, ge=0, le=1024, description="Configurations from the design; then uniform.")


class Bracket:
    """One run of successive halving: so many configurations at its first rung, and one in eta of each rung goes on.

    Attributes:
        first: index of its first rung among those of the study.
        size: configurations that it starts.
        started: configurations that it has started.
    """

    def __init__(self, first: int, size: int, levels: Sequence[float], objectives: int, eta: float) -> None:
        self.first = first
        self.size = size
        self.started = 0
        self._rungs = [Rung(level, objectives) for level in levels[first:]]
        self._eta = eta
        # Trials that left a rung without a result, neither failed nor measured.
        self._gone = [0] * len(self._rungs)

    def rung(self, k: int) -> Rung:
        """Its rung at the study's index `k`."""
        return self._rungs[k - self.first]

    def leave(self, k: int) -> None:
        """A trial was cancelled on its way to a rung."""
        self._gone[k - self.first] += 1

    def next(self, closed: bool = False) -> tuple[int, int, int] | None:
        """Whom to promote: the trial, the rung on which it stands, and how many climb from there.

        A rung is halved once every trial that was sent there has ended, and not before.

        Args:
            closed: the bracket gets no more configurations, though it is not full.
        """
        if not closed and self.started < self.size:
            return None
        sent = self.started
        for place, rung in enumerate(self._rungs[:-1]):
            if rung.measured + self._gone[place] < sent:
                return None
            # A bracket that the budget cut short still brings its best to the top.
            quota = max(1, math.floor(sent / self._eta + 1e-9))
            candidate = rung.best_waiting()
            if rung.promoted < quota and candidate is not None:
                return candidate.trial, self.first + place, quota
            sent = rung.promoted
        return None

    @property
    def over(self) -> bool:
        """Whether it is full and every trial has ended where it will stay."""
        reached = sum(rung.measured for rung in self._rungs) + sum(self._gone)
        sent = self.started + sum(rung.promoted for rung in self._rungs)
        return self.started == self.size and reached == sent and self.next() is None


class Hyperband(Optimizer):
    """Runs brackets of successive halving, from many configurations that are trained a little to few that are trained
    whole. Each rung is compared once all its trials have ended; a worker that would wait starts the next bracket.
    The choice when nobody knows how much early results tell.

    Li et al., Hyperband, JMLR 2018, algorithm 1; promoted trials resume from their checkpoints.
    """

    name: ClassVar[str] = "hyperband"
    settings_model: ClassVar[type[Settings]] = HyperbandSettings

    def __init__(self, problem: Problem, settings: HyperbandSettings | None = None) -> None:
        super().__init__(problem, settings)
        own = settings or HyperbandSettings()
        self.eta = own.eta
        self.levels = rung_levels(problem.fidelity, own.eta)
        self.sizes = bracket_sizes(len(self.levels), own.eta)
        self.brackets: list[Bracket] = []
        self._goals = sum(objective.bound is None for objective in problem.objectives)
        self._starts = Starts(problem.space, own.design, own.design_size, problem.seed)
        self._home: list[Bracket] = []
        # Brackets before this one are over.
        self._oldest = 0
        # Trials that completed a leg whose result has not come in; and the rung where it belongs.
        self._unmeasured: dict[int, int] = {}

    def _propose(self) -> Job | None:
        return self._promotion() or self._start() or self._promotion(closed=True)

    def _promotion(self, closed: bool = False) -> Job | None:
        for number in range(self._oldest, len(self.brackets)):
            found = self.brackets[number].next(closed)
            if found is not None:
                trial, k, quota = found
                why = {"rule": "promotion", "rung": k + 1, "climb": quota, "of": self.brackets[number].rung(k).measured}
                return self._continue(
                    self.trials[trial],
                    self.levels[k],
                    self.levels[k + 1],
                    rung=k + 1,
                    bracket=self.brackets[number].first,
                    why=why | {"iteration": number},
                )
        return None

    def _start(self) -> Job | None:
        if not self.may_start_trial:
            return None
        index = len(self.trials)
        config = self._starts.propose(index, self.rng(0, len(self.jobs)))
        if config is None and not self.queue:
            return None
        number, first = self._open_bracket()
        why = {"rule": "new trial", "number": index, "iteration": number, "of": self.sizes[first]}
        return self._new_trial(config or {}, self.levels[first], rung=first, bracket=first, why=why)

    def _open_bracket(self) -> tuple[int, int]:
        """Number and first rung of the bracket that takes the next configuration."""
        number = len(self.brackets) - 1
        if number < 0 or self.brackets[number].started == self.brackets[number].size:
            number += 1
        return number, number % len(self.levels)

    def _on_record(self, job: Job) -> None:
        if job.start:
            assert job.rung is not None
            self._home[job.trial].rung(job.rung - 1).promote(job.trial)
            return
        self._starts.record(job.config)
        number, first = self._open_bracket()
        if number == len(self.brackets):
            self.brackets.append(Bracket(first, self.sizes[first], self.levels, self._goals, self.eta))
        while self.brackets[self._oldest].over:
            self._oldest += 1
        self.brackets[number].started += 1
        self._home.append(self.brackets[number])

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        if trial.id in self._unmeasured:
            self._measure(trial, self._unmeasured.pop(trial.id))
        return Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        assert job.rung is not None
        if end is JobEnd.COMPLETED:
            self._measure(trial, job.rung)
        elif trial.failed:
            self._home[trial.id].rung(job.rung).add_failed()
        else:
            self._home[trial.id].leave(job.rung)

    def _measure(self, trial: Trial, k: int) -> None:
        metrics = trial.reports.get(self.levels[k])
        if metrics is None:
            self._unmeasured[trial.id] = k
            return
        objectives = self.problem.objectives
        self._home[trial.id].rung(k).add(trial.id, violation(metrics, objectives), losses(metrics, objectives))

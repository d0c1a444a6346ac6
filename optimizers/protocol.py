"""The optimizer's contract: four verbs, and what may be relied on.

    next_job() -> Job | None          None: nothing to start until a running job ends
    observe(Report) -> Verdict        a measurement of a job; STOP asks the runner to end the job early
    finish(job_id, JobEnd)            completed, failed, cancelled, lost
    best() -> list[Incumbent]         one entry, or the Pareto set

Two more verbs carry what people and earlier studies know: `enqueue` and `warm_start`.

Decisions follow from facts alone: the jobs given out, the reports and ends observed and the configurations
enqueued, in their order, the problem and its seed, and the earlier trials it was warm-started with. `next_job`
therefore splits in two: `_propose` decides and changes nothing, `_record` takes the job into the books. A restarted
study hands the recorded jobs to `replay` instead of deciding them again, and from there on every decision is the one
that the crashed study would have made, bit for bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from optimizers.errors import OptimizerError
from tunewright.space import Config, SearchSpace
from tunewright.study import Fidelity, Objective


@dataclass(frozen=True)
class Problem:
    """What an optimizer has to solve.

    Attributes:
        max_trials: configurations that it may start; None sets no limit.
        seed: of every random draw.
    """

    space: SearchSpace
    objectives: Sequence[Objective]
    fidelity: Fidelity
    max_trials: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """One leg of a trial: run `config` from resource `start` to resource `end`.

    Attributes:
        id: counts up from 0 within a study.
        trial: counts up from 0 within a study; several jobs may continue one trial.
        rung, bracket: where it stands in a multi-fidelity ladder; None outside of one.
        why: reasons in numbers, for people (JSON values).
        parent: trial from whose checkpoint at `start` a new trial begins; None: it continues its own, or begins at 0.
    """

    id: int
    trial: int
    config: Config
    start: float
    end: float
    rung: int | None = None
    bracket: int | None = None
    why: Mapping[str, Any] = field(default_factory=dict)
    parent: int | None = None

    @property
    def begins_trial(self) -> bool:
        """Whether it is the first of its trial."""
        return self.start == 0 or self.parent is not None


@dataclass(frozen=True)
class Report:
    """One measurement of a trial at one resource; objectives are finite.

    Attributes:
        seconds: that its worker had spent on the job until then; None where nobody measured it. A fact like the
            metrics: an optimizer knows no other clock, and a journal has to keep it.
    """

    job: int
    trial: int
    resource: float
    metrics: Mapping[str, float]
    seconds: float | None = None


class JobEnd(StrEnum):
    """How a job ended. `lost`: its worker died too often; `cancelled`: stopped from outside or by a verdict."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class Verdict(StrEnum):
    """What an optimizer thinks of a job that still runs."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True)
class Earlier:
    """A finished trial of another study with the same parameters, metrics and resource.

    Attributes:
        reports: resource -> metrics, of all objectives.
        failed: it came to no result; its reports do not count.
    """

    config: Config
    reports: Mapping[float, Mapping[str, float]]
    failed: bool = False


@dataclass(frozen=True)
class Incumbent:
    """A trial that is best, or one of the Pareto set.

    Attributes:
        resource: at which `metrics` were measured.
    """

    trial: int
    config: Config
    resource: float
    metrics: Mapping[str, float]


@dataclass
class Trial:
    """An optimizer's own record of a trial.

    Attributes:
        reports: resource -> metrics, in order of arrival; the first report at a resource counts.
        running: id of its job that has not ended; None between jobs.
        end: how its last job ended; None before that.
        completed: resource up to which it has completed jobs.
    """

    id: int
    config: Config
    reports: dict[float, Mapping[str, float]] = field(default_factory=dict)
    running: int | None = None
    end: JobEnd | None = None
    completed: float = 0.0

    @property
    def failed(self) -> bool:
        return self.end in (JobEnd.FAILED, JobEnd.LOST)

    @property
    def resource(self) -> float:
        """Largest resource reported; 0 before the first report."""
        return max(self.reports, default=0.0)


class Settings(BaseModel):
    """Base of the optimizers' settings; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimizer(ABC):
    """Base of all optimizers: the book-keeping of trials and jobs that they share.

    What may be relied on:
        - one thread at a time; no verb blocks on anything but arithmetic;
        - `next_job` that returns None has changed nothing; ask again after the next `finish`;
        - `observe` of a resource that the trial has reported already is ignored;
        - `finish` ends a job once; ending it again raises;
        - a failed or lost trial is never continued and never the incumbent;
        - the order of `observe` calls between two `next_job` calls does not matter for trials' own records.

    Subclasses implement `_propose`, and `_on_record`, `_on_report`, `_on_finish`, `_on_warm_start` where they keep
    books of their own. The first job of a trial without a parent is made by `_new_trial`, which lets enqueued
    configurations go first.
    """

    name: ClassVar[str]
    settings_model: ClassVar[type[Settings]] = Settings
    # Whether a new trial may begin from another trial's checkpoint (`Job.parent`).
    branches: ClassVar[bool] = False

    def __init__(self, problem: Problem, settings: Settings | None = None) -> None:
        self.problem = problem
        self.settings = self.settings_model() if settings is None else settings
        self.trials: list[Trial] = []
        self.jobs: list[Job] = []
        self.running: dict[int, Job] = {}
        self.queue: list[Config] = []
        self.earlier: list[Earlier] = []
        self._incumbents = _Incumbents(self.trials, problem.objectives)

    def next_job(self) -> Job | None:
        """The next job to start, or None while there is nothing to start until a running job ends."""
        job = self._propose()
        if job is not None:
            self._record(job)
        return job

    @property
    def exhausted(self) -> bool:
        """Whether `next_job` would return None now; to ask changes nothing, and takes as long as a decision."""
        return self._propose() is None

    def replay(self, job: Job) -> None:
        """Take a job from the journal into the books, as if `next_job` had just returned it.

        Raises:
            OptimizerError: its id or trial is not the one that comes next.
        """
        self._record(job)

    def observe(self, report: Report) -> Verdict:
        """Take in a measurement.

        Raises:
            OptimizerError: no such trial.
        """
        if not 0 <= report.trial < len(self.trials):
            raise OptimizerError(f"report for trial {report.trial}: this study has {len(self.trials)} trials")
        trial = self.trials[report.trial]
        if report.resource in trial.reports:
            return Verdict.CONTINUE
        trial.reports[report.resource] = dict(report.metrics)
        self._incumbents.on_report(trial, report.resource)
        return self._on_report(trial, report)

    def finish(self, job_id: int, end: JobEnd) -> None:
        """End a job.

        Raises:
            OptimizerError: it is not running.
        """
        if job_id not in self.running:
            raise OptimizerError(f"job {job_id} is not running")
        job = self.running.pop(job_id)
        trial = self.trials[job.trial]
        trial.running = None
        trial.end = end
        if end is JobEnd.COMPLETED:
            trial.completed = job.end
        self._incumbents.on_finish(trial)
        self._on_finish(job, trial, end)

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """The next new trial has this configuration, whatever the optimizer would have chosen.

        The optimizer still decides when it starts a trial and how far that runs, so a promotion may come first, or a
        copy of another trial, which is no new configuration but a changed one.
        Those enqueued earlier go first; one that has been tried before is tried again. This is a fact like a report:
        when a journal is replayed, it is enqueued in the same place.

        Raises:
            SpaceError: the configuration is not one of the space; names what is wrong.
        """
        self.queue.append(self.problem.space.validate_config(config))

    def warm_start(self, earlier: Sequence[Earlier], retry: int = 1) -> None:
        """Learn from finished trials of another study, before the first job.

        The best of them are enqueued: every optimizer profits from a good start. Those with a model also learn from
        all others. They are no trials of this study, so they never become incumbents, and may be tried again.

        Args:
            retry: how many of the best to try again, at most; those measured at the largest resource are compared.
        Raises:
            OptimizerError: a job was given out already, or a report lacks a finite objective.
            SpaceError: a configuration is not one of the space.
        """
        if self.jobs:
            raise OptimizerError(f"warm_start: must come before the first job; {len(self.jobs)} were given out")
        trials = [replace(trial, config=self.problem.space.validate_config(trial.config)) for trial in earlier]
        for number, trial in enumerate(trials):
            for resource, metrics in trial.reports.items():
                for name in (objective.metric for objective in self.problem.objectives):
                    if not math.isfinite(metrics.get(name, math.nan)):
                        raise OptimizerError(
                            f'warm_start: trial {number} has no finite "{name}" at resource {resource:g}; leave it out'
                        )
        self.earlier.extend(trials)
        for trial in _best_of(trials, self.problem.objectives)[:retry]:
            self.enqueue(trial.config)
        self._on_warm_start(trials)

    def best(self) -> list[Incumbent]:
        """The incumbent (one objective) or the Pareto set (several), best first.

        Only measurements at the largest resource to which a job has completed are compared, so that a lucky early
        report never beats a whole training. Among them those that keep all constraints come first.
        """
        return self._incumbents.best()

    def rng(self, *stream: int) -> np.random.Generator:
        """A random generator that depends on the seed and on `stream` alone: one decision, one stream."""
        return np.random.default_rng([self.problem.seed, *stream])

    def copyable(self) -> Mapping[int, float]:
        """Trials from which others may still begin, and the resource of the state with which they would.

        A state that this does not name is not asked for by any later job, but for the trial's own newest.
        """
        return {}

    @property
    def may_start_trial(self) -> bool:
        """Whether the budget allows a new configuration."""
        return self.problem.max_trials is None or len(self.trials) < self.problem.max_trials

    def _new_trial(self, config: Config, end: float, **fields: Any) -> Job:
        if self.queue:
            config, fields["why"] = self.queue[0], {"rule": "enqueued", "waiting": len(self.queue) - 1}
        return Job(id=len(self.jobs), trial=len(self.trials), config=config, start=0.0, end=end, **fields)

    def _continue(self, trial: Trial, start: float, end: float, **fields: Any) -> Job:
        return Job(id=len(self.jobs), trial=trial.id, config=trial.config, start=start, end=end, **fields)

    def _record(self, job: Job) -> None:
        if job.id != len(self.jobs):
            raise OptimizerError(f"job {job.id} is out of order; {len(self.jobs)} comes next")
        if job.trial > len(self.trials):
            raise OptimizerError(f"trial {job.trial} is out of order; {len(self.trials)} comes next")
        if job.trial == len(self.trials):
            self.trials.append(Trial(id=job.trial, config=job.config))
            # Copies of other trials are no new configurations, though one may happen to be the same.
            if self.queue and job.parent is None:
                del self.queue[0]
        trial = self.trials[job.trial]
        if trial.running is not None:
            raise OptimizerError(f"trial {job.trial} already runs as job {trial.running}")
        self.jobs.append(job)
        self.running[job.id] = job
        trial.running = job.id
        self._on_record(job)

    @abstractmethod
    def _propose(self) -> Job | None:
        """Decide the next job without changing any state that a later decision reads."""

    def _on_warm_start(self, earlier: Sequence[Earlier]) -> None:
        """Trials of another study came in; their configurations are valid and their metrics complete."""

    def _on_record(self, job: Job) -> None:
        """A job was given out."""

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        """A new measurement stands in `trial.reports`."""
        return Verdict.CONTINUE

    def _on_finish(self, job: Job, trial: Trial, end: JobEnd) -> None:
        """A job ended."""


def losses(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The objectives to optimise as losses: smaller is better; constraints left out."""
    return tuple(o.sign * metrics[o.metric] for o in objectives if o.bound is None)


def violation(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> float:
    """Sum of how far constraints are missed; 0 when all hold."""
    return sum(max(0.0, o.sign * (metrics[o.metric] - o.bound)) for o in objectives if o.bound is not None)


def _best_of(earlier: Sequence[Earlier], objectives: Sequence[Objective]) -> list[Earlier]:
    """Those measured at the largest resource, best first."""
    sound = [trial for trial in earlier if trial.reports and not trial.failed]
    top = max((max(trial.reports) for trial in sound), default=0.0)
    measured = [trial for trial in sound if top in trial.reports]
    return sorted(measured, key=lambda t: (violation(t.reports[top], objectives), losses(t.reports[top], objectives)))


class _Incumbents:
    """The incumbent or the Pareto set, kept up as facts come in: asking for it costs the same after many trials.

    It is the best of what was measured at one level, the largest resource to which a job has completed. A measurement
    there is weighed against the best so far. All trials are looked at again only when the level moves, when one that
    was measured there fails, and until the first job completes.
    """

    def __init__(self, trials: Sequence[Trial], objectives: Sequence[Objective]) -> None:
        self._trials = trials
        self._objectives = objectives
        self._level = 0.0
        self._best: list[Incumbent] = []
        self._new: list[Incumbent] = []
        self._stale = False

    def best(self) -> list[Incumbent]:
        if self._stale:
            self._look_at_all()
        elif self._new:
            self._best = _front([*self._best, *self._new], self._objectives)
        self._new = []
        return list(self._best)

    def on_report(self, trial: Trial, resource: float) -> None:
        if not self._level or trial.completed > self._level:
            self._stale = True
        elif resource == self._level and not trial.failed:
            self._new.append(Incumbent(trial.id, trial.config, resource, trial.reports[resource]))

    def on_finish(self, trial: Trial) -> None:
        counted = not self._level or self._level == trial.completed or self._level in trial.reports
        if trial.completed > self._level or (trial.failed and counted):
            self._stale = True

    def _look_at_all(self) -> None:
        sound = [trial for trial in self._trials if trial.reports and not trial.failed]
        self._level = max((trial.completed for trial in sound), default=0.0)
        top = self._level or max((trial.resource for trial in sound), default=0.0)
        measured = [Incumbent(t.id, t.config, top, t.reports[top]) for t in sound if top in t.reports]
        self._best = _front(measured, self._objectives)
        self._stale = False


def _front(measured: Sequence[Incumbent], objectives: Sequence[Objective]) -> list[Incumbent]:
    """The best, or the Pareto set, best first; those that miss the constraints more than another are left out."""
    if not measured:
        return []
    missed = [violation(incumbent.metrics, objectives) for incumbent in measured]
    least = min(missed)
    allowed = [incumbent for incumbent, miss in zip(measured, missed, strict=True) if miss <= least]
    values = {incumbent.trial: losses(incumbent.metrics, objectives) for incumbent in allowed}
    ranked = sorted(allowed, key=lambda incumbent: (values[incumbent.trial], incumbent.trial))
    if len(values[ranked[0].trial]) == 1:
        return ranked[:1]
    front: list[Incumbent] = []
    for incumbent in ranked:
        # Whoever dominates comes earlier in this order.
        if not any(_dominates(values[other.trial], values[incumbent.trial]) for other in front):
            front.append(incumbent)
    return front


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))

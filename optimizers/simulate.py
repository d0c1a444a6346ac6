"""A discrete-event clock that drives any optimizer over known learning curves.

Hours of tuning on hundreds of workers pass in seconds. The optimizer can't tell: the simulator calls the same four
verbs, in one thread, as the real runner does. A promoted leg resumes from its checkpoint and pays for the additional
resource alone.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import OptimizerError
from optimizers.protocol import Incumbent, Job, JobEnd, Optimizer, Report, Verdict, losses, violation
from tunewright.space import Config


@dataclass(frozen=True)
class Curve:
    """What a configuration does as it learns.

    Attributes:
        resources: (n,) float64, increasing, above 0.
        seconds: (n,) float64, time from the start of the trial until each resource is reached; not decreasing.
        metrics: name -> (n,) float64 measured there.
    """

    resources: NDArray[np.float64]
    seconds: NDArray[np.float64]
    metrics: Mapping[str, NDArray[np.float64]]

    def seconds_at(self, resource: float) -> float:
        """Time from the start until `resource`, linear between points and from (0, 0)."""
        return float(np.interp(resource, np.r_[0.0, self.resources], np.r_[0.0, self.seconds]))

    def leg(self, start: float, end: float) -> list[tuple[float, float, dict[str, float]]]:
        """The points in (start, end] as (resource, seconds since `start`, metrics), in order; the last is at `end`.

        Raises:
            OptimizerError: the curve ends before `end`.
        """
        if end > self.resources[-1] * (1 + 1e-9):
            raise OptimizerError(f"curve ends at resource {self.resources[-1]:g}, the leg at {end:g}")
        inside = self.resources[(self.resources > start * (1 + 1e-9)) & (self.resources < end * (1 - 1e-9))]
        begin = self.seconds_at(start)
        return [
            (
                resource,
                self.seconds_at(resource) - begin,
                {name: float(np.interp(resource, self.resources, values)) for name, values in self.metrics.items()},
            )
            for resource in (*inside.tolist(), end)
        ]


class CurveTable(Protocol):
    """Learning curves by configuration: recorded ones, or a formula."""

    def curve(self, config: Config) -> Curve:
        """The whole curve; the same configuration has the same curve."""


@dataclass(frozen=True)
class Ended:
    """A job ended."""

    job: int
    end: JobEnd


@dataclass(frozen=True)
class Enqueued:
    """Somebody asked for a configuration."""

    config: Config


JournalEntry: TypeAlias = Job | Report | Ended | Enqueued


@dataclass(frozen=True)
class Event:
    """A journal entry and the simulated second at which it was written."""

    seconds: float
    entry: JournalEntry


@dataclass(frozen=True)
class Progress:
    """A new incumbent: `resource`, `violation` and `loss` (of the first objective) as `Optimizer.best` ranks them."""

    seconds: float
    trial: int
    resource: float
    violation: float
    loss: float


@dataclass
class Trace:
    """All that happened in a simulation.

    Attributes:
        events: in order of time; their entries are the study's journal.
        progress: incumbents over time; empty with several objectives to optimise.
        busy: worker-seconds spent in legs.
        resource: resource spent in legs, failed ones up to where they failed.
        seconds: when the last job ended.
    """

    workers: int
    events: list[Event] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    best: list[Incumbent] = field(default_factory=list)
    busy: float = 0.0
    resource: float = 0.0
    seconds: float = 0.0

    @property
    def journal(self) -> list[JournalEntry]:
        return [event.entry for event in self.events]

    @property
    def jobs(self) -> list[Job]:
        return [event.entry for event in self.events if isinstance(event.entry, Job)]

    @property
    def reports(self) -> list[Report]:
        return [event.entry for event in self.events if isinstance(event.entry, Report)]

    @property
    def utilisation(self) -> float:
        """Share of the workers' time spent in legs, in [0, 1]."""
        return self.busy / (self.workers * self.seconds) if self.seconds else 0.0

    def loss_at(self, seconds: float) -> float:
        """Loss of the incumbent at a time; infinite before the first, and while it violates a constraint."""
        reached = [step for step in self.progress if step.seconds <= seconds]
        return reached[-1].loss if reached and not reached[-1].violation else math.inf


@dataclass(frozen=True)
class Failures:
    """Injected failures: each job fails with a probability, at a random part of its leg; drawn from seed and job id.

    Attributes:
        probability: of each job, in [0, 1].
        ends: how a failing job ends, drawn evenly.
    """

    probability: float
    seed: int = 0
    ends: Sequence[JobEnd] = (JobEnd.FAILED,)

    def strike(self, job: Job) -> tuple[float, JobEnd] | None:
        """The part of the leg after which the job ends, and how; None lets it live."""
        rng = np.random.default_rng([self.seed, job.id])
        if rng.random() >= self.probability:
            return None
        return float(rng.random()), self.ends[int(rng.integers(len(self.ends)))]


def simulate(
    optimizer: Optimizer,
    table: CurveTable,
    *,
    workers: int = 1,
    max_seconds: float = math.inf,
    max_jobs: int | None = None,
    decision_seconds: float = 0.0,
    start_seconds: float = 0.0,
    clock: Callable[[], float] | None = None,
    failures: Failures | None = None,
) -> Trace:
    """Run an optimizer until it has nothing left to start, or a limit is met.

    Decisions are made one after the other; a worker waits while its job is being decided.

    Args:
        max_seconds: simulated time after which no job starts; running ones go on to their ends.
        max_jobs: jobs after which no other starts; needed where neither optimizer nor time sets an end.
        decision_seconds: simulated time that each decision takes.
        start_seconds: simulated time that each leg takes before it trains anything.
        clock: when given, the real seconds that it shows each decision to take are added.
        failures: which jobs fail.
    Raises:
        OptimizerError: no worker, no limit at all, or a leg beyond its curve.
    """
    if workers < 1:
        raise OptimizerError(f"workers: {workers} must be at least 1")
    if optimizer.problem.max_trials is None and max_jobs is None and math.isinf(max_seconds):
        raise OptimizerError("simulation: give the problem max_trials, or set max_jobs or max_seconds")
    run = _Run(optimizer, table, Trace(workers), failures or Failures(0.0), start_seconds)
    decided = 0.0
    while True:
        while len(optimizer.running) < workers and run.now < max_seconds and len(optimizer.jobs) != max_jobs:
            before = clock() if clock else 0.0
            job = optimizer.next_job()
            decided = max(decided, run.now) + decision_seconds + (clock() - before if clock else 0.0)
            if job is None:
                break
            run.start(job, decided)
        if not run.advance():
            break
    run.trace.seconds = run.now
    run.trace.best = optimizer.best()
    return run.trace


class _Run:
    """The event queue of one simulation."""

    def __init__(
        self, optimizer: Optimizer, table: CurveTable, trace: Trace, failures: Failures, start_seconds: float
    ) -> None:
        self.optimizer = optimizer
        self.table = table
        self.trace = trace
        self.failures = failures
        self.start_seconds = start_seconds
        self.now = 0.0
        # Ties in time are broken by the order in which events were scheduled.
        self._queue: list[tuple[float, int, Report | Ended]] = []
        self._order = count()
        self._started: dict[int, float] = {}
        self._goals = sum(objective.bound is None for objective in optimizer.problem.objectives)

    def start(self, job: Job, at: float) -> None:
        """Schedule a leg's reports and its end."""
        self.trace.events.append(Event(self.now, job))
        self._started[job.id] = at
        leg = self.table.curve(job.config).leg(job.start, job.end)
        points = [(resource, self.start_seconds + seconds, metrics) for resource, seconds, metrics in leg]
        duration, end = points[-1][1], JobEnd.COMPLETED
        if strike := self.failures.strike(job):
            part, end = strike
            duration *= part
            points = [point for point in points[:-1] if point[1] <= duration]
        for resource, seconds, metrics in points:
            self._schedule(at + seconds, Report(job.id, job.trial, resource, metrics, seconds))
        self._schedule(at + duration, Ended(job.id, end))

    def advance(self) -> bool:
        """Deliver the next event; False when none is left."""
        while self._queue:
            seconds, _, entry = heapq.heappop(self._queue)
            # Of a job that was stopped: it never happens, and takes no time.
            if entry.job not in self.optimizer.running:
                continue
            self.now = seconds
            self._deliver(entry)
            return True
        return False

    def _schedule(self, seconds: float, entry: Report | Ended) -> None:
        heapq.heappush(self._queue, (seconds, next(self._order), entry))

    def _deliver(self, entry: Report | Ended) -> None:
        self.trace.events.append(Event(self.now, entry))
        if isinstance(entry, Ended):
            self._end(entry)
        elif self.optimizer.observe(entry) is Verdict.STOP:
            stopped = Ended(entry.job, JobEnd.CANCELLED)
            self.trace.events.append(Event(self.now, stopped))
            self._end(stopped)

    def _end(self, ended: Ended) -> None:
        job = self.optimizer.running[ended.job]
        self.optimizer.finish(ended.job, ended.end)
        spent = self.now - self._started.pop(job.id)
        self.trace.busy += spent
        trial = self.optimizer.trials[job.trial]
        whole = job.end if ended.end is JobEnd.COMPLETED else max(trial.resource, job.start)
        self.trace.resource += whole - job.start
        if self._goals == 1:
            self._progress(job, ended.end)

    def _progress(self, job: Job, end: JobEnd) -> None:
        last = self.trace.progress[-1] if self.trace.progress else None
        if end is JobEnd.COMPLETED:
            found = self._step(job.trial, job.end, self.optimizer.trials[job.trial].reports[job.end])
            if last is None or _merit(found) < _merit(last):
                self.trace.progress.append(found)
        elif last is not None and last.trial == job.trial:
            # The incumbent itself failed on a later leg: the next best takes its place.
            for best in self.optimizer.best():
                self.trace.progress.append(self._step(best.trial, best.resource, best.metrics))

    def _step(self, trial: int, resource: float, metrics: Mapping[str, float]) -> Progress:
        objectives = self.optimizer.problem.objectives
        return Progress(self.now, trial, resource, violation(metrics, objectives), losses(metrics, objectives)[0])


def _merit(step: Progress) -> tuple[float, float, float]:
    """Order of `Optimizer.best`: more resource, then less violation, then less loss."""
    return -step.resource, step.violation, step.loss


def replay(optimizer: Optimizer, journal: Iterable[JournalEntry]) -> None:
    """Bring a new optimizer to the state in which a journal was written.

    Raises:
        OptimizerError: the journal is out of order.
    """
    for entry in journal:
        if isinstance(entry, Job):
            optimizer.replay(entry)
        elif isinstance(entry, Report):
            optimizer.observe(entry)
        elif isinstance(entry, Enqueued):
            optimizer.enqueue(entry.config)
        else:
            optimizer.finish(entry.job, entry.end)

"""Where runners write what happened: facts, their order, and the protocol that a store implements.

What may be relied on:
    - `commit` writes a whole batch or nothing, and returns only when it is durable;
    - committing the same batch again changes nothing, so a commit whose outcome is unknown can be repeated;
    - a journal whose epoch is no longer the newest raises `Fenced` and writes nothing: there is one writer per study;
    - `load` returns facts in the order in which the optimizer saw them;
    - what people enqueue is handed to the runner by `enqueued` until a committed fact tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from optimizers.protocol import Earlier, Incumbent, Job, JobEnd, Report
from tunewright.errors import TunewrightError
from tunewright.space import Config
from tunewright.study import StudySpec, StudyState, TrialState


class Fenced(TunewrightError):
    """Another runner owns the study now; this one must stop without writing anything more."""


class JournalUnavailable(TunewrightError):
    """The store cannot be written at the moment (down, locked, disk full); the same batch may be tried again."""


class Wanted(StrEnum):
    """What people want of a study."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


@dataclass(frozen=True)
class JobStarted:
    """The optimizer gave out a job.

    Attributes:
        enqueued: number of the configuration that its trial takes from the queue, if it does.
    """

    job: Job
    enqueued: int | None = None


@dataclass(frozen=True)
class Reported:
    """A report came in; `late` ones were not shown to the optimizer."""

    report: Report
    attempt: int
    late: bool = False


@dataclass(frozen=True)
class JobEnded:
    """A job ended.

    Attributes:
        trial_state: where that leaves its trial.
        told: which attempt said so from outside, and a digest of what it said: `<attempt>:<digest>`.
    """

    job: int
    trial: int
    end: JobEnd
    trial_state: TrialState
    problem: str | None = None
    traceback: str | None = None
    told: str | None = None


@dataclass(frozen=True)
class Enqueued:
    """The optimizer was told of a configuration that somebody wants to be tried; `number` counts up from 0."""

    number: int
    config: Config


Fact: TypeAlias = JobStarted | Reported | JobEnded | Enqueued


@dataclass(frozen=True)
class AttemptStarted:
    """A worker began (or began again) to run a job.

    Attributes:
        key, digest: of the request by which it got the job, where it asked for it with one.
        losses, failures: how often the job was lost, and its program failed, before this attempt.
    """

    job: int
    attempt: int
    worker: str
    key: str | None = None
    digest: str | None = None
    losses: int = 0
    failures: int = 0


@dataclass(frozen=True)
class Printed:
    """What a trial has printed since the last time; the end of its log so far."""

    trial: int
    text: str


@dataclass(frozen=True)
class Status:
    """Where the study as a whole stands; replaces what was said before."""

    state: StudyState
    active_seconds: float
    reason: str | None = None
    counts: Mapping[TrialState, int] = field(default_factory=dict)
    progress: float = 0.0
    seconds_left: float | None = None
    best: Sequence[Incumbent] = ()
    cluster_seconds: float = 0.0


@dataclass(frozen=True)
class Batch:
    """What one round of the loop adds.

    Attributes:
        number: one above the batch before.
        at: wall-clock time, seconds since the epoch.
        facts: in order.
        printed: in order; kept for people, and not loaded again.
        improved: the incumbent changed in this batch.
    """

    number: int
    at: float
    facts: Sequence[Fact]
    attempts: Sequence[AttemptStarted]
    status: Status
    improved: bool = False
    printed: Sequence[Printed] = ()

    @property
    def only_printed(self) -> bool:
        """Whether trials have printed something and nothing else has happened."""
        return bool(self.printed) and not self.facts and not self.attempts


@dataclass(frozen=True)
class StudyRecord:
    """Everything that a new runner needs to go on.

    Attributes:
        batch: number of the last batch committed.
        attempts: job id -> attempts so far, for jobs that have not ended.
        begun: the last attempts of jobs that have not ended, and of all that were asked for with a key.
        begun_at: job id -> when that attempt was written down, wall-clock time.
        earlier: trials of other studies with which it was warm-started.
        improved_at: trials that were started until the incumbent changed last.
    """

    study: str
    spec: StudySpec
    state: StudyState
    wanted: Wanted
    active_seconds: float
    batch: int
    facts: Sequence[Fact]
    attempts: Mapping[int, int]
    earlier: Sequence[Earlier] = ()
    cluster_seconds: float = 0.0
    improved_at: int = 0
    begun: Sequence[AttemptStarted] = ()
    begun_at: Mapping[int, float] = field(default_factory=dict)


class Journal(Protocol):
    """One study's journal, held under one epoch."""

    def load(self) -> StudyRecord:
        """Everything written so far.

        Raises:
            JournalUnavailable: as `commit`.
        """

    def commit(self, batch: Batch) -> None:
        """Write a batch.

        Raises:
            Fenced: another epoch holds the study.
            JournalUnavailable: nothing was written (or it is not known); commit the same batch again.
        """

    def heartbeat(self) -> Wanted:
        """Renew the lease and read what people want.

        Raises:
            Fenced, JournalUnavailable: as `commit`.
        """

    def enqueued(self) -> Sequence[Enqueued]:
        """What people enqueued and no fact tells of yet, in order.

        Raises:
            JournalUnavailable: as `commit`.
        """

    def share(self, running: float, wanted: int) -> int | None:
        """Claim a share of the cluster.

        Args:
            running: legs that ran since the last claim, on average.
            wanted: legs that would run now if they might, those that run among them.
        Returns:
            Legs that may run now; None while nobody has said so.
        Raises:
            Fenced, JournalUnavailable: as `commit`.
        """

    def release(self) -> None:
        """Give the lease up; the study's runner ends."""


def facts_summary(batch: Batch) -> dict[str, Any]:
    """The body of a batch's `progress` event: plain JSON values."""
    started = [fact.job for fact in batch.facts if isinstance(fact, JobStarted)]
    reports = [fact for fact in batch.facts if isinstance(fact, Reported)]
    ended = [fact for fact in batch.facts if isinstance(fact, JobEnded)]
    return {
        "jobs": [
            {
                "number": job.id,
                "trial": job.trial,
                "config": job.config,
                "start": job.start,
                "end": job.end,
                "rung": job.rung,
                "bracket": job.bracket,
                "parent": job.parent,
                "why": dict(job.why),
            }
            for job in started
        ],
        "reports": [[r.report.trial, r.report.resource, dict(r.report.metrics)] for r in reports],
        "ended": [
            {"job": e.job, "trial": e.trial, "end": e.end, "trial_state": e.trial_state, "problem": e.problem}
            for e in ended
        ],
        "counts": dict(batch.status.counts),
        "progress": batch.status.progress,
        "seconds_left": batch.status.seconds_left,
        "best": [best_json(incumbent) for incumbent in batch.status.best],
    }


def best_json(incumbent: Incumbent) -> dict[str, Any]:
    """An incumbent as plain JSON values."""
    return {
        "trial": incumbent.trial,
        "config": dict(incumbent.config),
        "resource": incumbent.resource,
        "metrics": dict(incumbent.metrics),
    }

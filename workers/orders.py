"""What a study and its legs say to each other: orders, replies to reports, results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from optimizers.protocol import Job
from tunewright.study import MAX_PARALLEL, StudySpec
from workers.copies import Released
from workers.journal import AttemptStarted, StudyRecord

# A stopped leg gets half of this to save its state and end by itself; after the whole, its worker is killed.
STOP_GRACE_SECONDS = 30.0
# Rounds of a study's loop follow each other within a second or two. After a longer pause its own process was stopped,
# or its store away, and what others said meanwhile has not been read yet.
DEAF_SECONDS = 10.0


@dataclass(frozen=True)
class LegOrder:
    """Everything a worker needs to run one attempt of a job.

    Attributes:
        keep: resources at which states of the trial stay, beside its newest: other trials may begin from them, or it
            is the best there.
        most: what the trial's own state may have been trained to at most. One beyond that was saved in a time of which
            the journal knows nothing, since its store was put back to an earlier day: by a trial of the same number
            with another configuration, maybe.
    """

    study: str
    job: Job
    attempt: int
    seed: int
    spec: StudySpec
    keep: frozenset[float] = frozenset()
    most: float = math.inf


class Outcome(StrEnum):
    """How an attempt ended. `lost`: the worker or the trial's process was killed from outside."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class LegResult:
    """An attempt's end.

    Attributes:
        log: what the trial printed since its last report.
        told: what it was told by, as `JobEnded.told`.
    """

    outcome: Outcome
    problem: str | None = None
    traceback: str | None = None
    log: str = ""
    told: str | None = None


class Reply(StrEnum):
    """Answer to a leg's reports: go on, save and stop, or drop everything (the leg is not wanted any more)."""

    CONTINUE = "continue"
    STOP = "stop"
    ABANDON = "abandon"


class Launcher:
    """Base of what starts legs somewhere else. All methods return at once; the loop calls them, in its own thread.

    Attributes:
        drains: nobody but whoever runs a leg has its state, so a pause waits until the legs that run have ended.
    """

    drains: ClassVar[bool] = False

    def restore(self, record: StudyRecord) -> None:
        """What earlier runners have written; told once, before anything else."""

    def room(self) -> int:
        """Legs that may run now, those included that do; the study's `parallel` holds beside it.

        Asked in every round of the loop: `StudyLoop.wake` begins one when the room has grown.
        """
        return MAX_PARALLEL

    def assign(self, job: int, attempt: int) -> AttemptStarted | None:
        """Who will run an attempt for which there is room, where that is settled before it is started."""
        return None

    def start(self, order: LegOrder) -> None:
        """Start an attempt, which is written down by now; its end comes back through `StudyLoop.ended`."""
        raise NotImplementedError

    def resume(self, order: LegOrder) -> bool:
        """Whether an attempt goes on that an earlier runner had started, or that was taken for lost."""
        return False

    def kill(self, job: int, attempt: int) -> None:
        """End an attempt by force; its end comes back as lost or stopped."""
        raise NotImplementedError

    def release(self, study: str, released: Released) -> None:
        """Remove states that nobody needs any more; what fails is only reported."""

    def close(self) -> None:
        """The loop has ended, in whatever way."""

    def end_round(self) -> None:
        """All that came in has been taken in and what follows from it started; at least every second."""


class Link(Protocol):
    """A leg's way to its study; waits until what it carries is durable: reports, and what the trial has printed."""

    def report(
        self, job: int, attempt: int, worker: str, reports: Sequence[tuple[float, Mapping[str, float]]], log: str
    ) -> Reply: ...

"""What a study and its legs say to each other: orders, replies to reports, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from optimizers.protocol import Job
from tunewright.study import StudySpec
from workers.copies import Released

# A stopped leg gets half of this to save its state and end by itself; after the whole, its worker is killed.
STOP_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class LegOrder:
    """Everything a worker needs to run one attempt of a job.

    Attributes:
        keep: resources at which states of the trial stay, beside its newest: other trials may begin from them.
    """

    study: str
    job: Job
    attempt: int
    seed: int
    spec: StudySpec
    keep: frozenset[float] = frozenset()


class Outcome(StrEnum):
    """How an attempt ended. `lost`: the worker or the trial's process was killed from outside."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class LegResult:
    """An attempt's end; `log` is what the trial printed since its last report."""

    outcome: Outcome
    problem: str | None = None
    traceback: str | None = None
    log: str = ""


class Reply(StrEnum):
    """Answer to a leg's reports: go on, save and stop, or drop everything (the leg is not wanted any more)."""

    CONTINUE = "continue"
    STOP = "stop"
    ABANDON = "abandon"


class Launcher(Protocol):
    """Starts legs somewhere else; all methods return at once."""

    def start(self, order: LegOrder) -> None:
        """Start an attempt; its end comes back through `StudyLoop.ended`."""

    def kill(self, job: int, attempt: int) -> None:
        """End an attempt by force; its end comes back as lost or stopped."""

    def release(self, study: str, released: Released) -> None:
        """Remove states that nobody needs any more; what fails is only reported."""


class Link(Protocol):
    """A leg's way to its study; waits until what it carries is durable: reports, and what the trial has printed."""

    def report(
        self, job: int, attempt: int, worker: str, reports: Sequence[tuple[float, Mapping[str, float]]], log: str
    ) -> Reply: ...

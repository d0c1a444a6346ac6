"""What is said at a study's desk: by clients who train elsewhere, and to them.

Everything here travels between processes as it stands. What a client says wrongly is answered (`Refused`), not raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from optimizers.protocol import Job
from tunewright.study import Objective
from workers.orders import Outcome, Reply

Measured: TypeAlias = tuple[float, Mapping[str, float]]


@dataclass(frozen=True)
class Ask:
    """A wish for jobs.

    Attributes:
        worker: the client's name, for people.
        count: jobs wanted at most.
        wait: seconds to wait while there is none; 0 is answered at once.
        key: the same key gives the same jobs; None: every wish is a new one.
        digest: of what was asked with the key; another one under the same key is a conflict.
    """

    worker: str
    count: int = 1
    wait: float = 0.0
    key: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Finish:
    """An attempt is over; `digest` is that of the whole of what was said then, to know it when it is said again."""

    outcome: Outcome
    digest: str
    problem: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Tell:
    """What a client says of its attempt at a job: reports, that it is over, or, with neither, that it is alive.

    Attributes:
        reports: in order; each resource counts once.
        ask: what the client wants next.
    """

    job: int
    attempt: int
    reports: tuple[Measured, ...] = ()
    finish: Finish | None = None
    ask: Ask | None = None


Word: TypeAlias = Ask | Tell


@dataclass(frozen=True)
class GivenJob:
    """A job that a client has now.

    Attributes:
        seed: the trial's seed, the same in all its jobs.
        lease_seconds: how long it may be silent.
    """

    job: Job
    attempt: int
    seed: int
    lease_seconds: float


@dataclass(frozen=True)
class Given:
    """The jobs that were had; none while there is nothing to do, or once the study winds down."""

    jobs: tuple[GivenJob, ...] = ()


class Why(StrEnum):
    """Kinds of refusals: no such job, a wrong value, something else was said before, nobody is at the desk."""

    UNKNOWN = "unknown"
    INVALID = "invalid"
    CONFLICT = "conflict"
    CLOSED = "closed"


@dataclass(frozen=True)
class Refused:
    """Nothing was taken; says why in words, and which field is wrong if one is."""

    why: Why
    message: str = ""
    field: str = ""


@dataclass(frozen=True)
class Told:
    """What was said is durable.

    Attributes:
        reply: what the client should do.
        ended: whether what it said has ended the job; None where it did not say that it was over.
        given: what it asked for beside.
    """

    reply: Reply
    ended: bool | None = None
    given: Given | Refused | None = None


Answer: TypeAlias = Given | Told | Refused


def wrong_report(
    end: float, objectives: Sequence[Objective], resource: float, metrics: Mapping[str, float]
) -> tuple[str, str] | None:
    """The field of a report of a job with this end that is wrong, and why; None when it may be taken."""
    if not 0 < resource <= end:
        return "resource", f"{resource:g} must be above 0 and at most {end:g}, the end of the job"
    for objective in objectives:
        if objective.metric not in metrics:
            reported = ", ".join(metrics)[:200] or "nothing"
            return "metrics", f'objective "{objective.metric}" is missing; reported: {reported}'
    return None

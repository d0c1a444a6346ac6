"""What comes into a study's loop from other threads, and what the loop knows of a leg that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from optimizers.protocol import Job, Verdict
from workers.orders import LegResult, Reply


@dataclass(frozen=True)
class Reports:
    """Reports of a leg, in order, and what it printed; without any of them it says that it is alive.

    Attributes:
        answer: done once they are durable.
    """

    job: int
    attempt: int
    worker: str
    reports: Sequence[tuple[float, Mapping[str, float]]]
    log: str = ""
    answer: Future[Reply] = field(default_factory=Future)


@dataclass(frozen=True)
class Ended:
    """An attempt is over, in whatever way.

    Attributes:
        answer: done once that is durable: whether it has ended the job, or the attempt at least.
    """

    job: int
    attempt: int
    result: LegResult
    answer: Future[bool] = field(default_factory=Future)


# What is callable is called in the loop; what it returns comes next.
Message: TypeAlias = Reports | Ended | Callable[[], "Sequence[Message] | None"]


@dataclass
class Live:
    """A job that has not ended.

    Attributes:
        attempt: of the leg that runs, or of the next one that will.
        losses, failures: how often its leg was lost, and its program failed.
        began: when its leg was first heard of, by this loop's clock; None while none runs.
        resumed: its leg had begun before that.
        begun: whether any attempt of it was ever heard of, so that states may have been saved since it was given out.
        stop: why it was asked to stop, if it was; and since when.
    """

    job: Job
    attempt: int
    losses: int = 0
    failures: int = 0
    began: float | None = None
    resumed: bool = False
    begun: bool = False
    stop: Verdict | None = None
    stop_since: float | None = None

    def seconds(self, attempt: int, now: float) -> float | None:
        """Spent on the job until now; unknown of a later attempt, which goes on from what the one before had saved."""
        unknown = self.began is None or self.resumed or not self.attempt == attempt == 1
        return None if unknown or self.began is None else now - self.began

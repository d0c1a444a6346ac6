"""One interval, second by second: the server's counters, the objective, and the test that ends it early."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from db_knobs.database import Database
from db_knobs.errors import StatementTimeout, StatisticsReset
from db_knobs.statistics import Metrics, Snapshot, Workload, between, workload_between
from optimizers.onlinetune.sequential import SequentialTest
from tunewright.session import SessionSpec

# Measures of an objective -> what `Metrics` calls them.
_METRICS = {
    "throughput": "throughput",
    "latency_mean": "latency_mean_ms",
    "latency_p95": "latency_p95_ms",
    "latency_p99": "latency_p99_ms",
}
SECOND = 1.0
# New settings take hold, and counters of what ran before come in, for so long: seconds, and share of the interval.
SETTLE_SECONDS, SETTLE_SHARE = 1.0, 0.1
# Seconds by which the server's clock and ours may disagree between two measurements.
CLOCK_SLACK = 1.0
# Share of an interval without any request from which on the rest of it says nothing.
MOST_IDLE = 0.5


class Clock(Protocol):
    """Time, as a session sees it."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


@dataclass(frozen=True)
class Watched:
    """What was seen.

    Attributes:
        metrics: of the whole; None where the server did not answer once.
        performance: of the whole, see `SessionSpec.performance`; None where a measure is missing.
        seconds: that it took.
        samples: performance by the second, of those in which something was finished.
        ran: statements that ran, without their texts.
        aborted: the test raised an alarm, or the server stopped answering under new settings.
        idle: share of its seconds in which nothing was finished and nobody waited for the server.
    """

    metrics: Metrics | None
    performance: float | None
    seconds: float
    samples: Sequence[float]
    ran: Workload
    aborted: bool
    idle: float


def performance(spec: SessionSpec, metrics: Metrics) -> float | None:
    """The objective, of what was measured."""
    return spec.performance({measure: getattr(metrics, _METRICS[measure]) for measure in spec.objective})


def watch(
    database: Database,
    spec: SessionSpec,
    clock: Clock,
    wanted: Callable[[], bool],
    test: SequentialTest | None = None,
    length: float | None = None,
) -> Watched | None:
    """Measure for an interval, or until the test raises an alarm; None once it is not wanted any more.

    Args:
        length: seconds; None means the session's.
    Raises:
        StatisticsReset: the server restarted, its counters began anew, or its clock was set.
        ConnectionLost, RightMissing: as `Database.measure`.
        StatementTimeout: no answer, and there is no test that would take it for an alarm.
    """
    length = spec.interval if length is None else length
    clock.sleep(min(SETTLE_SECONDS, SETTLE_SHARE * spec.interval))
    seconds = _Seconds(spec)
    began = clock.monotonic()
    aborted = stalled = False

    def measured() -> float | None:
        asked = clock.monotonic()
        return seconds.add(database.measure(), (asked, clock.monotonic()))

    try:
        measured()
        while not aborted and (left := length - (clock.monotonic() - began)) > 0.01 * spec.interval:
            clock.sleep(min(SECOND, left))
            if not wanted():
                return None
            sample = measured()
            # That nobody asks for anything is no fault of the settings.
            aborted = test is not None and sample is not None and test.observe(sample)
    except StatementTimeout:
        if test is None:
            raise
        aborted = stalled = True
    return seconds.watched(max(clock.monotonic() - began, 1e-3), aborted, stalled)


def unjudged(spec: SessionSpec, watched: Watched) -> str | None:
    """Why an interval says nothing about its settings; None where it does."""
    if watched.aborted:
        return None
    if watched.metrics is None:
        return "the server did not answer"
    # Of commits: where others use our role, our own statements are counted with theirs.
    traffic, least = watched.metrics.commits_per_second, spec.least_traffic
    if traffic < least:
        return f"too little traffic: {traffic:.3g} transactions/s, at least {least:g} are needed"
    if least and watched.idle > MOST_IDLE:
        return f"too little traffic: nobody asked for anything in {watched.idle:.0%} of the time"
    if watched.performance is None:
        return f"{' and '.join(spec.objective)} could not be measured"
    return None


class _Seconds:
    """Snapshots of an interval, and what happened between neighbours."""

    def __init__(self, spec: SessionSpec) -> None:
        self._spec = spec
        self._first: Snapshot | None = None
        self._last: Snapshot | None = None
        self._taken = (0.0, 0.0)
        self._samples: list[float] = []
        self._count, self._idle = 0, 0

    def add(self, snapshot: Snapshot, taken: tuple[float, float]) -> float | None:
        """Performance since the last one; NaN where none can be told, None where nobody waited for the server either.

        Args:
            taken: when it was asked for and when it was there, by our clock.
        Raises:
            StatisticsReset: as `watch`.
        """
        before, self._last = self._last, snapshot
        last, self._taken = self._taken, taken
        if before is None:
            self._first = snapshot
            return None
        # A clock that is set forward by an hour makes any rate a trickle, which would become the reference's.
        passed = snapshot.at - before.at
        if not taken[0] - last[1] - CLOCK_SLACK <= passed <= taken[1] - last[0] + CLOCK_SLACK:
            raise StatisticsReset(
                f"the server's clock and this machine's ran apart: between two measurements {passed:.4g} s"
                f" went by there, and {taken[1] - last[1]:.4g} s here"
            )
        metrics = between(before, snapshot)
        self._count += 1
        waited = snapshot.gauges.get("active", 0.0) >= 1
        if metrics.commits_per_second <= 0 and not waited:
            self._idle += 1
            return None
        value = performance(self._spec, metrics)
        if value is None:
            # PostgreSQL may count commits seconds after the statements that they end: where nobody waits, no stall.
            return math.nan if waited else None
        self._samples.append(value)
        return value

    def watched(self, seconds: float, aborted: bool, stalled: bool) -> Watched:
        """What was seen in so many seconds, after the last of which the server gave no answer if it `stalled`."""
        if self._first is None or self._last is None or self._first is self._last:
            return Watched(None, None, seconds, (), {}, aborted, idle=0.0)
        metrics = between(self._first, self._last)
        value = performance(self._spec, metrics)
        if stalled and value is not None:
            # As far as anybody could see, nothing was finished since.
            value = self._spec.performed(self._spec.gain(value) - math.log(max(1.0, seconds / metrics.seconds)))
        return Watched(
            metrics=metrics,
            performance=value,
            seconds=seconds if stalled else metrics.seconds,
            samples=tuple(self._samples),
            ran=workload_between(self._first.statements, self._last.statements),
            aborted=aborted,
            idle=self._idle / self._count,
        )

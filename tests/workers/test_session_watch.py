"""One interval of a server whose counters do as they like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from db_knobs.database import Database
from db_knobs.errors import StatementTimeout, StatisticsReset
from db_knobs.statistics import Snapshot
from optimizers.onlinetune import SecondNoise, SequentialTest
from tests.workers.simulated_server import Server
from tunewright.session import SessionSpec
from workers.session_watch import Watched, watch


class Counters:
    """A `Database` that only measures, under the clock of a pretended server."""

    def __init__(self, clock: Server, snapshot: Callable[[float], Snapshot]) -> None:
        self._clock, self._snapshot = clock, snapshot

    def measure(self) -> Snapshot:
        # A server takes its time to answer.
        self._clock.sleep(0.1)
        return self._snapshot(self._clock.now)


def seen(snapshot: Callable[[float], Snapshot], test: SequentialTest | None = None, **fields: Any) -> Watched:
    clock = Server()
    spec = SessionSpec(database="app", interval=60.0, **fields)
    watched = watch(cast(Database, Counters(clock, snapshot)), spec, clock, lambda: True, test)
    assert watched is not None
    return watched


@pytest.mark.parametrize("step", [3600.0, 20.0, -0.9 * 3600])
def test_an_interval_in_which_the_servers_clock_was_set_is_not_judged(step: float) -> None:
    def snapshot(now: float) -> Snapshot:
        at = now + (step if now > 1_030.0 else 0.0)
        return Snapshot(at, "", {"commits": 100.0 * now}, {"active": 4.0})

    with pytest.raises(StatisticsReset, match="clock"):
        seen(snapshot)


def test_a_clock_that_drifts_is_no_clock_that_was_set() -> None:
    watched = seen(lambda now: Snapshot(1.001 * now, "", {"commits": 100.0 * now}, {"active": 4.0}))

    assert watched.performance == pytest.approx(100.0, rel=0.01)


def test_commits_that_are_counted_after_their_statements_are_no_stall() -> None:
    """As of a few clients of PostgreSQL, whose connections tell what they did when a second has passed."""

    def snapshot(now: float) -> Snapshot:
        ran, told = 2.0 * ((now + 1.1) // 2.2), 2.0 * (now // 2.2)
        counters = {"commits": told, "statements": ran, "statement_seconds": 0.005 * ran}
        return Snapshot(now, "", counters, {"active": 0.0})

    test = SequentialTest(6.0, maximize=False, noise=SecondNoise(0.1, 0.1))

    watched = seen(snapshot, test, objective={"latency_mean": 1.0})

    assert not watched.aborted
    assert watched.performance == pytest.approx(5.0)


@pytest.mark.parametrize(("objective", "performance"), [({"throughput": 1.0}, 50.0), ({"latency_mean": 1.0}, 10.0)])
def test_seconds_without_an_answer_count_as_seconds_in_which_nothing_was_done(
    objective: dict[str, float], performance: float
) -> None:
    def snapshot(now: float) -> Snapshot:
        if now > 1_011.0:
            clock.sleep(10.0)
            raise StatementTimeout("no answer")
        counters = {"commits": 100.0 * now, "statements": 100.0 * now, "statement_seconds": 0.5 * now}
        return Snapshot(now, "", counters, {"active": 4.0})

    clock = Server()
    spec = SessionSpec(database="app", interval=60.0, objective=objective)
    test = SequentialTest(1.0 if spec.maximize else 100.0, maximize=spec.maximize, noise=SecondNoise(0.1, 0.1))

    watched = watch(cast(Database, Counters(clock, snapshot)), spec, clock, lambda: True, test)

    assert watched is not None
    assert watched.aborted
    assert watched.performance == pytest.approx(performance, rel=0.2)
    assert watched.metrics is not None
    # As many without an answer as before.
    assert watched.seconds == pytest.approx(2.0 * watched.metrics.seconds, rel=0.2)

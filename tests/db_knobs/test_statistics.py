from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_knobs import latency
from db_knobs.errors import StatisticsReset
from db_knobs.statistics import MAX_STATEMENTS, Snapshot, Statement, between, workload_between

FIRST = Snapshot(
    at=100.0,
    epoch="a",
    counters={"commits": 10, "block_requests": 100, "blocks_read": 10, "statements": 50, "statement_seconds": 1.0},
    gauges={},
)
LAST = Snapshot(
    at=104.0,
    epoch="a",
    counters={"commits": 50, "block_requests": 300, "blocks_read": 20, "statements": 150, "statement_seconds": 1.5},
    gauges={"connections": 4.0, "active": 2.0},
)


def test_connections_are_those_of_the_moment_with_more_of_them() -> None:
    first = replace(FIRST, gauges={"connections": 9.0})

    assert between(first, LAST).connections == 9
    assert between(FIRST, LAST).connections == 4
    assert between(FIRST, replace(LAST, gauges={})).connections is None


def test_a_server_says_which_counter_tells_what_was_done() -> None:
    metrics = between(FIRST, replace(LAST, work="statements"))

    assert (metrics.throughput, metrics.commits_per_second) == (25, 10)


def test_metrics_are_differences_over_the_servers_own_seconds() -> None:
    metrics = between(FIRST, LAST)

    assert metrics.seconds == 4
    assert metrics.throughput == metrics.commits_per_second == 10
    assert metrics.statements_per_second == 25
    assert metrics.latency_mean_ms == pytest.approx(5)
    assert metrics.cache_hit == pytest.approx(0.95)
    assert metrics.connections == 4
    assert metrics.latency_p95_ms is None
    assert metrics.deadlocks is None
    assert metrics.as_dict()["approximate"] == []


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (replace(LAST, epoch="b"), "restarted"),
        (replace(LAST, at=99.0), "clock"),
        (replace(LAST, counters={**LAST.counters, "commits": 9}), "commits"),
    ],
)
def test_counters_that_began_anew_cannot_be_compared(last: Snapshot, says: str) -> None:
    with pytest.raises(StatisticsReset, match=says):
        between(FIRST, last)


def test_a_restart_shows_in_the_uptime_though_counters_have_caught_up() -> None:
    def up(snapshot: Snapshot, seconds: float) -> Snapshot:
        return replace(snapshot, counters={**snapshot.counters, "uptime": seconds})

    later = replace(LAST, at=FIRST.at + 500)
    assert between(up(FIRST, 20), up(later, 520)).seconds == 500
    with pytest.raises(StatisticsReset, match="restarted"):
        between(up(FIRST, 20), up(later, 400))


def test_statements_that_were_dropped_do_not_make_the_totals_go_back() -> None:
    before, after = Statement("a", calls=10, seconds=1.0, rows=1), Statement("a", calls=30, seconds=2.0, rows=1)
    first = replace(FIRST, counters={**FIRST.counters, "evictions": 0}, statements={"a": before})
    last = replace(
        LAST,
        counters={**LAST.counters, "evictions": 1, "statements": 30, "statement_seconds": 0.5},
        statements={"a": after},
    )

    metrics = between(first, last)

    assert metrics.statements_per_second == 5
    assert metrics.latency_mean_ms == pytest.approx(50)


def test_where_little_was_dropped_the_totals_tell_more_than_the_statements_that_are_looked_at() -> None:
    before, after = Statement("a", 10, 1.0, 5), Statement("a", 30, 2.0, 5)
    first = replace(FIRST, counters={**FIRST.counters, "evictions": 0}, statements={"a": before})
    last = replace(LAST, counters={**LAST.counters, "evictions": 1, "statements": 147}, statements={"a": after})

    metrics = between(first, last)

    assert metrics.statements_per_second == pytest.approx(97 / 4)
    assert metrics.latency_mean_ms == pytest.approx(1000 / 97)


def test_a_statement_counted_anew_counts_whole() -> None:
    before = {"a": Statement("a", 10, 1.0, 5, squares=2.0, examined=7), "b": Statement("b", 9, 9.0, 9)}
    after = {"a": Statement("a", 15, 1.5, 6, squares=2.5, examined=9), "b": Statement("b", 2, 0.1, 3)}

    ran = workload_between(before, {**after, "c": Statement("c", 1, 0.1, 1)})

    assert ran["a"] == Statement("a", 5, 0.5, 1, squares=0.5, examined=2)
    assert ran["b"] == after["b"]
    assert set(ran) == {"a", "b", "c"}
    assert workload_between(after, after) == {}


def test_percentiles_of_fine_buckets_are_exact_and_of_coarse_ones_approximate() -> None:
    def told(factor: float) -> tuple[float | None, tuple[str, ...]]:
        bounds = [0.001 * factor**step for step in range(5)]
        first = replace(FIRST, buckets=tuple((bound, 1.0) for bound in [*bounds, math.inf]))
        last = replace(
            LAST, buckets=tuple((bound, 1.0 + 10 * (step == 2)) for step, bound in enumerate([*bounds, math.inf]))
        )
        metrics = between(first, last)
        return metrics.latency_p95_ms, metrics.approximate

    fine, exact = told(1.2)
    coarse, approximate = told(10)
    assert fine == pytest.approx(1.2 * 1.2**0.95)
    assert coarse == pytest.approx(10 * 10**0.95)
    assert exact == ()
    assert len(approximate) == 3


def test_a_histogram_that_began_anew_cannot_be_compared() -> None:
    with pytest.raises(StatisticsReset, match="histogram"):
        between(replace(FIRST, buckets=((0.1, 5.0),)), replace(LAST, buckets=((0.1, 4.0),)))


def test_a_quantile_beyond_the_last_bucket_is_not_told() -> None:
    metrics = between(
        replace(FIRST, buckets=((0.1, 0.0), (math.inf, 0.0))), replace(LAST, buckets=((0.1, 1.0), (math.inf, 9.0)))
    )

    assert metrics.latency_p95_ms is None
    assert latency.from_buckets([0.1], [0.0], 0.5) is None


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.floats(0.01, 0.99))
def test_bucket_quantiles_lie_within_their_bucket_and_rise(counts: list[int], q: float) -> None:
    bounds = [0.001 * 1.5**step for step in range(len(counts))]

    low, high = latency.from_buckets(bounds, counts, q / 2), latency.from_buckets(bounds, counts, q)

    if sum(counts) == 0:
        assert low is None
        assert high is None
    else:
        assert low is not None
        assert high is not None
        assert bounds[0] / 2 <= low <= high * (1 + 1e-9) <= bounds[-1] * (1 + 1e-6)


def test_moments_give_the_quantiles_of_log_normal_latencies() -> None:
    drawn = np.random.default_rng(0)
    fast, slow = drawn.lognormal(-6, 0.4, 90_000), drawn.lognormal(-3, 0.8, 10_000)
    calls = np.array([len(fast), len(slow)], dtype=np.float64)
    means, deviations = np.array([fast.mean(), slow.mean()]), np.array([fast.std(), slow.std()])

    for q in (0.5, 0.95, 0.99):
        expected = float(np.quantile(np.concatenate([fast, slow]), q))
        assert latency.from_moments(calls, means, deviations, q) == pytest.approx(expected, rel=0.05)
    assert latency.from_moments(np.zeros(1), np.ones(1), np.ones(1), 0.5) is None


def test_a_statement_that_was_not_among_those_asked_for_does_not_count_with_its_past() -> None:
    before = {f"s{n}": Statement(f"s{n}", 10, 1.0, 10) for n in range(MAX_STATEMENTS)}
    after = {**before, "s0": Statement("s0", 12, 1.2, 12), "late": Statement("late", 1_000, 100.0, 1_000)}

    assert workload_between(before, after) == {"s0": Statement("s0", 12, 1.2, 12).since(before["s0"])}
    few = dict(list(before.items())[1:])
    assert set(workload_between(few, after)) == {"s0", "late"}

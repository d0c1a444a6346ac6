"""What a server's own counters say: snapshots, and what happened between two of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from db_knobs import latency
from db_knobs.errors import StatisticsReset

QUANTILES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
# Counters under one name on all servers; a server has those that it keeps.
COUNTERS = (
    *("commits", "rollbacks", "statements", "statement_seconds", "block_requests", "blocks_read", "rows_read"),
    *("rows_changed", "temporary_bytes", "deadlocks", "lock_waits", "checkpoints", "forced_checkpoints"),
    *("blocks_written", "log_bytes", "full_joins", "disk_tables", "evictions", "uptime"),
)
# Seconds by which a clock and a server's uptime may disagree, which counts whole ones.
UPTIME_SLACK = 5.0
# Statements that are looked at, those that took longest first.
MAX_STATEMENTS = 500
# Buckets that are wider than this tell no quantile, only about where it is.
FINE = 1.5


@dataclass(frozen=True)
class Statement:
    """One normalised statement: counters since the server began to count, or of an interval.

    Attributes:
        text: literals replaced by placeholders, as the server spells it; empty where it was not asked for.
        seconds: spent executing, in all.
        squares: sum of the squares of its latencies; None where the server keeps no deviation.
        rows: returned or changed.
        examined: rows read; None where the server does not count them.
        unindexed: calls that used no index; None where the server does not count them.
        schema: in which it ran, where the server tells.
    """

    text: str
    calls: float
    seconds: float
    rows: float
    squares: float | None = None
    examined: float | None = None
    unindexed: float | None = None
    schema: str = ""

    def since(self, earlier: Statement | None) -> Statement:
        """What it did since an earlier count; everything where it was not there yet, or was counted anew."""
        if earlier is None or earlier.calls > self.calls:
            return self
        return replace(
            self,
            calls=self.calls - earlier.calls,
            seconds=max(self.seconds - earlier.seconds, 0.0),
            rows=max(self.rows - earlier.rows, 0.0),
            squares=_less(self.squares, earlier.squares),
            examined=_less(self.examined, earlier.examined),
            unindexed=_less(self.unindexed, earlier.unindexed),
        )


# Statement's id -> its counters.
Workload = Mapping[str, Statement]


@dataclass(frozen=True)
class Snapshot:
    """A server's counters at one moment.

    Attributes:
        at: the server's own clock, seconds.
        epoch: changes when the server restarts or somebody resets its statistics.
        counters: monotonic, named as in COUNTERS.
        gauges: of the moment: connections, active, waiting, replication_lag_seconds.
        work: the counter that tells how much was done for clients.
        statements: without their texts.
        buckets: (upper bound in seconds, statements not slower than the bound and slower than the one before).
    """

    at: float
    epoch: str
    counters: Mapping[str, float]
    gauges: Mapping[str, float]
    work: str = "commits"
    statements: Workload = field(default_factory=dict)
    buckets: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Metrics:
    """What happened in an interval; None is what this server, or this role, cannot tell.

    Attributes:
        throughput: what was done for clients in a second: statements where PostgreSQL counts them, else transactions.
        commits_per_second: transactions; on PostgreSQL with those of parallel workers, which depend on the settings.
        full_joins_per_second: joins that read all of a table, or a range of it, for want of an index to join by.
        disk_tables_per_second: temporary tables that were too large for memory, or are never made there.
        approximate: names of the numbers that are estimates.
    """

    seconds: float
    throughput: float
    commits_per_second: float = 0.0
    statements_per_second: float | None = None
    latency_mean_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    cache_hit: float | None = None
    blocks_read_per_second: float | None = None
    blocks_written_per_second: float | None = None
    log_bytes_per_second: float | None = None
    temporary_bytes_per_second: float | None = None
    rows_read_per_second: float | None = None
    rows_changed_per_second: float | None = None
    full_joins_per_second: float | None = None
    disk_tables_per_second: float | None = None
    rollbacks_per_second: float | None = None
    deadlocks: float | None = None
    lock_waits: float | None = None
    checkpoints: float | None = None
    forced_checkpoints: float | None = None
    connections: float | None = None
    active: float | None = None
    waiting: float | None = None
    replication_lag_seconds: float | None = None
    approximate: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "approximate": list(self.approximate)}


def between(before: Snapshot, after: Snapshot) -> Metrics:
    """What happened between two snapshots of one server.

    Raises:
        StatisticsReset: the server restarted, or counters began anew.
    """
    if before.epoch != after.epoch:
        raise StatisticsReset("the server restarted or its statistics were reset between two measurements")
    seconds = after.at - before.at
    if seconds <= 0:
        raise StatisticsReset("the server's clock went back between two measurements")
    ran = workload_between(before.statements, after.statements)
    gone = _gone(before, after, ran)
    rates = {name: change / seconds for name, change in gone.items()}
    percentiles, approximate = _percentiles(before, after, ran)
    return Metrics(
        seconds=seconds,
        throughput=rates[after.work if after.work in rates else "commits"],
        commits_per_second=rates["commits"],
        statements_per_second=rates.get("statements"),
        latency_mean_ms=_mean_ms(gone),
        cache_hit=_cache_hit(gone),
        blocks_read_per_second=rates.get("blocks_read"),
        blocks_written_per_second=rates.get("blocks_written"),
        log_bytes_per_second=rates.get("log_bytes"),
        temporary_bytes_per_second=rates.get("temporary_bytes"),
        rows_read_per_second=rates.get("rows_read"),
        rows_changed_per_second=rates.get("rows_changed"),
        full_joins_per_second=rates.get("full_joins"),
        disk_tables_per_second=rates.get("disk_tables"),
        rollbacks_per_second=rates.get("rollbacks"),
        deadlocks=gone.get("deadlocks"),
        lock_waits=gone.get("lock_waits"),
        checkpoints=gone.get("checkpoints"),
        forced_checkpoints=gone.get("forced_checkpoints"),
        # A pool may be changing its connections at one of the two moments.
        connections=max(
            (each.gauges["connections"] for each in (before, after) if "connections" in each.gauges), default=None
        ),
        active=after.gauges.get("active"),
        waiting=after.gauges.get("waiting"),
        replication_lag_seconds=after.gauges.get("replication_lag_seconds"),
        approximate=approximate,
        **percentiles,
    )


def workload_between(before: Workload, after: Workload) -> dict[str, Statement]:
    """Statements that ran between two counts, with what they did in between."""
    # Of as many as are asked for at most, one that was not among them need not be new: its whole past would count.
    known = before.keys() if len(before) >= MAX_STATEMENTS else after.keys()
    ran = {name: statement.since(before.get(name)) for name, statement in after.items() if name in known}
    return {name: statement for name, statement in ran.items() if statement.calls > 0}


def _gone(before: Snapshot, after: Snapshot, ran: Workload) -> dict[str, float]:
    """Counters' changes.

    Raises:
        StatisticsReset: as `between`.
    """
    gone = {name: after.counters[name] - before.counters[name] for name in before.counters if name in after.counters}
    if gone.get("evictions", 0.0) > 0 and "statements" in gone:
        # Statements that were dropped have taken their counts out of the totals; those that are known must do where
        # they tell more.
        gone["statements"] = max(gone["statements"], sum(statement.calls for statement in ran.values()))
        gone["statement_seconds"] = max(gone["statement_seconds"], sum(statement.seconds for statement in ran.values()))
    back = next((name for name, change in gone.items() if change < -1e-6), None)
    if back is not None:
        raise StatisticsReset(f'counter "{back}" went back: the server restarted or its statistics were reset')
    if "uptime" in gone and after.at - before.at - gone["uptime"] > UPTIME_SLACK:
        raise StatisticsReset("the server restarted between two measurements")
    return gone


def _cache_hit(gone: Mapping[str, float]) -> float | None:
    """Share of the blocks asked for that were in the server's cache; of none asked for, all."""
    if "block_requests" not in gone or "blocks_read" not in gone:
        return None
    asked = gone["block_requests"]
    return min(max(1 - gone["blocks_read"] / asked, 0.0), 1.0) if asked > 0 else 1.0


def _mean_ms(gone: Mapping[str, float]) -> float | None:
    """Mean latency of a statement; of a transaction where statements are not counted."""
    if "statement_seconds" not in gone:
        return None
    count = gone["statements"] if "statements" in gone else gone["commits"]
    return 1000 * gone["statement_seconds"] / count if count > 0 else None


def _percentiles(before: Snapshot, after: Snapshot, ran: Workload) -> tuple[dict[str, float | None], tuple[str, ...]]:
    """Quantiles in milliseconds, and which of them are approximations."""
    if after.buckets and len(before.buckets) == len(after.buckets):
        bounds = [bound for bound, _ in after.buckets]
        counts = [new - old for (_, new), (_, old) in zip(after.buckets, before.buckets, strict=True)]
        if min(counts) < 0:
            raise StatisticsReset("the server's histogram of latencies began anew")
        found = {name: _ms(latency.from_buckets(bounds, counts, q)) for name, q in QUANTILES.items()}
        fine = all(upper <= FINE * lower for lower, upper in itertools.pairwise(bounds) if math.isfinite(upper))
        return found, () if fine else _told(found)
    known = [statement for statement in ran.values() if statement.squares is not None]
    if not known:
        return {}, ()
    calls = np.array([statement.calls for statement in known])
    means = np.array([statement.seconds for statement in known]) / calls
    squares = np.array([statement.squares for statement in known], dtype=np.float64) / calls
    deviations = np.sqrt(np.maximum(squares - means**2, 0.0))
    found = {name: _ms(latency.from_moments(calls, means, deviations, q)) for name, q in QUANTILES.items()}
    return found, _told(found)


def _told(found: Mapping[str, float | None]) -> tuple[str, ...]:
    return tuple(name for name, value in found.items() if value is not None)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else 1000 * seconds


def _less(now: float | None, earlier: float | None) -> float | None:
    return None if now is None or earlier is None else max(now - earlier, 0.0)

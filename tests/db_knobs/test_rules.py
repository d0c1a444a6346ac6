"""White-box rules: each says what it should in its situation, in units that the knobs' parameters can take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from db_knobs import mysql_statistics
from db_knobs.address import Kind, parse_dsn
from db_knobs.catalog import Host, Reported, entries, join
from db_knobs.database import Probe
from db_knobs.knob import Knob, to_space
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.postgres import Postgres
from db_knobs.rules import RULES, Advice, advice, recommended
from db_knobs.situation import Situation
from db_knobs.statistics import Metrics, Snapshot, between
from optimizers.onlinetune.rules import Rule, RuleBook

MB, GB = 1024**2, 1024**3
HOST = Host(ram_bytes=16 * GB, cores=8)
CALM = Metrics(seconds=60.0, throughput=100.0, connections=20.0, active=2.0, cache_hit=0.9)

# What servers report: name, type, unit, current value, and the special one's lower end where it has one.
POSTGRES = [
    Reported("work_mem", 4096, "integer", "kB", 64, 2147483647),
    Reported("hash_mem_multiplier", 2.0, "real", "", 1, 1000),
    Reported("maintenance_work_mem", 65536, "integer", "kB", 1024, 2147483647),
    Reported("autovacuum_work_mem", -1, "integer", "kB", -1, 2147483647),
    Reported("effective_cache_size", 524288, "integer", "8kB", 1, 2147483647),
    Reported("random_page_cost", 4.0, "real", "", 0, 1e300),
    Reported("seq_page_cost", 1.0, "real", "", 0, 1e300),
    Reported("default_statistics_target", 100, "integer", "", 1, 10000),
    Reported("from_collapse_limit", 8, "integer", "", 1, 2147483647),
    Reported("join_collapse_limit", 8, "integer", "", 1, 2147483647),
    Reported("max_parallel_workers_per_gather", 2, "integer", "", 0, 1024),
    Reported("max_parallel_workers", 8, "integer", "", 0, 1024),
    Reported("max_parallel_maintenance_workers", 2, "integer", "", 0, 1024),
    Reported("jit", True, "bool"),
    Reported("jit_above_cost", 100000.0, "real", "", -1, 1e300),
    Reported("max_wal_size", 1024, "integer", "MB", 2, 2147483647),
    Reported("min_wal_size", 80, "integer", "MB", 2, 2147483647),
    Reported("checkpoint_timeout", 300, "integer", "s", 30, 86400),
    Reported("checkpoint_completion_target", 0.9, "real", "", 0, 1),
    Reported("wal_writer_delay", 200, "integer", "ms", 1, 10000),
    Reported("commit_delay", 0, "integer", "", 0, 100000),
    Reported("autovacuum_naptime", 60, "integer", "s", 1, 2147483),
    Reported("autovacuum_vacuum_scale_factor", 0.2, "real", "", 0, 100),
    Reported("autovacuum_analyze_scale_factor", 0.1, "real", "", 0, 100),
    Reported("autovacuum_vacuum_cost_delay", 2.0, "real", "ms", -1, 100),
    Reported("autovacuum_vacuum_cost_limit", -1, "integer", "", -1, 10000),
    Reported("shared_buffers", 16384, "integer", "8kB", 16, 1073741823),
    Reported("max_connections", 100, "integer", "", 1, 262143),
    Reported("effective_io_concurrency", 1, "integer", "", 0, 1000),
]
MARIADB = [
    Reported("innodb_buffer_pool_size", 128 * MB, "integer", "", 2 * MB, 2**60),
    Reported("innodb_log_file_size", 96 * MB, "integer", "", 4 * MB, 2**40),
    Reported("innodb_io_capacity", 200, "integer", "", 100, 2**32),
    Reported("innodb_io_capacity_max", 2000, "integer", "", 100, 2**32),
    Reported("innodb_max_dirty_pages_pct", 90.0, "real", "", 0, 99.999),
    Reported("innodb_max_dirty_pages_pct_lwm", 0.0, "real", "", 0, 99.999),
    Reported("innodb_purge_threads", 4, "integer", "", 1, 32),
    Reported("innodb_thread_concurrency", 0, "integer", "", 0, 1000),
    Reported("table_open_cache", 2000, "integer", "", 10, 1048576),
    Reported("thread_cache_size", 151, "integer", "", 0, 16384),
    Reported("tmp_table_size", 16 * MB, "integer", "", 0, 2**60),
    Reported("max_heap_table_size", 16 * MB, "integer", "", 16384, 2**60),
    Reported("sort_buffer_size", 2 * MB, "integer", "", 1024, 2**60),
    Reported("join_buffer_size", 256 * 1024, "integer", "", 128, 2**60),
    Reported("read_buffer_size", 128 * 1024, "integer", "", 8192, 2**31),
    Reported("read_rnd_buffer_size", 256 * 1024, "integer", "", 1, 2**31),
    Reported("mrr_buffer_size", 256 * 1024, "integer", "", 8192, 2**31),
    Reported("binlog_cache_size", 32768, "integer", "", 4096, 2**60),
    Reported("join_cache_level", 2, "integer", "", 0, 8),
    Reported("optimizer_search_depth", 62, "integer", "", 0, 62),
    Reported("optimizer_prune_level", 2, "integer", "", 0, 2),
    Reported("query_cache_size", 1 * MB, "integer", "", 0, 2**60),
    Reported("query_cache_type", "OFF", "enum", choices=("OFF", "ON", "DEMAND")),
]
REPORTED: dict[Kind, list[Reported]] = {"postgresql": POSTGRES, "mariadb": MARIADB}


def knobs(kind: Kind, host: Host = HOST) -> list[Knob]:
    found = [
        join(entries("mysql" if name == "innodb_thread_concurrency" else kind)[name], reported, host)
        for reported in REPORTED[kind]
        for name in [reported.name]
    ]
    return [knob for knob in found if knob is not None]


def probe(kind: Kind = "postgresql", connections: int = 20, max_connections: int = 100) -> Probe:
    return Probe(kind, (15, 0), "15", "role", False, False, (), (), (), HOST, max_connections, connections)


def told(
    name: str,
    metrics: Metrics | None = CALM,
    host: Host = HOST,
    only: Callable[[Knob], bool] = lambda knob: True,
    **fields: Any,
) -> Advice | None:
    """What one rule says."""
    kind: Kind = "postgresql" if name.startswith("pg-") else "mariadb"
    metrics = None if metrics is None else replace(metrics, **fields)
    chosen = [knob for knob in knobs(kind, host) if only(knob)]
    return next((each for each in advice(kind, chosen, host, probe(kind), metrics) if each.id == name), None)


def low(name: str, knob: str, **fields: Any) -> float:
    found = told(name, **fields)
    assert found is not None
    return found.low[knob]


def high(name: str, knob: str, **fields: Any) -> float:
    found = told(name, **fields)
    assert found is not None
    return found.high[knob]


def among(name: str, knob: str, **fields: Any) -> list[Any]:
    found = told(name, **fields)
    assert found is not None
    return list(found.among[knob])


@pytest.mark.parametrize("kinds", [("postgresql",), ("mysql", "mariadb")])
def test_catalogue_and_rules_name_each_other(kinds: tuple[Kind, ...]) -> None:
    named = {name for kind in kinds for entry in entries(kind).values() for name in entry.rules}

    assert named == {name for kind in kinds for name in RULES[kind]}


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest.mark.parametrize("host", [HOST, Host(), Host(ram_bytes=256 * MB, cores=1)])
@pytest.mark.parametrize(
    "metrics",
    [
        None,
        CALM,
        replace(
            CALM,
            temporary_bytes_per_second=1e9,
            forced_checkpoints=5.0,
            cache_hit=0.5,
            latency_mean_ms=3.0,
            log_bytes_per_second=1e9,
            full_joins_per_second=10.0,
            disk_tables_per_second=10.0,
            active=50.0,
            throughput=1e4,
            commits_per_second=1e4,
        ),
    ],
)
def test_the_tuner_takes_whatever_is_advised(kind: Kind, host: Host, metrics: Metrics | None) -> None:
    chosen = knobs(kind, host)
    space = to_space(chosen)

    rules = [Rule(**vars(each)) for each in advice(kind, chosen, host, probe(kind), metrics)]

    book = RuleBook(space, space.default())
    book.check(rules)
    reference = space.encode(space.default())
    assert not book.forbidden(rules, reference[None]).any()
    moved = book.advice(rules, reference)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert all(rule.text and rule.text.endswith(".") for rule in rules)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_the_tuner_takes_what_is_advised_to_a_server_of_thousands_of_connections(kind: Kind) -> None:
    chosen = knobs(kind, HOST)
    space = to_space(chosen)

    found = advice(kind, chosen, HOST, probe(kind, connections=4_000, max_connections=5_000), CALM)

    RuleBook(space, space.default()).check([Rule(**vars(each)) for each in found])


def test_only_knobs_of_the_session_are_spoken_of() -> None:
    found = told("pg-work-mem", only=lambda knob: knob.name in ("work_mem", "jit"))

    assert found is not None
    assert set(found.high) == {"work_mem"}
    assert told("pg-random-page-cost", only=lambda knob: knob.name == "jit") is None


def test_work_mem_is_bounded_by_memory_and_raised_where_sorts_spill() -> None:
    assert high("pg-work-mem", "work_mem") == pytest.approx(0.75 * 16 * GB / 300 / 1024, rel=1e-3)
    bound = told("pg-work-mem", temporary_bytes_per_second=5e6)
    assert bound is not None
    assert bound.risk == "high"
    assert "work_mem" not in bound.low
    assert told("pg-spills") is None
    raised = told("pg-spills", temporary_bytes_per_second=5e6)
    assert raised is not None
    assert raised.risk == "low"
    assert raised.low["work_mem"] == 8192
    assert raised.high["work_mem"] == bound.high["work_mem"]


@pytest.mark.parametrize(
    ("kind", "name", "stands", "rule", "metrics"),
    [
        ("postgresql", "work_mem", 256 * 1024, "pg-spills", replace(CALM, temporary_bytes_per_second=5e6)),
        ("mariadb", "innodb_buffer_pool_size", 12 * GB, "my-cache-misses", CALM),
    ],
)
def test_who_asks_for_more_is_silent_where_there_is_more_than_the_most(
    kind: Kind, name: str, stands: int, rule: str, metrics: Metrics
) -> None:
    now = [replace(knob, current=stands, high=stands) for knob in knobs(kind) if knob.name == name]

    found = advice(kind, now, HOST, probe(kind), metrics)

    assert rule not in [each.id for each in found]
    assert any(name in each.high for each in found)


@pytest.mark.parametrize(
    ("kind", "name", "stands"),
    [("postgresql", "min_wal_size", 4096), ("mariadb", "innodb_log_file_size", 8 * GB)],
)
def test_what_stands_is_not_too_much_for_another_knob_that_is_not_tuned(kind: Kind, name: str, stands: int) -> None:
    alone = [replace(knob, current=stands, high=stands) for knob in knobs(kind) if knob.name == name]

    (found,) = advice(kind, alone, HOST, probe(kind), CALM)

    assert found.high == {name: stands}


def test_maintenance_work_mem_is_a_sixteenth_of_memory() -> None:
    assert high("pg-maintenance-work-mem", "maintenance_work_mem") == GB / 1024
    assert among("pg-maintenance-work-mem", "autovacuum_work_mem").count(-1) == 1


def test_effective_cache_size_follows_memory_and_is_silent_without() -> None:
    assert low("pg-effective-cache-size", "effective_cache_size") == 8 * GB / 8192
    assert told("pg-effective-cache-size", host=Host(cores=4)) is None


def test_random_page_cost_is_lower_where_data_are_cached() -> None:
    assert high("pg-random-page-cost", "random_page_cost") == 3.0
    assert high("pg-random-page-cost", "random_page_cost", cache_hit=0.999) == 2.0
    assert high("pg-random-page-cost", "seq_page_cost") == 1.0


def test_statistics_target_and_collapse_limits_stay_moderate() -> None:
    assert high("pg-statistics-target", "default_statistics_target") == 300
    assert high("pg-collapse-limits", "join_collapse_limit") == 12


def test_busy_processors_leave_none_to_parallel_workers() -> None:
    assert 4 in among("pg-parallel-workers", "max_parallel_workers_per_gather")
    assert among("pg-parallel-workers", "max_parallel_workers_per_gather", active=8.0) == [0]
    assert among("pg-parallel-workers", "max_parallel_workers_per_gather", host=Host(16 * GB, 1)) == [0]


def test_short_statements_are_not_compiled() -> None:
    assert told("pg-jit") is None
    assert told("pg-jit", latency_mean_ms=5_000.0) is None
    assert among("pg-jit", "jit", latency_mean_ms=3.0) == [False]
    assert -1.0 in among("pg-jit", "jit_above_cost", latency_mean_ms=3.0)


def test_forced_checkpoints_raise_max_wal_size() -> None:
    assert low("pg-max-wal-size", "max_wal_size") == 1024
    assert low("pg-max-wal-size", "max_wal_size", forced_checkpoints=3.0) == 2048
    assert low("pg-max-wal-size", "max_wal_size", log_bytes_per_second=8 * MB) == 4800


def test_min_wal_size_stays_below_max_wal_size() -> None:
    assert high("pg-min-wal-size", "min_wal_size") == 1024


def test_checkpoints_are_rare_and_spread() -> None:
    assert low("pg-checkpoint-timeout", "checkpoint_timeout") == 300
    assert low("pg-checkpoint-spread", "checkpoint_completion_target") == 0.8


def test_wal_writer_delay_never_grows() -> None:
    found = told("pg-wal-writer-delay")

    assert found is not None
    assert (found.high["wal_writer_delay"], found.hard) == (200, True)


def test_commits_wait_for_others_only_in_a_crowd() -> None:
    assert among("pg-commit-delay", "commit_delay") == [0]
    assert max(among("pg-commit-delay", "commit_delay", commits_per_second=5_000.0)) >= 800


def test_autovacuum_is_not_slowed_down() -> None:
    assert high("pg-autovacuum-lag", "autovacuum_naptime") == 60
    assert high("pg-autovacuum-lag", "autovacuum_vacuum_scale_factor") == 0.2
    assert high("pg-autovacuum-lag", "autovacuum_vacuum_cost_delay") == 2.0
    assert min(among("pg-autovacuum-lag", "autovacuum_vacuum_cost_limit")) >= 200


def test_shared_buffers_and_connections_fit_the_machine() -> None:
    assert high("pg-shared-buffers", "shared_buffers") == pytest.approx(0.4 * 16 * GB / 8192, rel=1e-3)
    assert low("pg-max-connections", "max_connections") == 40


def test_misses_enlarge_the_buffer_pool_within_memory() -> None:
    bound = told("my-buffer-pool")
    assert bound is not None
    assert bound.risk == "high"
    assert not bound.low
    assert bound.high["innodb_buffer_pool_size"] == pytest.approx(0.7 * 16 * GB)
    raised = told("my-cache-misses")
    assert raised is not None
    assert raised.risk == "low"
    assert raised.low["innodb_buffer_pool_size"] == 256 * MB
    assert raised.high == bound.high
    assert told("my-cache-misses", cache_hit=0.999) is None
    assert told("my-buffer-pool", host=Host(cores=4)) is None
    assert told("my-cache-misses", host=Host(cores=4)) is None


def test_the_log_lasts_half_an_hour_and_stays_below_the_cache() -> None:
    assert low("my-log-file-size", "innodb_log_file_size", log_bytes_per_second=60_000.0) == 60_000 * 1800
    assert high("my-log-file-size", "innodb_log_file_size") == 128 * MB


def test_writing_in_the_background_stays_moderate() -> None:
    assert high("my-io-capacity", "innodb_io_capacity") == 10_000
    assert low("my-dirty-pages", "innodb_max_dirty_pages_pct") == 50
    assert high("my-purge-threads", "innodb_purge_threads") == 8


def test_threads_are_unlimited_or_many() -> None:
    allowed = among("my-thread-concurrency", "innodb_thread_concurrency")

    assert 0 in allowed
    assert min(value for value in allowed if value) >= 16


def test_caches_of_tables_and_threads_follow_connections() -> None:
    assert low("my-table-cache", "table_open_cache") == 1000
    assert min(among("my-thread-cache", "thread_cache_size", connections=60.0)) >= 60


def test_temporary_tables_on_disk_raise_both_sizes() -> None:
    assert told("my-tmp-tables") is None
    assert low("my-tmp-tables", "tmp_table_size", disk_tables_per_second=5.0) == 32 * MB
    assert low("my-tmp-tables", "max_heap_table_size", disk_tables_per_second=5.0) == 32 * MB


def test_rules_of_mysql_ask_only_for_what_mysql_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = [*mysql_statistics._STATUS, "commits", "statements", "statement_seconds"]
    first, last = (Snapshot(at, "a", dict.fromkeys(counters, at), {"connections": 9.0}) for at in (100.0, 160.0))
    metrics = between(first, last)
    asked: set[str] = set()

    def measured(_: Situation, name: str) -> float | None:
        asked.add(name)
        return None

    monkeypatch.setattr(Situation, "measured", measured)

    advice("mariadb", knobs("mariadb"), HOST, probe("mariadb"), metrics)

    assert {"cache_hit", "full_joins_per_second"} <= asked
    assert [name for name in asked if getattr(metrics, name) is None] == []


def test_memory_of_connections_is_shared_out() -> None:
    found = told("my-per-connection")

    assert found is not None
    assert found.risk == "high"
    assert found.high["join_buffer_size"] == pytest.approx(0.25 * 16 * GB / 200, rel=1e-3)
    assert set(found.high) >= {"tmp_table_size", "sort_buffer_size", "mrr_buffer_size", "binlog_cache_size"}


def test_buffers_of_sorts_and_joins_stay_small() -> None:
    assert high("my-sort-buffer", "sort_buffer_size") == 8 * MB
    assert high("my-join-buffer", "join_buffer_size") == 8 * MB


def test_joins_go_by_hash_where_there_is_no_index_and_never_in_the_place_of_one() -> None:
    assert set(among("my-join-lookups", "join_cache_level")) == {0, 1, 2, 5, 6, 7, 8}
    assert told("my-join-hash") is None
    assert told("my-join-hash", full_joins_per_second=0.0) is None
    assert set(among("my-join-hash", "join_cache_level", full_joins_per_second=5.0)) == {5, 6, 7, 8}


def test_values_are_not_named_of_a_knob_on_a_scale() -> None:
    chosen = [replace(knob, scale="linear") for knob in knobs("mariadb") if knob.name == "join_cache_level"]

    assert not advice("mariadb", chosen, HOST, probe("mariadb"), replace(CALM, full_joins_per_second=5.0))


def test_the_planner_does_not_look_far_ahead() -> None:
    allowed = among("my-search-depth", "optimizer_search_depth")

    assert 0 in allowed
    assert max(allowed) <= 10


def test_joins_are_always_pruned() -> None:
    found = told("my-prune-level")

    assert found is not None
    assert (found.low, found.hard) == ({"optimizer_prune_level": 1}, True)


def test_the_query_cache_stays_off() -> None:
    assert among("my-query-cache", "query_cache_size") == [0]
    found = told("my-query-cache")
    assert found is not None
    assert "query_cache_type" not in found.among or found.among["query_cache_type"][0] == "OFF"


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest.mark.parametrize("host", [HOST, Host(), Host(ram_bytes=512 * MB, cores=1)])
def test_recommended_settings_lie_in_the_space(kind: Kind, host: Host) -> None:
    chosen = knobs(kind, host)
    space = to_space(chosen)

    found = recommended(kind, chosen, host, 100)

    whole = space.validate_config({**space.default(), **found})
    assert {name: whole[name] for name in found} == found
    assert all(math.isfinite(value) for value in space.encode(whole))


def test_recommended_settings_follow_the_machine() -> None:
    large = recommended("postgresql", knobs("postgresql"), HOST, 100)
    unknown = recommended("postgresql", knobs("postgresql", Host()), Host(), 100)

    assert large["effective_cache_size"] == 12 * GB // 8192
    assert large["max_parallel_workers_per_gather"] == 4
    assert not {"work_mem", "effective_cache_size", "max_parallel_workers"} & set(unknown)
    assert unknown["random_page_cost"] == 1.1
    assert recommended("mariadb", knobs("mariadb"), HOST, 100)["query_cache_size"] == 0


def test_advice_fits_a_running_server(postgres: PrivatePostgres) -> None:
    database = Postgres(parse_dsn(postgres.dsn()))
    database.connect()
    try:
        chosen, seen = database.knobs(), database.probe()
    finally:
        database.close()
    space = to_space(chosen)

    rules = [Rule(**vars(each)) for each in advice("postgresql", chosen, seen.host, seen, CALM)]
    found = recommended("postgresql", chosen, seen.host, seen.max_connections)

    RuleBook(space, space.default()).check(rules)
    assert len(rules) >= 12
    space.validate_config({**space.default(), **found})
    assert len(found) >= 8

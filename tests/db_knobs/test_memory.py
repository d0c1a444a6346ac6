"""The memory guard: the worst case against the machine, and never against what already runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_knobs.address import parse_dsn
from db_knobs.catalog import Host
from db_knobs.errors import DatabaseError
from db_knobs.knob import Danger, Knob, Special
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.memory import guard, needed, worst_case
from db_knobs.postgres import Postgres
from db_knobs.rules import recommended
from tunewright.space import Config

MB, GB = 1024**2, 1024**3
HOST = Host(ram_bytes=8 * GB, cores=4)
WORK_MEM = Knob("work_mem", "integer", "", 4096, "kB", 1024.0, 1024, 2**20, "log", danger=Danger.MEMORY)
VACUUM = Knob(
    *("autovacuum_work_mem", "integer", "", -1, "kB", 1024.0, 16384, 2**20, "log"),
    special=Special(-1, "automatic", "low"),
    danger=Danger.MEMORY,
)
COST = Knob("random_page_cost", "real", "", 4.0, low=1.0, high=6.0)
# As PostgreSQL 15 reports them by default.
POSTGRES: Config = {
    "shared_buffers": 16384,
    "wal_buffers": -1,
    "work_mem": 4096,
    "hash_mem_multiplier": 2.0,
    "temp_buffers": 1024,
    "maintenance_work_mem": 65536,
    "autovacuum_work_mem": -1,
    "autovacuum_max_workers": 3,
    "max_parallel_workers": 8,
    "max_parallel_workers_per_gather": 2,
    "logical_decoding_work_mem": 65536,
}
MYSQL: Config = {
    "innodb_buffer_pool_size": GB,
    "innodb_log_buffer_size": 16 * MB,
    "key_buffer_size": 0,
    "tmp_table_size": 16 * MB,
    "max_heap_table_size": 8 * MB,
    "sort_buffer_size": 2 * MB,
    "join_buffer_size": MB,
    "read_buffer_size": MB,
    "read_rnd_buffer_size": MB,
    "binlog_cache_size": MB,
    "thread_stack": MB,
}


def test_worst_case_of_postgres_by_hand() -> None:
    backend, query = 8 * MB, 2 * 4 * MB
    expected = (128 + 4 + 3 * 64 + 64 + 64) * MB + 100 * (query + 8 * MB + backend) + 8 * (query + backend)

    assert worst_case("postgresql", POSTGRES, 100) == expected


def test_worst_case_of_mysql_by_hand() -> None:
    expected = 1.05 * GB + 16 * MB + 10 * (2 + 1 + 1 + 1 + 1 + 1 + 8) * MB

    assert worst_case("mysql", MYSQL, 10) == pytest.approx(expected)


def test_mariadb_counts_its_own() -> None:
    own = {**MYSQL, "query_cache_size": 64 * MB, "mrr_buffer_size": MB, "aria_pagecache_buffer_size": 128 * MB}

    more = worst_case("mariadb", own, 10) - worst_case("mysql", MYSQL, 10)

    assert more == pytest.approx((64 + 128 + 10) * MB)


def test_a_build_that_lacks_a_setting_takes_no_memory_for_it() -> None:
    assert worst_case("mariadb", MYSQL, 10) == worst_case("mysql", MYSQL, 10)
    assert guard("mariadb", [], HOST, 10, MYSQL)({}) is None


def test_what_fits_is_safe_and_what_does_not_is_told_in_words() -> None:
    check = guard("postgresql", [WORK_MEM, COST], HOST, 100, POSTGRES)

    assert check({"work_mem": 16 * 1024, "random_page_cost": 1.1}) is None
    words = check({"work_mem": 256 * 1024, "random_page_cost": 1.1})
    assert words is not None
    assert "100 connections" in words
    assert "6.4 GB are allowed (80% of 8 GB)" in words


def test_the_reference_is_safe_however_small_the_machine() -> None:
    check = guard("postgresql", [WORK_MEM, COST], Host(ram_bytes=512 * MB), 100, POSTGRES)

    assert check({"work_mem": 4096, "random_page_cost": 1.1}) is None
    assert check({"work_mem": 2048, "random_page_cost": 4.0}) is None
    assert check({"work_mem": 5000, "random_page_cost": 4.0}) is not None


def test_unknown_memory_forbids_every_rise() -> None:
    check = guard("postgresql", [WORK_MEM, VACUUM, COST], Host(), 100, {})
    reference: Config = {"work_mem": 4096, "autovacuum_work_mem": -1, "random_page_cost": 4.0}

    assert check(reference) is None
    assert check({**reference, "work_mem": 2048, "random_page_cost": 1.1}) is None
    assert "declare it" in (check({**reference, "work_mem": 4097}) or "")
    assert '"autovacuum_work_mem"' in (check({**reference, "autovacuum_work_mem": 16384}) or "")


def test_what_takes_nothing_is_no_rise_and_workers_take_memory() -> None:
    results = Knob(
        *("query_cache_size", "integer", "", MB, "B", 1.0, MB, 256 * MB, "log"),
        special=Special(0, "off", "low"),
        danger=Danger.MEMORY,
    )
    workers = Knob("max_parallel_workers", "integer", "", 8, low=1, high=64, special=Special(0, "off", "low"))

    assert guard("mariadb", [results], Host(), 100, {})({"query_cache_size": 0}) is None
    assert guard("mariadb", [replace(results, current=0)], Host(), 100, {})({"query_cache_size": MB}) is not None
    assert guard("postgresql", [workers], Host(), 100, {})({"max_parallel_workers": 0}) is None
    assert guard("postgresql", [workers], Host(), 100, {})({"max_parallel_workers": 16}) is not None


def test_what_is_missing_is_named() -> None:
    with pytest.raises(DatabaseError, match=r"others: shared_buffers, .* missing; read them"):
        guard("postgresql", [WORK_MEM], HOST, 100, {})
    with pytest.raises(DatabaseError, match="max_connections: 0"):
        guard("postgresql", [WORK_MEM], HOST, 0, POSTGRES)


@given(less=st.integers(1024, 2**20), more=st.integers(1024, 2**20), connections=st.integers(1, 500))
def test_more_memory_is_never_safer(less: int, more: int, connections: int) -> None:
    less, more = sorted((less, more))
    check = guard("postgresql", [WORK_MEM], HOST, connections, POSTGRES)

    if check({"work_mem": less}) is not None:
        assert check({"work_mem": more}) is not None


def test_a_running_server_has_all_that_the_guard_needs(postgres: PrivatePostgres) -> None:
    database = Postgres(parse_dsn(postgres.dsn()), HOST)
    database.connect()
    try:
        knobs = database.knobs()
        others = database.read(needed("postgresql"))
        reference = database.read([knob.name for knob in knobs])
    finally:
        database.close()

    check = guard("postgresql", knobs, HOST, 200, others)

    assert check(reference) is None
    assert check({**reference, "work_mem": 1024**2}) is not None


@pytest.mark.parametrize("gigabytes", [2, 8, 64])
def test_what_is_recommended_on_mariadb_passes_the_guard(gigabytes: int) -> None:
    host = Host(ram_bytes=gigabytes * GB, cores=4)
    pool = Knob(
        *("innodb_buffer_pool_size", "integer", "", 128 * MB, "", None, 64 * MB, host.ram_bytes, "log"),
        danger=Danger.MEMORY,
    )
    own: Config = {"query_cache_size": 0, "mrr_buffer_size": MB // 4, "aria_pagecache_buffer_size": 128 * MB}
    others: Config = {**MYSQL, "tmp_table_size": 16 * MB, "max_heap_table_size": 16 * MB, "key_buffer_size": 128 * MB}

    config = recommended("mariadb", [pool], host, 20 * gigabytes)

    assert guard("mariadb", [pool], host, 20 * gigabytes, {**others, **own})(config) is None

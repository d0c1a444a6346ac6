"""What MySQL and MariaDB say, read without a server: MySQL's own forms have no real one here."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import Mock

import pymysql
import pytest

from db_knobs import mysql, mysql_connection, mysql_statistics
from db_knobs.address import parse_dsn
from db_knobs.catalog import Host, entries, join
from db_knobs.errors import DatabaseError, StatementTimeout, UnknownServer, ValueRefused
from db_knobs.knob import Applies, to_space
from db_knobs.mysql_connection import server_of
from db_knobs.mysql_plans import estimate_of, explainable
from db_knobs.mysql_rights import dormant_roles, grant, has, missing_to_set, reads, rights_of
from db_knobs.mysql_variables import MYSQL, literal, reported_by, resizing
from db_knobs.statistics import MAX_STATEMENTS, Snapshot, between

# Rows as MySQL 8.0's documentation has them: name, value, source, least, most.
MYSQL_ROWS = [
    ("innodb_buffer_pool_size", "134217728", "COMPILED", "5242880", "9223372036854775807"),
    ("innodb_adaptive_hash_index", "ON", "COMPILED", "0", "0"),
    ("innodb_change_buffering", "all", "PERSISTED", "0", "0"),
    ("innodb_adaptive_flushing_lwm", "10", "COMPILED", "0", "70"),
    ("innodb_max_dirty_pages_pct", "90.000000", "COMPILED", "0", "99"),
    ("innodb_flush_neighbors", "0", "COMPILED", "0", "2"),
    ("innodb_purge_threads", "4", "COMPILED", "1", "32"),
    ("sort_buffer_size", "262144", "GLOBAL", "32768", "18446744073709551615"),
    ("innodb_doublewrite", "DETECT_AND_RECOVER", "COMPILED", "0", "0"),
    ("max_connections", "151", "COMPILED", "1", "100000"),
    ("basedir", "/usr/", "COMPILED", "0", "0"),
]


def test_mysql_variables_become_knobs_of_the_catalogues_types() -> None:
    reported = reported_by("mysql", MYSQL_ROWS)
    host = Host(ram_bytes=8 * 1024**3, cores=4)
    names = [name for name in reported if entries("mysql").get(name) and entries("mysql")[name].offered]

    knobs = {name: join(entries("mysql")[name], reported[name], host) for name in names}

    pool, hashes = knobs["innodb_buffer_pool_size"], knobs["innodb_adaptive_hash_index"]
    assert pool is not None
    assert (pool.type, pool.current, pool.low, pool.unit) == ("integer", 134217728, 64 * 1024**2, "B")
    assert hashes is not None
    assert hashes.current is True
    assert reported["innodb_max_dirty_pages_pct"].current == 90.0
    assert reported["innodb_change_buffering"].source == "PERSISTED"
    assert reported["innodb_purge_threads"].applies is Applies.RESTART
    assert reported["sort_buffer_size"].applies is Applies.NEW_CONNECTIONS
    assert reported["innodb_buffer_pool_size"].applies is Applies.ONLINE
    assert reported["basedir"].type == "enum"
    assert to_space([knob for knob in knobs.values() if knob is not None]).default()["sort_buffer_size"] == 262144


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        ("8.0.39-0ubuntu0.22.04.1", ("mysql", (8, 0))),
        ("8.4.3", ("mysql", (8, 4))),
        ("5.5.5-10.6.18-MariaDB-log", ("mariadb", (10, 6))),
        ("11.4.2-MariaDB-ubu2404", ("mariadb", (11, 4))),
    ],
)
def test_a_greeting_tells_kind_and_version(greeting: str, expected: tuple[str, tuple[int, int]]) -> None:
    kind, version, _ = server_of(greeting)

    assert (kind, version) == expected


def test_a_greeting_of_something_else_is_an_unknown_server() -> None:
    with pytest.raises(UnknownServer, match="neither MySQL nor MariaDB"):
        server_of("SSH-2.0-OpenSSH")


def test_grants_are_read_with_roles_columns_and_quotes() -> None:
    rights = rights_of(
        [
            "GRANT PROCESS, BINLOG ADMIN ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*AB'",
            "GRANT SELECT ON `performance_schema`.* TO `u`@`%`",
            "GRANT SELECT (`a`, `b`), INSERT ON `shop`.`orders` TO `u`@`%`",
            "GRANT SELECT ON `my shop`.* TO `u`@`%`",
            "GRANT `reporter`@`%` TO `u`@`%`",
        ]
    )

    assert rights["*.*"] == {"PROCESS", "BINLOG ADMIN"}
    assert has(rights, "SELECT", "performance_schema.*")
    assert not has(rights, "SUPER")
    assert reads(rights, "shop")
    assert reads(rights, "my shop")
    assert not reads(rights, "other")
    assert has(
        rights_of(["GRANT ALL PRIVILEGES ON *.* TO 'r'@'%' WITH GRANT OPTION"]), "SELECT", "performance_schema.*"
    )


@pytest.mark.parametrize(
    ("where", "database", "covered"),
    [
        (r"`db\_%`.*", "db_orders", True),
        (r"`db\_%`.*", "dbxorders", False),
        ("`db_1`.*", "dbx1", True),
        (r"`db\_1`.*", "dbx1", False),
        (r"`performance\_schema`.*", "performance_schema", True),
        ("`perf%`.*", "performance_schema", True),
        ("`db_1`.`t`", "dbx1", False),
    ],
)
def test_a_grant_on_a_pattern_holds_for_the_databases_that_fit(where: str, database: str, covered: bool) -> None:
    rights = rights_of([f"GRANT SELECT ON {where} TO `u`@`%`"])

    assert has(rights, "SELECT", f"{database}.*") == covered
    assert not has(rights, "SELECT")
    if database != "performance_schema":
        assert reads(rights, database) == covered


@pytest.mark.parametrize(
    ("grants", "active", "dormant"),
    [
        (["GRANT `seer` TO `u`@`%`"], None, ["`seer`"]),
        (["GRANT `seer` TO `u`@`%` WITH ADMIN OPTION", "GRANT `inner` TO `seer`"], "seer", []),
        (["GRANT `a`@`%`,`b`@`%` TO `u`@`%`"], "`b`@`%`", ["`a`@`%`"]),
        (["GRANT `a`@`%` TO `u`@`%`"], "NONE", ["`a`@`%`"]),
        (["GRANT SELECT ON `a`.* TO `u`@`%`", "GRANT PROXY ON ''@'%' TO 'u'@'%'"], None, []),
    ],
)
def test_roles_that_are_granted_and_not_active_are_known(
    grants: list[str], active: str | None, dormant: list[str]
) -> None:
    assert dormant_roles(grants, active) == dormant


@pytest.mark.parametrize(
    ("kind", "version", "held", "names", "missing"),
    [
        ("mysql", (8, 0), "SYSTEM_VARIABLES_ADMIN", ["sort_buffer_size"], []),
        ("mysql", (8, 4), "SUPER", ["sort_buffer_size"], []),
        ("mysql", (8, 0), "PROCESS", ["sort_buffer_size", "max_connections"], ["SYSTEM_VARIABLES_ADMIN"]),
        ("mariadb", (10, 6), "SUPER", ["sort_buffer_size", "max_connections"], []),
        ("mariadb", (10, 11), "PROCESS", ["sort_buffer_size"], ["SUPER"]),
        ("mariadb", (11, 4), "SUPER", ["sort_buffer_size", "binlog_cache_size"], ["BINLOG ADMIN"]),
        ("mariadb", (11, 4), "CONNECTION ADMIN", ["max_connections"], []),
    ],
)
def test_missing_privileges_follow_the_version(
    kind: str, version: tuple[int, int], held: str, names: list[str], missing: list[str]
) -> None:
    rights = rights_of([f"GRANT {held} ON *.* TO `u`@`%`"])

    assert missing_to_set(kind, version, rights, names) == missing  # type: ignore[arg-type]


def test_a_grant_names_its_account_safely() -> None:
    assert grant(["SUPER"], "*.*", "o'neil@10.0.%") == "GRANT SUPER ON *.* TO 'o''neil'@'10.0.%';"


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [
        ("", False),
        ("Completed resizing buffer pool at 240826  6:25:46.", False),
        ("Size did not change (old size = new size = 134217728. Nothing to do.)", False),
        ("Resizing buffer pool failed, finished resizing at 240826", False),
        ("Resizing buffer pool from 134217728 to 268435456 (unit=134217728).", True),
        ("Withdrawing blocks to be shrunken.", True),
    ],
)
def test_a_resize_goes_on_until_it_says_otherwise(status: str, goes_on: bool) -> None:
    assert resizing(status) is goes_on


class _Scripted:
    """A server of a few variables, some of which it refuses to set."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, values: Mapping[str, int], refuses: Mapping[str, tuple[int, str]]
    ) -> None:
        self.values, self._refuses, self.resizing = dict(values), refuses, [""]
        monkeypatch.setattr(mysql_connection, "opened", lambda *_, **__: (Mock(open=True), "mysql", (8, 0)))
        monkeypatch.setattr(mysql, "rows", self._rows)

    def _rows(self, _connection: Any, statement: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if statement == MYSQL:
            return [(name, str(value), "DYNAMIC", "0", "0") for name, value in self.values.items()]
        if "resize_status" in statement:
            return [("status", self.resizing.pop(0) if len(self.resizing) > 1 else self.resizing[0])]
        if statement.startswith("SET GLOBAL"):
            name = statement.split("`")[1]
            if name in self._refuses:
                raise pymysql.err.OperationalError(*self._refuses[name])
            assert not resizing(self.resizing[0])
            self.values[name] = min(arguments[0], self.values.get(f"{name}_max", arguments[0]))
        return []


@pytest.mark.parametrize(
    ("code", "said", "raised"),
    [
        (1290, "The server is running with an option so it cannot execute this statement", DatabaseError),
        (1221, "innodb_buffer_pool_size change aborted", ValueRefused),
        (1501, "Failed to create specific handler file", ValueRefused),
        (1210, "Another buffer pool resize is already in progress.", StatementTimeout),
        (3166, "Another buffer pool resize is already in progress.", StatementTimeout),
    ],
)
def test_what_can_be_put_back_is_whatever_one_variable_is_refused_for(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, raised: type[Exception]
) -> None:
    server = _Scripted(
        monkeypatch, {"innodb_io_capacity": 900, "sort_buffer_size": 9}, {"innodb_io_capacity": (code, said)}
    )
    database = mysql.MySQL(parse_dsn("mysql://u@h/"))

    with pytest.raises(raised, match=said):
        database.restore({name: {"value": 200, "text": None} for name in server.values})

    assert server.values == {"innodb_io_capacity": 900, "sort_buffer_size": 200}


def test_what_the_server_moved_along_is_put_back_though_another_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"innodb_io_capacity": 200, "innodb_io_capacity_max": 400, "sort_buffer_size": 9}
    server = _Scripted(monkeypatch, values, {"sort_buffer_size": (1290, "read only")})
    former = {"innodb_io_capacity": 2000, "innodb_io_capacity_max": 4000, "sort_buffer_size": 200}

    with pytest.raises(DatabaseError, match="read only"):
        mysql.MySQL(parse_dsn("mysql://u@h/")).restore({n: {"value": v, "text": None} for n, v in former.items()})

    assert server.values == {**former, "sort_buffer_size": 9}


def test_a_cache_that_is_being_resized_is_waited_for_before_it_is_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = _Scripted(monkeypatch, {"innodb_buffer_pool_size": 9, "sort_buffer_size": 9}, {})
    database = mysql.MySQL(parse_dsn("mysql://u@h/"))
    monkeypatch.setattr("db_knobs.mysql.time.sleep", lambda _: None)
    server.resizing = ["Withdrawing blocks to be shrunken.", "Completed resizing buffer pool."]

    database.apply({"innodb_buffer_pool_size": 100})

    assert server.values["innodb_buffer_pool_size"] == 100


def test_a_list_of_statements_is_full_whatever_else_took_long(monkeypatch: pytest.MonkeyPatch) -> None:
    server = sqlite3.connect(":memory:")
    server.execute("ATTACH ':memory:' AS performance_schema")
    numbers = "COUNT_STAR, SUM_TIMER_WAIT, SUM_ROWS_SENT, SUM_ROWS_AFFECTED, SUM_ROWS_EXAMINED, SUM_NO_INDEX_USED"
    table = "performance_schema.events_statements_summary_by_digest"
    server.execute(f"CREATE TABLE {table} (SCHEMA_NAME, DIGEST, DIGEST_TEXT, {numbers})")
    texts = ["SHOW VARIABLES", "SET NAMES `utf8mb4`", *(f"SELECT {number}" for number in range(MAX_STATEMENTS + 1))]
    for place, text in enumerate(texts):
        row = ("shop", f"d{place}", text, 1, 10_000 - place, 0, 0, 0, 0)
        server.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # nosec B608
    monkeypatch.setattr(
        mysql_statistics, "rows", lambda _, query, arguments: server.execute(query, arguments).fetchall()
    )
    sees = mysql_statistics.Sees(True, True, True, "", deadlocks=False, lag="", shared=False)

    found = mysql_statistics.statements(Mock(), sees, "", texts=True)

    assert [each.text for each in found.values()] == texts[2 : MAX_STATEMENTS + 2]


def test_the_last_bucket_has_no_end_and_makes_no_quantile_a_coarse_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [(10_000_000, 1), (10_471_285, 3), (10_964_781, 0), (2**64 - 1, 0)]
    monkeypatch.setattr(mysql_statistics, "rows", lambda *_: told)

    buckets = mysql_statistics._buckets(Mock(), "server")

    none = tuple((bound, 0.0) for bound, _ in buckets)
    before, after = (Snapshot(at, "a", {"commits": at}, {}, buckets=each) for at, each in ((1.0, none), (2.0, buckets)))
    assert buckets[-1] == (math.inf, 0.0)
    assert between(before, after).latency_p50_ms == pytest.approx(0.01015, rel=0.01)
    assert between(before, after).approximate == ()


def test_values_are_spelled_as_the_server_takes_them() -> None:
    assert [literal(value) for value in (True, False, 7, 0.1 + 0.2, "all")] == ["ON", "OFF", 7, 0.3, "all"]


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        (
            "SELECT `a` , COUNT ( * ) FROM `t` WHERE `b` IN (...) AND `c` > ? LIMIT ? , ? ",
            "SELECT `a` , COUNT ( * ) FROM `t` WHERE `b` IN ('1') AND `c` > '1' LIMIT 10 ",
        ),
        ("SELECT NOW ( ) - INTERVAL ? DAY ", "SELECT NOW ( ) - INTERVAL 1 DAY "),
        ("SELECT * FROM `t` FOR UPDATE ", None),
        ("SELECT * INTO `x` FROM `t` ", None),
        ("UPDATE `t` SET `a` = ? ", None),
        ("SELECT `a` FROM `t` WHERE `b` = ? AND ...", None),
    ],
)
def test_only_whole_reads_are_explained(digest: str, expected: str | None) -> None:
    assert explainable(digest) == expected


def test_a_plan_of_mysql_is_read_with_its_loops() -> None:
    plan = {
        "query_block": {
            "select_id": 1,
            "nested_loop": [
                {
                    "table": {
                        "table_name": "o",
                        "access_type": "ALL",
                        "rows_examined_per_scan": 1000,
                        "filtered": "10.00",
                    }
                },
                {
                    "table": {
                        "table_name": "p",
                        "access_type": "eq_ref",
                        "rows_examined_per_scan": 1,
                        "filtered": "100.00",
                    }
                },
            ],
        }
    }

    estimate = estimate_of(json.dumps(plan))

    assert estimate is not None
    assert estimate.rows == 1000 + 100 * 1
    assert estimate.filtered == pytest.approx(1 - 200 / 1100)
    assert estimate.indexed == 0.5


def test_a_plan_that_was_read_while_planning_is_one_look_up() -> None:
    plan = {"query_block": {"table": {"message": "Impossible WHERE noticed after reading const tables"}}}

    estimate = estimate_of(json.dumps(plan))

    assert estimate is not None
    assert (estimate.rows, estimate.filtered, estimate.indexed) == (1, 0, 1)
    assert estimate_of(json.dumps({"query_block": {"message": "No tables used"}})) is None

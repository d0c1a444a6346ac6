"""What only MariaDB and MySQL do."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest
from pymysql.constants import COMMAND

from db_knobs.attach import open_database
from db_knobs.catalog import entries
from db_knobs.database import Allowed, Database
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    KnobRefused,
    LoginRefused,
    RightMissing,
    ServerBusy,
    StatementTimeout,
    UnknownKnob,
)
from db_knobs.knob import Danger
from db_knobs.lab.mariadb import PrivateMariaDB
from db_knobs.mysql import MySQL
from db_knobs.mysql_connection import translation
from db_knobs.statistics import between
from tests.db_knobs.sites import MariaDBSite, run
from workers.session_custody import Custody


@pytest.fixture
def mariadb_database(mariadb_site: MariaDBSite) -> Iterator[Database]:
    """Attached as the administrator; what a test has changed is put back."""
    database = open_database(mariadb_site.address)
    catalog, server = entries("mariadb"), mariadb_site.all_settings()
    former = database.former([name for name in catalog if name in server and name not in READ_ONLY])
    yield database
    database.restore(former)
    database.close()


READ_ONLY = {"innodb_doublewrite", "innodb_log_buffer_size"}


def test_what_the_server_rounds_is_reported_as_it_stands(mariadb_site: MariaDBSite, mariadb_database: Database) -> None:
    applied = mariadb_database.apply({"innodb_buffer_pool_size": 99_999_999, "join_buffer_size": 100_000})

    assert applied.settings == mariadb_database.read(list(applied.settings))
    assert applied.settings["innodb_buffer_pool_size"] == 99_614_720
    assert applied.settings["join_buffer_size"] == 99_968
    assert mariadb_site.stands("innodb_buffer_pool_size") == "99614720"


def test_what_the_server_moves_along_is_reported_and_put_back(
    mariadb_site: MariaDBSite, mariadb_database: Database
) -> None:
    before = mariadb_site.all_settings()
    former = mariadb_database.former(["innodb_io_capacity", "innodb_max_dirty_pages_pct"])
    assert {"innodb_io_capacity_max", "innodb_max_dirty_pages_pct_lwm"} <= set(former)

    applied = mariadb_database.apply({"innodb_io_capacity": 5000})

    assert applied.settings == {"innodb_io_capacity": 5000, "innodb_io_capacity_max": 10000}
    mariadb_database.restore(former)
    assert mariadb_site.all_settings() == before


def test_the_reference_is_what_stood_with_what_the_server_has_moved_along(mariadb_database: Database) -> None:
    names = ["innodb_io_capacity", "innodb_io_capacity_max"]
    before = mariadb_database.read(names)
    custody = Custody(mariadb_database, mariadb_database.former(names))
    custody.ours = set(names)

    custody.put({"innodb_io_capacity": 5000})
    moved = mariadb_database.read(names)
    custody.put({"innodb_io_capacity": before["innodb_io_capacity"]})

    assert moved["innodb_io_capacity_max"] != before["innodb_io_capacity_max"]
    assert mariadb_database.read(names) == custody.expected == before


def test_knobs_that_bound_each_other_can_be_set_in_any_order(mariadb_database: Database) -> None:
    low, high = "innodb_max_dirty_pages_pct_lwm", "innodb_max_dirty_pages_pct"
    mariadb_database.apply({high: 20.0, low: 10.0})

    for wanted in ({low: 60.0, high: 80.0}, {high: 30.0, low: 5.0}, {low: 25.0, high: 50.0}):
        assert mariadb_database.apply(wanted).settings == wanted


def test_a_variable_that_is_read_at_the_start_is_refused(mariadb_database: Database) -> None:
    assert not READ_ONLY & {knob.name for knob in mariadb_database.knobs()}
    for restart in (False, True):
        with pytest.raises(KnobRefused, match="innodb_log_buffer_size"):
            mariadb_database.knobs(Allowed(names=["innodb_log_buffer_size"], restart=restart))


def test_a_variable_with_a_finer_privilege_asks_for_that_alone(mariadb_site: MariaDBSite) -> None:
    database = MySQL(mariadb_site.create_role())

    missing = database.probe(Allowed(names=["max_connections", "binlog_cache_size"])).missing

    assert "GRANT BINLOG ADMIN, CONNECTION ADMIN ON *.* TO" in missing[0]
    with pytest.raises(RightMissing, match="GRANT CONNECTION ADMIN"):
        database.apply({"max_connections": 150})
    mariadb_site.execute(*missing)
    database.connect()
    former = database.former(["max_connections", "binlog_cache_size"])
    assert database.apply({"max_connections": 150, "binlog_cache_size": 65536}).settings["max_connections"] == 150
    database.restore(former)
    with pytest.raises(RightMissing, match="GRANT SUPER"):
        database.apply({"sort_buffer_size": 1048576})
    database.close()


def test_a_role_that_is_granted_and_not_active_is_told(mariadb_site: MariaDBSite) -> None:
    address = mariadb_site.create_role()
    account = f"{address.user}@'127.0.0.1'"
    mariadb_site.execute("CREATE ROLE seer", "GRANT SUPER, BINLOG ADMIN, CONNECTION ADMIN ON *.* TO seer")
    mariadb_site.execute(r"GRANT SELECT ON `perf%`.* TO seer", f"GRANT seer TO {account}")
    database = MySQL(address)

    asleep = database.probe()
    (note,) = [note for note in asleep.notes if "seer" in note]
    mariadb_site.execute(note.rpartition(": ")[2])
    database.connect()
    awake = database.probe()

    database.close()
    mariadb_site.execute("DROP ROLE seer")
    assert asleep.missing
    assert awake.missing == ()
    assert not [note for note in awake.notes if "seer" in note]


def test_an_enum_that_may_lose_data_needs_the_words(mariadb_database: Database) -> None:
    loses = entries("mariadb")["sync_binlog"].loses
    with pytest.raises(KnobRefused, match="replicas may differ"):
        mariadb_database.knobs(Allowed(names=["sync_binlog"]))
    assert mariadb_database.knobs(Allowed(names=["sync_binlog"], accepted={"sync_binlog": loses}))


def test_sessions_keep_their_own_and_the_probe_says_so(mariadb_site: MariaDBSite, mariadb_database: Database) -> None:
    connection = mariadb_site.connect()

    mariadb_database.apply({"sort_buffer_size": 1048576})

    with connection.cursor() as cursor:
        cursor.execute("SELECT @@sort_buffer_size")
        assert cursor.fetchone() == (2097152,)
    connection.close()
    notes = " ".join(mariadb_database.probe().notes)
    assert "sort_buffer_size" in notes
    assert "until the server restarts" in notes


def test_transactions_are_counted_exactly_where_the_server_counts_them(
    mariadb_site: MariaDBSite, mariadb_database: Database
) -> None:
    work = ["BEGIN", "SELECT note FROM orders WHERE id = 1", "UPDATE orders SET note = 'x' WHERE id = 1", "COMMIT"]
    connection = mariadb_site.connect()
    assert "several times" in next(
        found.loses for found in mariadb_database.probe().capabilities if found.name == "throughput"
    )
    mariadb_site.execute("UPDATE performance_schema.setup_instruments SET ENABLED = 'YES' WHERE NAME = 'transaction'")
    try:
        assert {"throughput": ""}.items() <= {
            found.name: found.loses for found in mariadb_database.probe().capabilities
        }.items()
        before = mariadb_database.measure()
        run(connection, *work * 20)
        metrics = between(before, mariadb_database.measure())
    finally:
        mariadb_site.execute(
            "UPDATE performance_schema.setup_instruments SET ENABLED = 'NO' WHERE NAME = 'transaction'"
        )
    connection.close()

    assert metrics.throughput * metrics.seconds == pytest.approx(20, abs=2)
    assert metrics.rows_changed_per_second


def test_joins_without_an_index_are_counted(mariadb_site: MariaDBSite, mariadb_database: Database) -> None:
    connection = mariadb_site.connect()
    before = mariadb_database.measure()
    run(connection, *["SELECT COUNT(*) FROM orders a JOIN orders b ON b.id = a.customer"] * 5)
    between_them = mariadb_database.measure()
    run(connection, *["SELECT COUNT(*) FROM orders a JOIN orders b ON b.note = a.note WHERE b.id < 100"] * 5)
    after = mariadb_database.measure()
    connection.close()

    assert between(before, between_them).full_joins_per_second == 0
    metrics = between(between_them, after)
    assert (metrics.full_joins_per_second or 0) * metrics.seconds == pytest.approx(5)


def test_where_clients_prepare_what_they_run_kinds_are_told(mariadb_site: MariaDBSite) -> None:
    mariadb_site.forget_statements()
    connection = mariadb_site.connect()
    run_prepared(connection, "DO 1", 30)
    database = MySQL(mariadb_site.address)
    try:
        probe, before = database.probe(), database.measure()
        run_prepared(connection, "DO 1", 20)
        metrics = between(before, database.measure())
        kinds = set(database.workload())
    finally:
        database.close()
        connection.close()
        mariadb_site.forget_statements()

    assert not probe.can("statements")
    assert not probe.can("estimates")
    assert "prepared" in next(found.remedy for found in probe.capabilities if found.name == "statements")
    assert kinds <= {"COMMIT", "SELECT", "INSERT", "UPDATE", "DELETE"}
    assert metrics.statements_per_second is not None
    assert metrics.statements_per_second * metrics.seconds >= 19.5
    assert metrics.latency_mean_ms


def run_prepared(connection: Any, statement: str, times: int) -> None:
    """Prepare and execute a statement without a result by the server's own protocol, which the driver does not use."""
    connection._execute_command(COMMAND.COM_STMT_PREPARE, statement)
    number = struct.unpack("<I", connection._read_packet()._data[1:5])[0]
    for _ in range(times):
        connection._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", number, 0, 1))
        connection._read_packet()


def test_a_statement_that_takes_too_long_leaves_the_connection_good(mariadb_site: MariaDBSite) -> None:
    connection = mariadb_site.connect()
    run(connection, "SET SESSION max_statement_time = 0.05")

    with pytest.raises(StatementTimeout), translation(mariadb_site.address, connection):
        run(connection, "SELECT SLEEP(5)")

    run(connection, "SELECT 1")
    connection.close()


def test_a_server_that_sleeps_is_a_lost_connection(mariadb_site: MariaDBSite) -> None:
    database = MySQL(mariadb_site.address, answer_seconds=1)
    database.measure()
    mariadb_site.private.pause()
    try:
        with pytest.raises(ConnectionLost):
            database.measure()
    finally:
        mariadb_site.private.resume()

    assert database.measure().counters
    database.close()


@pytest.mark.parametrize(
    "limit", ["sql_select_limit = 5", "max_join_size = 100", "wait_timeout = 1"], ids=lambda limit: limit.split()[0]
)
def test_what_a_server_limits_for_others_limits_no_look(
    mariadb_site: MariaDBSite, mariadb_database: Database, limit: str
) -> None:
    name = limit.split()[0]
    ((before,),) = mariadb_site.execute(f"SELECT @@GLOBAL.{name}")
    full = mariadb_database.probe()
    try:
        mariadb_site.execute(f"SET GLOBAL {limit}")
        mariadb_database.connect()
        assert mariadb_database.lock("test")
        time.sleep(1.5 if name == "wait_timeout" else 0)

        assert mariadb_database.holds_lock()
        assert mariadb_database.probe().capabilities == full.capabilities
    finally:
        mariadb_site.execute(f"SET GLOBAL {name} = {before}")


@pytest.mark.parametrize("name", ["nothing", "Shop"])
def test_a_database_that_is_not_there_is_no_database(mariadb_site: MariaDBSite, name: str) -> None:
    database = open_database(replace(mariadb_site.address, database=name))

    with pytest.raises(DatabaseError, match=f"Unknown database '{name}'"):
        database.probe()

    database.close()


def test_a_database_that_the_role_may_not_see_is_taken_on_trust(mariadb_site: MariaDBSite) -> None:
    database = open_database(replace(mariadb_site.create_role(), database="nothing"))

    assert not database.probe().can("apply")

    database.close()


def test_a_file_of_certificates_that_is_not_there_is_named(mariadb_site: MariaDBSite) -> None:
    address = replace(mariadb_site.address, tls="verify-ca", ca="/nowhere/ca.pem")

    with pytest.raises(LoginRefused, match=r"/nowhere/ca\.pem: No such file"):
        open_database(address).connect()


def test_what_can_be_put_back_is_though_the_server_no_longer_knows_one(
    mariadb_site: MariaDBSite, mariadb_database: Database
) -> None:
    former = mariadb_database.former(["sort_buffer_size"])
    mariadb_database.apply({"sort_buffer_size": 1048576})

    with pytest.raises(UnknownKnob, match="long_gone"):
        mariadb_database.restore({"long_gone": {"value": 1, "text": None}, **former})

    assert mariadb_site.stands("sort_buffer_size") == "2097152"


def test_a_password_that_no_old_encoding_has_can_be_tried(mariadb_site: MariaDBSite) -> None:
    address = mariadb_site.create_role()
    secret = "пароль-€"
    mariadb_site.execute(f"SET PASSWORD FOR {address.user}@'127.0.0.1' = PASSWORD('{secret}')")

    with pytest.raises(LoginRefused) as caught:
        MySQL(mariadb_site.known(address, "nobody", secret)).connect()
    assert secret not in repr(caught.value)
    database = MySQL(mariadb_site.known(address, address.user, secret))
    database.connect()
    database.close()


def test_every_knob_of_the_catalogue_takes_its_default_and_its_ends(
    mariadb_site: MariaDBSite, mariadb_database: Database
) -> None:
    catalog = entries("mariadb")
    version = mariadb_database.probe().version
    server = mariadb_site.all_settings()
    assert {name for name, entry in catalog.items() if entry.has("mariadb", version)} <= set(server)
    accepted = {name: entry.loses for name, entry in catalog.items() if entry.loses}
    knobs = mariadb_database.knobs(
        Allowed(names=[name for name in catalog if name in server and name not in READ_ONLY], accepted=accepted)
    )

    assert all(catalog[knob.name].type == knob.type or knob.name == "innodb_adaptive_flushing_lwm" for knob in knobs)
    for pick in ("default", "low", "high", "special"):
        # What takes memory at once is only tried at its default.
        able = [knob for knob in knobs if pick == "default" or knob.danger is not Danger.MEMORY]
        wanted = {knob.name: getattr(knob, pick) for knob in able}
        settings = {
            name: value.value if pick == "special" else value for name, value in wanted.items() if value is not None
        }
        applied = mariadb_database.apply(settings)
        assert applied.settings.keys() >= settings.keys()
        stands = mariadb_site.all_settings()
        assert {name for name, text in stands.items() if text != server[name]} <= {knob.name for knob in knobs}


def test_without_performance_schema_less_is_known_and_said() -> None:
    with PrivateMariaDB(statistics=False) as server:
        server.execute("CREATE DATABASE shop")
        site = MariaDBSite(server)
        database = MySQL(replace(site.address))
        probe = database.probe()
        assert not probe.can("statements")
        assert not probe.can("percentiles")
        assert probe.can("latency")
        assert "performance_schema = ON" in next(c.remedy for c in probe.capabilities if c.name == "statements")
        assert not any("performance_schema" in grant for grant in probe.missing)

        # As the remedy says.
        remedy = next(found.remedy for found in probe.capabilities if found.name == "percentiles")
        site.execute(*remedy.rstrip(";").split("; "))
        assert database.probe().can("percentiles")
        before = database.measure()
        connection = site.connect()
        run(connection, "CREATE TABLE t (id INT PRIMARY KEY)", *["SELECT COUNT(*) FROM t"] * 50)
        connection.close()
        metrics = between(before, database.measure())
        assert metrics.latency_mean_ms is not None
        assert metrics.latency_p95_ms is not None
        assert "latency_p95_ms" in metrics.approximate
        assert metrics.throughput * metrics.seconds >= 49.5
        assert {"SELECT", "COMMIT"} & set(database.workload())
        database.close()


def test_nothing_of_a_refused_login_shows_the_password(mariadb_site: MariaDBSite) -> None:
    from db_knobs.mysql_connection import _login_error

    error = pymysql.OperationalError(1045, f"Access denied, {mariadb_site.address.password.secret}")

    assert mariadb_site.address.password.secret not in str(_login_error(mariadb_site.address, error))


def test_a_server_that_takes_no_more_connections_is_put_back_through_the_one_that_there_is(
    mariadb_site: MariaDBSite,
) -> None:
    role = mariadb_site.create_role()
    account = f"{role.user}@'127.0.0.1'"
    mariadb_site.execute(f"GRANT SUPER ON *.* TO {account} WITH MAX_USER_CONNECTIONS 2")
    database = MySQL(role)
    database.connect()
    former = database.former(["innodb_io_capacity", "sort_buffer_size"])
    database.apply({"innodb_io_capacity": 400, "sort_buffer_size": 1048576})
    assert database.lock("test")
    last = MySQL(role)
    last.connect()
    with pytest.raises(ServerBusy):
        MySQL(role).connect()

    database.restore(former)

    assert database.holds_lock()
    assert database.read(list(former)) == {name: setting["value"] for name, setting in former.items()}
    last.close()
    database.close()

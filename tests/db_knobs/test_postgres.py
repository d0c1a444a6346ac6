"""What only PostgreSQL does."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from db_knobs import postgres_connection
from db_knobs.address import parse_dsn
from db_knobs.attach import open_database
from db_knobs.catalog import Host, Reported, entries
from db_knobs.database import Allowed, Database
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    KnobRefused,
    LoginRefused,
    NotVerified,
    RightMissing,
    ServerBusy,
    StatementTimeout,
    UnknownKnob,
    ValueRefused,
)
from db_knobs.lab.postgres import PrivatePostgres, binaries
from db_knobs.postgres import Postgres
from db_knobs.postgres_connection import translation
from db_knobs.postgres_probe import left_out
from db_knobs.postgres_rights import GRANTABLE, use_monitor
from db_knobs.statistics import between
from tests.db_knobs.sites import PostgresSite, eventually, run
from workers.session_custody import Custody


@pytest.fixture
def postgres_database(postgres_site: PostgresSite) -> Iterator[Database]:
    """Attached as the administrator; what ALTER SYSTEM wrote is removed at the end."""
    database = open_database(postgres_site.address)
    yield database
    database.close()
    postgres_site.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def test_what_a_dba_wrote_with_alter_system_is_put_back_as_it_was(postgres_site: PostgresSite) -> None:
    postgres_site.execute("ALTER SYSTEM SET work_mem = '12MB'", "SELECT pg_reload_conf()")
    address = postgres_site.create_role()
    database = Postgres(address)
    postgres_site.execute(*database.probe(Allowed(names=["work_mem"])).missing)
    database.connect()

    former = database.former(["work_mem"])
    database.apply({"work_mem": 65536})
    database.restore(former)

    kept = "SELECT setting FROM pg_file_settings WHERE name = 'work_mem' AND sourcefile LIKE '%auto.conf'"
    assert postgres_site.execute(kept) == [("12MB",)]
    assert postgres_site.stands("work_mem") == "12288"
    database.close()
    postgres_site.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def test_what_a_hand_wrote_into_the_servers_own_file_is_put_back_as_it_stood(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    with (postgres_site.private.data / "postgresql.auto.conf").open("a") as file:
        file.write("Work_Mem = 12MB\nRANDOM_PAGE_COST 2.5\nseq_page_cost = much\n")
    postgres_database.connect()
    postgres_database.reread()
    former = postgres_database.former(["work_mem", "random_page_cost", "seq_page_cost"])
    postgres_database.apply({"work_mem": 8192, "random_page_cost": 1.5, "seq_page_cost": 1.3})

    postgres_database.restore(former)

    names = ("work_mem", "random_page_cost", "seq_page_cost")
    assert [postgres_site.stands(name) for name in names] == ["12288", "2.5", "1"]


def test_a_file_that_the_server_cannot_read_is_no_lost_connection(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    path = postgres_site.private.data / "postgresql.auto.conf"
    before = path.read_text()
    postgres_database.connect()
    assert postgres_database.lock("test")
    path.write_text(f"{before}work_mem = = 4MB\n")
    try:
        with pytest.raises(DatabaseError, match="could not parse contents of file") as caught:
            postgres_database.apply({"work_mem": 8192})

        assert not isinstance(caught.value, ConnectionLost)
        assert postgres_database.holds_lock()
    finally:
        path.write_text(before)


def test_what_was_written_before_a_connection_was_lost_is_taken_back(
    postgres_site: PostgresSite, postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stands as it stood, and would not after the next reload."""
    postgres_database.connect()
    custody = Custody(postgres_database, postgres_database.former(["work_mem"]))
    custody.ours = {"work_mem"}
    before = postgres_site.stands("work_mem")

    def lost(*_: object) -> None:
        raise ConnectionLost("sorry, too many clients already")

    with monkeypatch.context() as patched:
        patched.setattr(postgres_database, "reread", lambda: None)
        patched.setattr(postgres_database, "_reload_and_read", lost)
        with pytest.raises(ConnectionLost):
            custody.put({"work_mem": 65536})
    assert postgres_site.execute("SELECT count(*) FROM pg_file_settings WHERE name = 'work_mem'") == [(1,)]
    returned = custody.undo()
    postgres_site.execute("SELECT pg_reload_conf()")

    assert not returned.changed
    assert not returned.stuck
    assert postgres_site.execute("SELECT count(*) FROM pg_file_settings WHERE name = 'work_mem'") == [(0,)]
    assert postgres_site.stands("work_mem") == before


def test_what_a_dba_wrote_and_did_not_reload_is_seen_once_the_server_has_reread(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    before = postgres_database.read(["work_mem"])
    postgres_site.execute("ALTER SYSTEM SET work_mem = '12MB'")
    assert postgres_database.read(["work_mem"]) == before

    postgres_database.reread()

    assert postgres_database.read(["work_mem"]) == {"work_mem": 12288}


@pytest.mark.parametrize("hiding", ["DATABASE shop", "ROLE tunewright", "ROLE ALL"])
def test_what_a_setting_of_a_role_or_database_hides_is_put_back_for_everybody_else(
    postgres_site: PostgresSite, postgres_database: Database, hiding: str
) -> None:
    postgres_database.connect()
    custody = Custody(postgres_database, postgres_database.former(["work_mem", "jit"]))
    custody.ours = {"work_mem", "jit"}
    custody.put({"work_mem": 65536, "jit": False})
    postgres_site.execute(f"ALTER {hiding} SET work_mem = '1MB'")
    try:
        theirs = custody.theirs_to_come()
        returned = custody.back(theirs)

        assert returned.left.keys() == theirs.keys() == {"work_mem"}
        assert not returned.stuck
        assert (
            postgres_site.execute(
                "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' AND name IN ('work_mem', 'jit')"
            )
            == []
        )
    finally:
        postgres_site.execute(f"ALTER {hiding} RESET work_mem")
    assert postgres_site.stands("work_mem") == "4096"


def test_the_lock_is_held_where_others_may_not_be_quiet_for_long(postgres_site: PostgresSite) -> None:
    if postgres_site.major < 14:
        pytest.skip("no such limit there")
    address = postgres_site.create_role()
    postgres_site.execute(f"ALTER ROLE {address.user} SET idle_session_timeout = '100ms'")
    database = Postgres(address)
    database.connect()

    assert database.lock("test")
    time.sleep(0.5)

    assert database.holds_lock()
    database.close()


def test_a_server_that_cannot_read_its_files_keeps_what_stands(
    postgres_site: PostgresSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Postgres(postgres_site.address, verify_seconds=0.2)
    before = database.read(["work_mem"])
    # As with a file that has a mistake in it: it is told, and never says that it has read them.
    monkeypatch.setattr(database, "_rows", lambda *_: [(datetime.now(UTC) + timedelta(days=1),)])

    database.reread()

    assert database.read(["work_mem"]) == before
    database.close()


def test_a_log_of_large_segments_has_larger_bounds() -> None:
    class LargeSegments(PrivatePostgres):
        def _run(self, *command: Any, **options: Any) -> Any:
            large = ["--wal-segsize=64"] if str(command[0]).endswith("initdb") else []
            return super()._run(*command, *large, **options)

    if binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    with LargeSegments() as server:
        database = Postgres(parse_dsn(server.dsn()))
        knobs = {knob.name: knob for knob in database.knobs(Allowed(names=["min_wal_size", "max_wal_size"]))}
        database.close()

    assert (knobs["min_wal_size"].low, knobs["max_wal_size"].low) == (128, 256)


def test_a_setting_is_left_alone_when_nobody_tells_in_which_file_it_is(postgres_site: PostgresSite) -> None:
    if postgres_site.major < GRANTABLE:
        pytest.skip("there whoever may set anything may see everything")
    postgres_site.execute("ALTER SYSTEM SET work_mem = '12MB'", "SELECT pg_reload_conf()")
    address = postgres_site.create_role()
    postgres_site.execute(
        f"GRANT ALTER SYSTEM ON PARAMETER work_mem TO {address.user}",
        f"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {address.user}",
    )
    database = Postgres(address)

    with pytest.raises(RightMissing, match="GRANT pg_monitor") as caught:
        database.apply({"work_mem": 65536})

    assert postgres_site.stands("work_mem") == "12288"
    postgres_site.execute(*caught.value.grants)
    assert database.former(["work_mem"]) == {"work_mem": {"value": 12288, "text": "12MB"}}
    database.close()
    postgres_site.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


@pytest.mark.parametrize("member", [False, True])
def test_a_role_that_inherits_nothing_is_told_what_lets_it_see(postgres_site: PostgresSite, member: bool) -> None:
    address = postgres_site.create_role()
    postgres_site.execute(f"ALTER ROLE {address.user} NOINHERIT")
    if member:
        postgres_site.execute(f"GRANT pg_monitor TO {address.user}")
    database = Postgres(address)

    postgres_site.execute(*database.probe().missing)

    assert database.probe().missing == ()
    database.close()


@pytest.mark.parametrize(
    ("major", "inherits", "member", "statements"),
    [
        (15, True, False, ["GRANT pg_monitor TO"]),
        (15, False, True, ["ALTER ROLE"]),
        (15, False, False, ["GRANT pg_monitor TO", "ALTER ROLE"]),
        (16, True, False, ["GRANT pg_monitor TO"]),
        (16, True, True, ["GRANT pg_monitor TO .* WITH INHERIT TRUE"]),
        (16, False, False, ["GRANT pg_monitor TO .* WITH INHERIT TRUE"]),
    ],
)
def test_what_lets_a_role_see_follows_the_version(
    major: int, inherits: bool, member: bool, statements: list[str]
) -> None:
    found = use_monitor(major, "a;b", inherits=inherits, member=member)

    assert len(found) == len(statements)
    assert all(re.match(pattern, statement) for pattern, statement in zip(statements, found, strict=True))
    assert all(statement.endswith(";") and '"a;b"' in statement for statement in found)


def test_views_of_the_servers_names_do_not_stand_in_for_its_own(postgres_site: PostgresSite) -> None:
    address = postgres_site.create_role()
    postgres_site.execute(
        "CREATE SCHEMA shadow",
        f"GRANT USAGE ON SCHEMA shadow TO {address.user}",
        "CREATE VIEW shadow.pg_settings AS SELECT * FROM pg_catalog.pg_settings WHERE false",
        f"GRANT SELECT ON shadow.pg_settings TO {address.user}",
        f"ALTER ROLE {address.user} SET search_path = shadow, public, pg_catalog",
    )
    database = Postgres(address)

    found = database.read(["work_mem"])
    knobs = database.knobs(Allowed(names=["work_mem"]))

    database.close()
    postgres_site.execute("DROP SCHEMA shadow CASCADE")
    assert found == {"work_mem": int(postgres_site.stands("work_mem"))}
    assert [knob.name for knob in knobs] == ["work_mem"]


def test_a_knob_that_needs_a_restart_waits_for_it(postgres_site: PostgresSite, postgres_database: Database) -> None:
    with pytest.raises(KnobRefused, match="restart"):
        postgres_database.knobs(Allowed(names=["shared_buffers"]))
    (knob,) = postgres_database.knobs(Allowed(names=["shared_buffers"], restart=True))
    former = postgres_database.former(["shared_buffers"])

    applied = postgres_database.apply({"shared_buffers": 20000})

    assert applied.pending_restart == ("shared_buffers",)
    assert applied.settings == {"shared_buffers": knob.current}
    assert postgres_database.probe().pending_restart == ("shared_buffers",)
    with pytest.raises(KnobRefused, match="restarted"):
        postgres_database.former(["shared_buffers"])
    assert postgres_database.restore(former).pending_restart == ()


def test_a_setting_of_a_role_or_database_is_left_out_and_said(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    postgres_site.execute(
        "CREATE ROLE reporter",
        "ALTER ROLE reporter SET work_mem = '64MB'",
        "ALTER DATABASE shop SET jit = off",
    )

    names = {knob.name for knob in postgres_database.knobs()}
    notes = " ".join(postgres_database.probe().notes)

    assert not {"work_mem", "jit"} & names
    assert "work_mem is left out" in notes
    assert "ALTER ROLE" in notes
    with pytest.raises(KnobRefused, match="ALTER DATABASE"):
        postgres_database.knobs(Allowed(names=["jit"]))
    with pytest.raises(NotVerified, match="overrides it"):
        postgres_database.apply({"jit": True})
    assert postgres_site.execute("SELECT count(*) FROM pg_file_settings WHERE name = 'jit'") == [(0,)]
    postgres_site.execute("ALTER DATABASE shop RESET jit", "DROP ROLE reporter")


@pytest.mark.parametrize("replicated", [False, True])
def test_a_setting_that_a_standby_must_not_have_less_of_is_left_out_where_there_is_one(replicated: bool) -> None:
    def answers(statement: str) -> SimpleNamespace:
        return SimpleNamespace(fetchall=lambda: [(replicated,)] if "pg_stat_replication" in statement else [])

    found = left_out(SimpleNamespace(execute=answers), {})  # type: ignore[arg-type]

    assert ("max_worker_processes" in found) is replicated


def test_a_setting_of_the_command_line_is_left_out(postgres_database: Database) -> None:
    with pytest.raises(KnobRefused, match="command line"):
        postgres_database.knobs(Allowed(names=["max_connections"], restart=True))


def test_a_durability_knob_needs_the_words(postgres_database: Database) -> None:
    loses = entries("postgresql")["synchronous_commit"].loses

    with pytest.raises(KnobRefused, match="may be gone"):
        postgres_database.knobs(Allowed(names=["synchronous_commit"]))
    with pytest.raises(KnobRefused, match="no durability knob"):
        postgres_database.knobs(Allowed(accepted={"work_mem": "all"}))

    (knob,) = postgres_database.knobs(Allowed(names=["synchronous_commit"], accepted={"synchronous_commit": loses}))
    assert knob.choices == ("local", "remote_write", "remote_apply", "on", "off")


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_of_parallel_plans_do_no_work_of_their_own(postgres_site: PostgresSite, workers: int) -> None:
    database = Postgres(postgres_site.create_role())
    postgres_site.execute(*database.probe().missing)
    database.connect()
    with psycopg.connect(postgres_site.private.dsn("shop"), autocommit=True) as connection:
        for setting in ("parallel_setup_cost=0", "parallel_tuple_cost=0", "min_parallel_table_scan_size=0"):
            connection.execute(f"SET {setting}".encode())
        connection.execute(f"SET max_parallel_workers_per_gather={workers}".encode())
        before = database.measure()
        for _ in range(40):
            connection.execute("SELECT count(*) FROM orders WHERE note LIKE %s", ["%y%"])
        metrics = between(before, database.measure())
    database.close()

    assert metrics.throughput * metrics.seconds == pytest.approx(40)


def test_without_the_extension_less_is_known_and_said(postgres_site: PostgresSite) -> None:
    database = Postgres(replace(postgres_site.address, database="postgres"))
    probe = database.probe()

    assert not probe.can("statements")
    assert not probe.can("percentiles")
    timed = postgres_site.major >= 14
    assert probe.can("latency") == timed
    assert "CREATE EXTENSION" in next(found.remedy for found in probe.capabilities if found.name == "statements")
    before = database.measure()
    with psycopg.connect(postgres_site.private.dsn("postgres"), autocommit=True) as connection:
        run(connection, *["SELECT count(*) FROM pg_class"] * 50)
    if postgres_site.major < 15:
        # Until then a process of its own collected what others counted, twice a second.
        time.sleep(1.5)
    metrics = between(before, database.measure())
    assert metrics.throughput * metrics.seconds >= 49.5
    assert (metrics.latency_mean_ms is not None) == timed
    assert metrics.latency_p95_ms is None
    assert "SELECT" in database.workload()
    database.close()


def test_a_schema_of_the_extension_that_is_closed_is_among_the_grants(postgres_site: PostgresSite) -> None:
    database = Postgres(postgres_site.create_role())

    assert any('GRANT USAGE ON SCHEMA "extras"' in grant for grant in database.probe().missing)
    database.close()


@pytest.mark.parametrize("setting", ["pg_stat_statements.track = none", "compute_query_id = off"])
def test_an_extension_that_is_told_to_count_nothing_counts_for_none(
    postgres_site: PostgresSite, postgres_database: Database, setting: str
) -> None:
    if postgres_site.major < 14 and "query_id" in setting:
        pytest.skip("no such setting there")
    postgres_site.execute(f"ALTER ROLE tunewright SET {setting}")
    assert postgres_database.probe().can("statements")
    postgres_site.execute(f"ALTER ROLE tunewright RESET {setting.split()[0]}")

    postgres_site.execute(f"ALTER SYSTEM SET {setting}", "SELECT pg_reload_conf()")
    postgres_database.connect()

    eventually(lambda: not postgres_database.probe().can("statements"))
    assert not postgres_database.probe().can("percentiles")
    assert postgres_database.measure().work == "commits"


def test_percentiles_are_approximate(postgres_site: PostgresSite, postgres_database: Database) -> None:
    connection = postgres_site.connect()
    before = postgres_database.measure()
    for _ in range(60):
        run(connection, "SELECT count(*) FROM orders", "SELECT 1")
    metrics = between(before, postgres_database.measure())
    connection.close()

    assert metrics.latency_p50_ms is not None
    assert metrics.latency_p95_ms is not None
    assert metrics.latency_p99_ms is not None
    assert 0 < metrics.latency_p50_ms <= metrics.latency_p95_ms <= metrics.latency_p99_ms < 1000
    assert set(metrics.approximate) == {"latency_p50_ms", "latency_p95_ms", "latency_p99_ms"}


def test_a_role_that_others_use_too_is_noted_and_its_statements_count(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    postgres_site.forget_statements()
    connection = postgres_site.connect()
    run(connection, "SELECT id FROM orders WHERE id = 77")

    notes = " ".join(postgres_database.probe().notes)
    texts = [statement.text for statement in postgres_database.workload().values()]

    connection.close()
    assert "others use" in notes
    assert any("SELECT id FROM orders WHERE id =" in text for text in texts)


def test_the_lock_holds_for_all_databases_of_a_server(postgres_site: PostgresSite, postgres_database: Database) -> None:
    elsewhere = Postgres(replace(postgres_site.address, database="postgres"))

    assert postgres_database.lock("session:1")
    assert not elsewhere.lock("session:2")
    (name,) = postgres_site.execute("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE '%:1'")
    assert name == ("tunewright session:1",)

    postgres_database.close()
    eventually(lambda: elsewhere.lock("session:2"))
    elsewhere.close()


def test_a_broken_file_is_not_verified_and_what_was_written_is_removed(
    postgres_site: PostgresSite,
) -> None:
    configuration = postgres_site.private.data / "postgresql.conf"
    text = configuration.read_text()
    database = Postgres(postgres_site.address, verify_seconds=0.3)
    database.connect()
    try:
        configuration.write_text(text + "\nthis is no setting\n")
        with pytest.raises(NotVerified, match="log"):
            database.apply({"work_mem": 9999})
    finally:
        configuration.write_text(text)
        postgres_site.execute("SELECT pg_reload_conf()")

    assert "work_mem" not in (postgres_site.private.data / "postgresql.auto.conf").read_text()
    database.close()


def test_an_unknown_database_or_role_is_a_refused_login(postgres_site: PostgresSite) -> None:
    for address in (replace(postgres_site.address, database="none"), replace(postgres_site.address, user="nobody")):
        with pytest.raises(LoginRefused):
            Postgres(address).connect()


def test_a_statement_that_takes_too_long_leaves_the_connection_good(postgres_site: PostgresSite) -> None:
    with psycopg.connect(postgres_site.private.dsn(), autocommit=True) as connection:
        connection.execute("SET statement_timeout = 50")
        with pytest.raises(StatementTimeout), translation(postgres_site.address, connection):
            connection.execute("SELECT pg_sleep(5)")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_sleeps_is_a_lost_connection(postgres_site: PostgresSite) -> None:
    database = Postgres(postgres_site.address, answer_seconds=1.0)
    database.measure()
    postgres_site.private.pause()
    try:
        with pytest.raises(ConnectionLost):
            database.measure()
    finally:
        postgres_site.private.resume()

    assert database.measure().counters
    database.close()


def test_what_can_be_put_back_is_though_the_server_no_longer_knows_one(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    former = postgres_database.former(["work_mem"])
    postgres_database.apply({"work_mem": 8192})

    with pytest.raises(UnknownKnob, match="long_gone"):
        postgres_database.restore({"long_gone": {"value": 1, "text": None}, **former})

    assert postgres_site.stands("work_mem") == "4096"


def test_what_a_host_decides_is_left_out_where_nobody_described_it(
    postgres_site: PostgresSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db_knobs.postgres.host_of", lambda address, declared: declared)
    unknown, declared = (
        Postgres(postgres_site.address, host) for host in (Host(), Host(ram_bytes=8 * 1024**3, cores=4))
    )

    assert "work_mem" not in {knob.name for knob in unknown.knobs()}
    assert any("work_mem" in note and "declare" in note for note in unknown.probe().notes)
    (work_mem,) = declared.knobs(Allowed(names=["work_mem"]))
    assert (work_mem.low, work_mem.high, work_mem.unit) == (1024, int(8 * 1024**2 * 0.02), "kB")
    unknown.close()
    declared.close()


def test_every_knob_of_the_catalogue_takes_its_default_and_its_ends(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    catalog = entries("postgresql")
    version = postgres_database.probe().version
    server = postgres_site.all_settings()
    assert {name for name, entry in catalog.items() if entry.has("postgresql", version)} <= set(server)
    accepted = {name: entry.loses for name, entry in catalog.items() if entry.loses}
    command_line = {
        name for (name,) in postgres_site.execute("SELECT name FROM pg_settings WHERE source = 'command line'")
    }
    names = [name for name in catalog if name in server and name not in command_line]
    knobs = postgres_database.knobs(Allowed(names=names, accepted=accepted, restart=True))
    online = [knob for knob in knobs if not catalog[knob.name].restart]
    former = postgres_database.former([knob.name for knob in online])

    for pick in ("default", "low", "high", "special"):
        wanted = {knob.name: getattr(knob, pick) for knob in online}
        settings = {
            name: value.value if pick == "special" else value for name, value in wanted.items() if value is not None
        }
        # A compression that this build lacks is refused, and said.
        applied = postgres_database.apply(settings)
        assert applied.settings.keys() == settings.keys()
        stands = postgres_site.all_settings()
        assert {name for name, text in stands.items() if text != server[name]} <= set(names)
    postgres_database.restore(former)


def test_every_choice_that_is_offered_stands_as_it_was_set(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    accepted = {name: entry.loses for name, entry in entries("postgresql").items() if entry.loses}
    offered = [knob for knob in postgres_database.knobs(Allowed(accepted=accepted)) if knob.type == "enum"]
    former = postgres_database.former([knob.name for knob in offered])

    for knob in offered:
        for choice in knob.choices:
            assert postgres_database.apply({knob.name: choice}).settings == {knob.name: choice}
    postgres_database.restore(former)

    # It was a switch before it was a choice.
    assert ("wal_compression" in former) == (postgres_site.major >= 15)


def test_a_choice_that_this_build_lacks_is_refused(postgres_database: Database) -> None:
    with pytest.raises(ValueRefused, match="wal_compression"):
        postgres_database.apply({"wal_compression": "middle-out"})


def test_a_server_that_ends_is_a_lost_connection_not_a_refused_login() -> None:
    from db_knobs.address import parse_dsn
    from db_knobs.postgres_connection import _login_error

    address = parse_dsn("postgresql://u:canary@localhost/d")
    for said, kind in {
        "FATAL:  the database system is starting up": ServerBusy,
        "FATAL:  the database system is shutting down": ConnectionLost,
        "SSL SYSCALL error: EOF detected": ConnectionLost,
        "FATAL:  sorry, too many clients already": ServerBusy,
        'FATAL:  password authentication failed for user "u" canary': LoginRefused,
        'FATAL:  role "u" is not permitted to log in': LoginRefused,
        "server does not support SSL, but SSL was required": LoginRefused,
    }.items():
        error = _login_error(address, psycopg.OperationalError(said))
        assert type(error) is kind, said
        assert "canary" not in str(error)


def test_a_reload_is_seen_although_the_servers_clock_was_set_back(postgres_site: PostgresSite) -> None:
    """A clock that runs backwards: each reload is earlier than the one before it."""
    postgres_site.execute(
        "CREATE SCHEMA backwards",
        "CREATE FUNCTION backwards.pg_conf_load_time() RETURNS timestamptz LANGUAGE sql"
        " RETURN timestamptz '2000-01-01' - (pg_catalog.pg_conf_load_time() - timestamptz '2000-01-01')",
        "ALTER DATABASE shop SET search_path = backwards, pg_catalog, public",
    )
    database = Postgres(postgres_site.address, verify_seconds=2.0)
    former = database.former(["work_mem"])
    try:
        applied = database.apply({"work_mem": 12288})
        restored = database.restore(former)
    finally:
        database.close()
        postgres_site.execute(
            "ALTER DATABASE shop RESET search_path",
            "DROP SCHEMA backwards CASCADE",
            "ALTER SYSTEM RESET ALL",
            "SELECT pg_reload_conf()",
        )

    assert applied.settings == {"work_mem": 12288}
    assert restored.settings == {"work_mem": former["work_mem"]["value"]}


@pytest.mark.parametrize("style", ["SQL, DMY", "German"])
def test_a_reload_is_seen_in_whatever_style_the_role_has_dates(
    postgres_site: PostgresSite, postgres_database: Database, style: str
) -> None:
    address = postgres_site.create_role()
    database = Postgres(address)
    postgres_site.execute(*database.probe(Allowed(names=["work_mem"])).missing)
    postgres_site.execute(f"ALTER ROLE {address.user} SET datestyle = '{style}'")
    database.connect()
    former = database.former(["work_mem"])

    assert database.apply({"work_mem": 8192}).settings == {"work_mem": 8192}
    assert database.restore(former).settings == {"work_mem": former["work_mem"]["value"]}
    database.close()


def test_a_database_without_an_encoding_is_known_as_any_other_is(
    postgres_site: PostgresSite, postgres_database: Database
) -> None:
    name = "plain"
    postgres_site.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII'")
    database = Postgres(replace(postgres_site.address, database=name))
    try:
        former = database.former(["work_mem", "jit"])

        assert database.probe().can("apply")
        assert database.apply({"work_mem": 8192, "jit": False}).settings == {"work_mem": 8192, "jit": False}
        assert database.restore(former).settings["jit"] is True
    finally:
        database.close()
        postgres_site.private.drop_database(name)


def test_a_statement_that_this_encoding_cannot_spell_hides_texts_but_no_counts(postgres_site: PostgresSite) -> None:
    """The server gives all texts or none, those of other databases too."""
    name = "anything"
    database = Postgres(postgres_site.create_role())
    postgres_site.execute(*database.probe().missing)
    database.connect()
    postgres_site.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII'")
    try:
        with psycopg.connect(postgres_site.private.dsn(name), client_encoding="latin1") as stranger:
            stranger.execute('SELECT 1 AS "größe"')
        run(postgres_site.connect(), "SELECT count(*) FROM orders")

        counted = database.workload()

        assert counted
        assert not any(statement.text for statement in counted.values())
    finally:
        postgres_site.forget_statements()
        postgres_site.private.drop_database(name)
    run(postgres_site.connect(), "SELECT count(*) FROM orders")
    assert any("orders" in statement.text for statement in database.workload().values())
    database.close()


def test_a_server_that_forbids_alter_system_says_so_before_anything_is_tried(
    postgres_site: PostgresSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL 17 and later; no right helps there, not even a superuser's."""
    database = Postgres(postgres_site.address)
    reported = {
        **database._reported(),
        "allow_alter_system": Reported("allow_alter_system", False, type="bool", source="configuration file"),
    }
    monkeypatch.setattr(database, "_reported", lambda: reported)

    probe = database.probe()
    database.close()

    (apply,) = (each for each in probe.capabilities if each.name == "apply")
    assert not apply.works
    assert apply.loses == "nothing can be set; sessions can only advise"
    assert apply.remedy == "allow_alter_system is off: set it to on in the server's configuration, and reload it"


def test_one_setting_that_takes_too_long_to_be_put_back_keeps_no_other_from_it(
    postgres_site: PostgresSite, postgres_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = postgres_database.former(["random_page_cost", "work_mem"])
    postgres_database.apply({"random_page_cost": 1.5, "work_mem": 65536})
    written = postgres_database._set

    def slow(name: str, text: str | None) -> None:
        if name == "random_page_cost":
            raise StatementTimeout("a lock was not free within 2 s")
        written(name, text)

    with monkeypatch.context() as patched:
        patched.setattr(postgres_database, "_set", slow)
        with pytest.raises(StatementTimeout):
            postgres_database.restore(former)

    assert postgres_database.read(list(former)) == {"random_page_cost": 1.5, "work_mem": former["work_mem"]["value"]}


def test_a_refused_login_is_known_in_any_language(postgres_site: PostgresSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """lc_messages needs the system's locales: no English word is looked for instead."""
    nothing = re.compile(r"(?!)")
    monkeypatch.setattr(postgres_connection, "_REFUSED_LOGIN", nothing)
    monkeypatch.setattr(postgres_connection, "_BUSY", nothing)
    role = postgres_site.create_role()
    wrong = [
        postgres_site.known(role, role.user, "wrong"),
        postgres_site.known(role, "nobody"),
        replace(role, database="nowhere"),
    ]

    for address in wrong:
        with pytest.raises(LoginRefused):
            Postgres(address).connect()


def test_a_server_that_is_full_is_known_in_any_language_and_nobody_is_not_taken_for_one() -> None:
    before = 'connection to server at "h", port 5432 failed: '

    def error(text: str) -> Exception:
        return postgres_connection._login_error(
            parse_dsn("postgresql://u:canary@h/d"), psycopg.OperationalError(before + text)
        )

    assert isinstance(error("FATAL:  tut mir leid, schon zu viele Verbindungen"), ServerBusy)
    assert isinstance(error("致命错误:  对不起, 已经有太多的客户"), ServerBusy)
    assert type(error("Connection refused\n\tIs the server running on that host?")) is ConnectionLost


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  terminating connection due to administrator command",
        "FATAL:  canceling authentication due to timeout",
        "FATAL:  out of memory",
        'FATAL:  could not open file "base/1/1259": No space left on device',
    ],
)
def test_who_was_let_in_and_is_sent_away_has_not_been_refused(said: str) -> None:
    class AfterAPassword(psycopg.OperationalError):
        pgconn = SimpleNamespace(used_password=True)

    address, before = parse_dsn("postgresql://u:canary@h/d"), 'connection to server at "h", port 5432 failed: '

    assert isinstance(postgres_connection._login_error(address, AfterAPassword(f"{before}FATAL:  nein")), LoginRefused)
    assert type(postgres_connection._login_error(address, AfterAPassword(before + said))) is ConnectionLost


def test_a_server_that_takes_no_more_connections_is_put_back_through_the_one_that_there_is(
    postgres_site: PostgresSite,
) -> None:
    """Settings that make every client wait may have filled it, and only their end empties it."""
    if postgres_site.major < GRANTABLE:
        pytest.skip("there whoever may set anything is a superuser, for whom some connections are kept")
    role = postgres_site.create_role()
    postgres_site.execute(
        f"GRANT ALTER SYSTEM ON PARAMETER random_page_cost, work_mem TO {role.user}",
        f"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {role.user}",
        f"GRANT pg_monitor TO {role.user}",
    )
    database = Postgres(role)
    former = database.former(["random_page_cost", "work_mem"])
    database.apply({"random_page_cost": 1.5, "work_mem": 65536})
    postgres_site.execute(f"ALTER ROLE {role.user} CONNECTION LIMIT 1")
    assert database.lock("test")
    with pytest.raises(ServerBusy):
        Postgres(role).connect()

    database.reread()
    assert database.read(["work_mem"]) == {"work_mem": 65536}
    database.restore(former)

    assert database.holds_lock()
    assert postgres_site.stands("work_mem") == str(former["work_mem"]["value"])
    assert database.read(list(former)) == {name: setting["value"] for name, setting in former.items()}
    with pytest.raises(ServerBusy):
        database.estimate({})
    database.close()

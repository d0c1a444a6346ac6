"""Tuning sessions on a real MariaDB, where settings round, and are forgotten by a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from db_knobs.address import parse_dsn
from db_knobs.lab.mariadb import PrivateMariaDB, binaries
from tests.e2e.session_stage import FileSessionJournal, OutOfRange, Session, measured, traffic, wait_for
from tunewright.session import SessionSpec, SessionState
from workers.session_journal import Measured, Restored, Skipped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KNOBS = ("innodb_io_capacity", "join_buffer_size")
ROLE, PASSWORD = "tuner", "canary-of-the-tuner"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateMariaDB]:
    if binaries() is None:
        pytest.skip("needs Debian's MariaDB: apt-get install mariadb-server")
    with PrivateMariaDB() as server:
        server.execute(
            "CREATE DATABASE app",
            "USE app",
            "CREATE TABLE t AS SELECT seq AS id FROM seq_1_to_1000",
            f"CREATE USER {ROLE}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        )

        def client() -> Callable[[], Any]:
            cursor = server.connect("app").cursor()
            return lambda: cursor.execute("UPDATE t SET id = id WHERE id = 7")

        with traffic(client):
            yield server


@pytest.fixture
def journal(server: PrivateMariaDB, tmp_path: Path) -> FileSessionJournal:
    spec = SessionSpec(database="app", knobs=list(KNOBS), interval=1.0, least_traffic=0.0, margin=0.5)
    address = parse_dsn(f"mariadb://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/app")
    return FileSessionJournal(tmp_path / "journal", spec, address)


@pytest.fixture
def home(server: PrivateMariaDB) -> dict[str, str]:
    """Settings as they are before a session, with all that the server moves along."""
    return standing(server)


@pytest.fixture
def granted(server: PrivateMariaDB) -> None:
    server.execute(f"GRANT SUPER, PROCESS ON *.* TO {ROLE}@'127.0.0.1'")
    server.execute(f"GRANT SELECT ON performance_schema.* TO {ROLE}@'127.0.0.1'")


def standing(server: PrivateMariaDB) -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in (*KNOBS, "innodb_io_capacity_max"))
    return dict(server.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"))


def changed(server: PrivateMariaDB, home: dict[str, str]) -> None:
    wait_for(lambda: standing(server) != home, "a change")


def test_a_role_without_rights_is_told_the_grants_and_with_them_a_session_runs(
    server: PrivateMariaDB, journal: FileSessionJournal, home: dict[str, str]
) -> None:
    Session(journal).wait(SessionState.FAILED)
    reason = journal.status.reason or ""
    _, _, grants = reason.partition("as an administrator run: ")
    assert "GRANT" in grants
    assert standing(server) == home
    for statement in filter(None, (each.strip() for each in grants.split(";"))):
        server.execute(statement)

    following = FileSessionJournal(journal.directory.parent / "second", journal.spec, journal.address)
    session = Session(following)
    changed(server, home)
    wait_for(lambda: "clamped" in following.notices and measured(following) >= 4, "a value that was rounded")
    session.stop()

    assert standing(server) == home
    assert all(int(fact.interval.config["join_buffer_size"]) % 128 == 0 for fact in following.of(Measured))
    assert all(PASSWORD not in file.read_text(errors="replace") for file in following.directory.iterdir())


@pytest.mark.usefixtures("granted")
@pytest.mark.parametrize("end", ["stop", "shut_down"])
def test_a_server_that_comes_back_without_its_settings_stands_as_before(
    server: PrivateMariaDB, journal: FileSessionJournal, home: dict[str, str], end: str
) -> None:
    session = Session(journal)
    changed(server, home)
    getattr(server, end)()
    wait_for(lambda: "connection_lost" in journal.notices, "the loss")
    server.start()
    wait_for(lambda: "connected" in journal.notices, "the connection")
    before = measured(journal)
    wait_for(lambda: measured(journal) > before, "the next interval")

    session.stop()

    assert standing(server) == home
    # Settings that were new are taken for the cause.
    assert journal.of(Skipped) or any(fact.interval.performance is None for fact in journal.of(Measured))


@pytest.mark.usefixtures("granted")
def test_a_connection_that_is_killed_is_made_anew(
    server: PrivateMariaDB, journal: FileSessionJournal, home: dict[str, str]
) -> None:
    session = Session(journal)
    changed(server, home)
    server.execute(f"KILL USER {ROLE}@'127.0.0.1'")
    wait_for(lambda: "connected" in journal.notices, "the connection")

    session.stop()

    assert standing(server) == home


@pytest.mark.usefixtures("granted")
def test_a_hand_that_changes_a_tuned_setting_keeps_it(
    server: PrivateMariaDB, journal: FileSessionJournal, home: dict[str, str]
) -> None:
    session = Session(journal)
    changed(server, home)
    server.execute("SET GLOBAL join_buffer_size = 1048576")

    session.wait(SessionState.YIELDED)

    assert standing(server) == {**home, "join_buffer_size": "1048576"}
    assert "join_buffer_size" in journal.of(Restored)[-1].left
    server.execute(f"SET GLOBAL join_buffer_size = {home['join_buffer_size']}")


@pytest.mark.usefixtures("granted")
def test_a_right_that_is_revoked_is_asked_for_until_everything_is_back(
    server: PrivateMariaDB, journal: FileSessionJournal, home: dict[str, str]
) -> None:
    session = Session(journal)
    changed(server, home)
    server.execute(f"REVOKE SUPER ON *.* FROM {ROLE}@'127.0.0.1'")
    wait_for(lambda: journal.status.state is SessionState.RESTORING, "the end")
    assert standing(server) != home
    server.execute(f"GRANT SUPER ON *.* TO {ROLE}@'127.0.0.1'")

    session.wait(SessionState.FAILED)

    assert standing(server) == home
    assert f"GRANT SUPER ON *.* TO '{ROLE}'@'127.0.0.1'" in (journal.status.reason or "")
    assert "right_lost" in journal.notices


@pytest.mark.usefixtures("granted")
def test_a_value_that_the_server_refuses_changes_nothing(
    server: PrivateMariaDB, journal: FileSessionJournal, home: dict[str, str]
) -> None:
    session = Session(journal, lambda database: OutOfRange(database, {"innodb_change_buffering": "sometimes"}))
    wait_for(lambda: "refused" in journal.notices, "the refusal")
    assert standing(server) == home
    changed(server, home)

    session.stop()

    assert standing(server) == home
    assert any(fact.interval.performance is None for fact in journal.of(Measured))

"""Tuning sessions on real servers, and what goes wrong with them; after each, the settings are read from the server."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from db_knobs.address import Address, parse_dsn
from db_knobs.lab.postgres import PrivatePostgres, binaries
from tests.e2e.session_stage import PASSWORD, ROLE, FileSessionJournal, OutOfRange, Session, measured, tuned, wait_for
from tunewright.session import SessionSpec, SessionState
from workers.session_journal import Measured, Restored, Skipped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KNOBS = ("work_mem", "random_page_cost", "effective_cache_size")
GRANT = f"GRANT ALTER SYSTEM ON PARAMETER {', '.join(KNOBS)} TO {ROLE}"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server with traffic, and a role that may do what is documented and nothing else."""
    if binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    with PrivatePostgres() as server, tuned(server):
        yield server


@pytest.fixture
def address(server: PrivatePostgres) -> Iterator[Address]:
    server.execute(GRANT)
    yield parse_dsn(f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/postgres")
    server.execute("ALTER SYSTEM RESET ALL")
    server.execute("SELECT pg_reload_conf()")


@pytest.fixture
def journal(address: Address, tmp_path: Path) -> FileSessionJournal:
    spec = SessionSpec(database="app", knobs=list(KNOBS), interval=1.0, least_traffic=0.0, margin=0.5)
    return FileSessionJournal(tmp_path / "journal", spec, address)


def kept(server: PrivatePostgres) -> dict[str, str]:
    """What stands in the server's own file by ALTER SYSTEM."""
    rows = server.execute("SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf'")
    return dict(rows)


def standing(server: PrivatePostgres) -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in KNOBS)
    return dict(server.execute(f"SELECT name, setting FROM pg_settings WHERE name IN ({names})"))


# A Ray, an actor and the first intervals take some ten seconds, and many times that where all processors are busy.
START_SECONDS = 120.0
HOME = {"work_mem": "4096", "random_page_cost": "4", "effective_cache_size": "524288"}


def changed(server: PrivatePostgres, seconds: float = 60.0) -> None:
    """Wait until something of a session's stands on the server."""
    wait_for(lambda: standing(server) != HOME, "a change", seconds)


def assert_home(server: PrivatePostgres) -> None:
    assert standing(server) == HOME
    assert kept(server) == {}


def assert_no_secret(journal: FileSessionJournal) -> None:
    for file in journal.directory.iterdir():
        assert PASSWORD not in file.read_text(errors="replace")


def test_a_session_tunes_with_the_documented_rights_and_restores(
    server: PrivatePostgres, journal: FileSessionJournal
) -> None:
    session = Session(journal)
    wait_for(lambda: measured(journal) >= 3, "three intervals")
    changed(server)

    session.stop()

    assert_home(server)
    assert journal.status.touched is False
    assert journal.of(Restored)[-1].by == "session"
    assert all(fact.interval.performance for fact in journal.of(Measured))
    # Checkpoints every 300 s are quiet for 30, and intervals are shorter.
    assert journal.notices == {"noise"}
    assert_no_secret(journal)


@pytest.mark.parametrize("end", ["stop", "shut_down"])
def test_a_server_that_is_killed_or_restarted_gets_its_settings_back_and_the_session_goes_on(
    server: PrivatePostgres, journal: FileSessionJournal, end: str
) -> None:
    session = Session(journal)
    changed(server)
    getattr(server, end)()
    wait_for(lambda: "connection_lost" in journal.notices, "the loss")
    server.start()
    wait_for(lambda: "connected" in journal.notices, "the connection")
    before = measured(journal)
    wait_for(lambda: measured(journal) > before, "the next interval")

    session.stop()

    assert_home(server)
    # Settings that were new are taken for the cause.
    assert journal.of(Skipped) or any(fact.interval.performance is None for fact in journal.of(Measured))


def test_a_connection_that_is_cut_in_mid_interval_is_made_anew(
    server: PrivatePostgres, journal: FileSessionJournal
) -> None:
    session = Session(journal)
    changed(server)
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")
    wait_for(lambda: "connected" in journal.notices, "the connection")

    session.stop()

    assert_home(server)


@pytest.mark.parametrize("seconds", [0.0, 1.5, None], ids=["at once", "while it is tuned", "never"])
def test_a_hand_that_changes_a_tuned_setting_keeps_it(
    server: PrivatePostgres, journal: FileSessionJournal, seconds: float | None
) -> None:
    session = Session(journal)
    changed(server)
    server.execute("ALTER SYSTEM SET random_page_cost = 2.25")
    if seconds is not None:
        time.sleep(seconds)
        server.execute("SELECT pg_reload_conf()")

    session.wait(SessionState.YIELDED)

    assert standing(server) == {**HOME, "random_page_cost": "2.25"}
    assert kept(server) == {"random_page_cost": "2.25"}
    assert "foreign_change" in journal.notices
    assert "random_page_cost" in journal.of(Restored)[-1].left


def test_a_right_that_is_revoked_is_asked_for_until_everything_is_back(
    server: PrivatePostgres, journal: FileSessionJournal
) -> None:
    session = Session(journal)
    wait_for(lambda: standing(server)["work_mem"] != HOME["work_mem"], "a change")
    server.execute(f"REVOKE ALTER SYSTEM ON PARAMETER work_mem FROM {ROLE}")
    wait_for(lambda: journal.status.state in (SessionState.RESTORING, SessionState.FAILED), "the end")
    # What may be put back is; the rest as soon as it may.
    others = {name: value for name, value in HOME.items() if name != "work_mem"}
    wait_for(lambda: others.items() <= standing(server).items(), "what may be put back")
    assert journal.status.state is SessionState.RESTORING
    server.execute(GRANT)

    session.wait(SessionState.FAILED)

    assert_home(server)
    assert f'GRANT ALTER SYSTEM ON PARAMETER work_mem TO "{ROLE}"' in (journal.status.reason or "")
    assert "right_lost" in journal.notices


def test_a_value_that_the_server_refuses_changes_nothing(server: PrivatePostgres, journal: FileSessionJournal) -> None:
    session = Session(journal, lambda database: OutOfRange(database, {"effective_cache_size": -5}))
    wait_for(lambda: "refused" in journal.notices, "the refusal")
    assert standing(server) == HOME
    changed(server)

    session.stop()

    assert_home(server)
    assert any(fact.interval.performance is None for fact in journal.of(Measured))


@pytest.fixture
def service(journal: FileSessionJournal, tmp_path: Path) -> Iterator[psutil.Process]:
    """A process with a Ray of its own, that runs the session and starts its runner again whenever that dies."""
    (journal.directory / "journal.pickle").write_bytes(pickle.dumps(journal))
    ray = Path(f"/tmp/tw-session-{os.getpid()}")
    command = [sys.executable, "-m", "tests.e2e.session_service", str(journal.directory), str(ray)]
    with (tmp_path / "service.log").open("wb") as output:
        # Ray's workers read the journal, whose class is one of these tests.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    service = psutil.Process(process.pid)
    yield service
    kill_all(service)
    process.wait()
    shutil.rmtree(ray, ignore_errors=True)


def kill_all(service: psutil.Process) -> None:
    """The service and all of its Ray, at once."""
    with suppress(psutil.NoSuchProcess):
        for process in [*service.children(recursive=True), service]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def actor_of(service: psutil.Process) -> psutil.Process:
    (found,) = [p for p in service.children(recursive=True) if "SessionRunner" in " ".join(p.cmdline())]
    return found


@pytest.mark.timeout(900)
def test_a_service_that_ends_in_good_order_puts_settings_back_before(
    server: PrivatePostgres, journal: FileSessionJournal, service: psutil.Process
) -> None:
    changed(server, START_SECONDS)

    service.terminate()
    service.wait(60)

    assert_home(server)
    assert journal.status.state is SessionState.PAUSED
    assert not journal.status.touched
    assert (journal.directory / "logs" / "watchdog.log").read_text() == ""


@pytest.mark.timeout(900)
def test_watchdog_and_successor_take_over_from_what_is_killed(
    server: PrivatePostgres, journal: FileSessionJournal, service: psutil.Process
) -> None:
    changed(server, START_SECONDS)

    actor_of(service).kill()

    # The watchdog is there before the successor is.
    wait_for(lambda: standing(server) == HOME, "the former settings")
    before = measured(journal)
    wait_for(lambda: measured(journal) > before, "an interval of the successor", START_SECONDS)
    assert "watchdog" in [fact.by for fact in journal.of(Restored)]
    assert "taken_over" in journal.notices
    changed(server, START_SECONDS)

    kill_all(service)

    wait_for(lambda: standing(server) == HOME, "the former settings")
    assert_home(server)
    assert journal.status.touched
    log = journal.directory / "logs" / "watchdog.log"
    wait_for(lambda: log.read_text().count("done") == 2, "the watchdogs' last words")
    assert PASSWORD not in log.read_text()

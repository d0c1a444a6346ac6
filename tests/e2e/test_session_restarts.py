"""Knobs that need a restart, on a real PostgreSQL that is really restarted; what stands is read from the server."""

from __future__ import annotations

import pickle
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db_knobs.address import parse_dsn
from db_knobs.errors import LabError
from db_knobs.lab.postgres import PrivatePostgres, binaries
from db_knobs.restart import RestartCommand
from tests.e2e.session_stage import PASSWORD, ROLE, FileSessionJournal, Session, tuned, wait_for
from tunewright.session import SessionSpec, SessionState
from workers.session_journal import Noticed, RestartIntended, RestartTried

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# PostgreSQL moves wal_buffers along with shared_buffers.
KNOBS = ["shared_buffers", "wal_buffers", "work_mem"]
# In blocks of 8 kB.
HOME = 16384
# What a caller of the supervisor runs: say a word, and fail unless it answers "done".
CALL = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode());"
    "s.shutdown(socket.SHUT_WR); said = s.makefile().read(); print(said); sys.exit(said != 'done')"
)

# A session's runner in a process of its own.
RUNNER = """
import pickle, sys
from tests.e2e.session_stage import Session
from tunewright.session import SessionState
journal, command = pickle.load(open(sys.argv[1], "rb"))
Session(journal, restart_commands={"prod": command}).wait(SessionState.STOPPED, 100.0)
"""


class TightPostgres(PrivatePostgres):
    """A server whose processes may have so much memory: with a large cache it does not start."""

    memory: int | None = None

    def _before_exec(self) -> None:
        super()._before_exec()
        if self.memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))


@contextmanager
def supervised(server: PrivatePostgres, path: Path) -> Iterator[RestartCommand]:
    """What restarts the server when it is told so over a socket, as systemd does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        # The server ends with the thread that started it: this one lives as long as the test.
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                word = connection.recv(100).decode()
                try:
                    if word == "restart":
                        server.shut_down()
                    server.start()
                    connection.sendall(b"done")
                except LabError as error:
                    connection.sendall(str(error)[-400:].encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    call = [sys.executable, "-c", CALL, str(path)]
    recover = f"{sys.executable} -m db_knobs.auto_conf {server.data} && {shlex.join(call)} start"
    try:
        yield RestartCommand(
            server=f"127.0.0.1:{server.port}",
            restart=[*call, "restart"],
            recover=["/bin/sh", "-c", recover],
            seconds=20.0,
        )
    finally:
        server.shut_down()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture
def server() -> Iterator[TightPostgres]:
    if binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    with TightPostgres() as server, tuned(server):
        server.execute(f"GRANT ALTER SYSTEM ON PARAMETER {', '.join(KNOBS)} TO {ROLE}")
        yield server


def journal_of(server: PrivatePostgres, tmp_path: Path, **fields: Any) -> FileSessionJournal:
    restarts = {"command": "prod", "window": "00:00-24:00", "settle": 0.0, "most": 1}
    bounds = {"shared_buffers": {"low": 8192, "high": 262_144}}
    spec = SessionSpec(
        **{
            "database": "app",
            "knobs": KNOBS,
            "bounds": bounds,
            "interval": 1.0,
            "least_traffic": 0.0,
            "restarts": restarts,
            **fields,
        }
    )
    address = parse_dsn(f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/postgres")
    return FileSessionJournal(tmp_path / "journal", spec, address)


def buffers(server: PrivatePostgres) -> tuple[int, bool]:
    """What shared_buffers stands at, and whether something else is filed."""
    ((value, pending),) = server.execute(
        "SELECT setting::int, pending_restart FROM pg_settings WHERE name = 'shared_buffers'"
    )
    return value, pending


def filed(server: PrivatePostgres) -> dict[str, str]:
    rows = server.execute("SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf'")
    return dict(rows)


def test_a_cache_is_tried_with_a_real_restart_and_goes_back(server: TightPostgres, tmp_path: Path) -> None:
    journal = journal_of(server, tmp_path)
    stood: list[int] = []
    with supervised(server, tmp_path / "socket") as command:
        session = Session(journal, restart_commands={"prod": command})
        wait_for(lambda: bool(journal.of(RestartIntended)), "an intention")
        wait_for(lambda: server.running and buffers_or_none(server) not in (None, HOME), "a restart")
        stood.append(buffers(server)[0])
        wait_for(lambda: bool(journal.of(RestartTried)), "a verdict")
        session.stop()

        assert stood == [journal.of(RestartTried)[0].config["shared_buffers"]]
        assert journal.of(RestartTried)[0].gain is not None
        assert buffers(server) == (HOME, False)
        assert filed(server) == {}
        assert journal.status.touched is False
        assert any("that took" in fact.text for fact in journal.of(Noticed))


def test_a_server_that_does_not_start_is_brought_back_by_the_recover_command(
    server: TightPostgres, tmp_path: Path
) -> None:
    # Enough for the cache as it is and no larger one; the limit holds from the next start on.
    server.memory = 280 * 2**20
    journal = journal_of(server, tmp_path)
    with supervised(server, tmp_path / "socket") as command:
        session = Session(journal, restart_commands={"prod": command})
        wait_for(lambda: bool(journal.of(RestartTried)), "a verdict", 120.0)
        (fact,) = journal.of(RestartTried)
        assert (fact.kept, fact.broke, fact.gain) == (False, True, None)
        wait_for(lambda: journal.status.state is SessionState.RUNNING, "the session to go on")
        session.stop()

        assert buffers(server) == (HOME, False)
        assert filed(server) == {}
        assert any("the recover command brought the server back" in one.text for one in journal.of(Noticed))


def test_a_runner_that_dies_before_the_restart_leaves_nothing_filed(server: TightPostgres, tmp_path: Path) -> None:
    """The watchdog puts back what only the server's files hold; a crash is no reason to restart anybody's server."""
    journal = journal_of(server, tmp_path)
    dies = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    command = RestartCommand(
        server=f"127.0.0.1:{server.port}", restart=[sys.executable, "-c", dies], recover=["/bin/false"], seconds=20.0
    )
    (tmp_path / "pickle").write_bytes(pickle.dumps((journal, command)))
    runner = subprocess.run([sys.executable, "-c", RUNNER, str(tmp_path / "pickle")], timeout=120, check=False)
    assert runner.returncode == -signal.SIGKILL

    # It goes on trying for a day where the server ends before it is done.
    log = journal.directory / "watchdog.log"
    wait_for(lambda: log.read_text().count("done") == 1, "the watchdog's last word")
    assert filed(server) == {}
    assert buffers(server) == (HOME, False)
    assert journal.of(RestartIntended)
    assert journal.of(RestartTried) == []


def buffers_or_none(server: PrivatePostgres) -> int | None:
    try:
        return buffers(server)[0]
    except psycopg.OperationalError:
        return None

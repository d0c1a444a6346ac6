"""A PostgreSQL server of our own, in a temporary directory, for tests to fill, stop and start again."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

# The server refuses to run as root; Debian's package brings this account.
ACCOUNT = "postgres"
READY_SECONDS = 60.0


def binaries() -> Path | None:
    """Where the newest installed server's programs are; None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PrivatePostgres:
    """One server; listens on loopback and asks for a password.

    Attributes:
        port: stays the same over restarts.
        password: of its one role, which may do everything.
    """

    def __init__(self) -> None:
        programs = binaries()
        assert programs is not None
        self._programs = programs
        self._owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._owner = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
        # Not below pytest's directory, which the server's account may not enter.
        self._root = Path(tempfile.mkdtemp(prefix="tw-postgres-"))
        self.port = _free_port()
        self.password = f"canary-{secrets.token_hex(8)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._initialize()

    @property
    def log(self) -> str:
        return (self._root / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://tunewright:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self._root / "data", "-p", str(self.port), "-k", self._root),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
                    # What is in it need not outlive this machine.
                    *("-c", "fsync=off"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._root,
                start_new_session=True,
                **self._owner,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, f"waited {READY_SECONDS:g} s for PostgreSQL: {self.log}"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, as a crash would: whoever is connected finds out, what was committed stays."""
        self._end(signal.SIGQUIT)

    def pause(self) -> None:
        """Let the server answer nobody, without closing a connection."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self._pids()):
            os.kill(pid, signal.SIGCONT)

    def remove(self) -> None:
        """End the server and delete all it has."""
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGINT)
        shutil.rmtree(self._root)

    def create_database(self, template: str = "template0") -> str:
        """A new database, copied from another one that nobody is connected to; returns its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement outside of any transaction; returns its rows."""
        with psycopg.connect(self._address(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _initialize(self) -> None:
        secret = self._root / "password"
        secret.write_text(self.password)
        if self._owner:
            for path in (self._root, secret):
                shutil.chown(path, ACCOUNT, ACCOUNT)
        subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._root / "data", "--no-sync", "--username=tunewright"),
                *("--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._root,
            **self._owner,
        )

    def _address(self, database: str) -> str:
        return self.url(database).replace("+psycopg", "")

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, with_signal: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(with_signal)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pids(self) -> list[int]:
        """The server's own process, then those that it started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

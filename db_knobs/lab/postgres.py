"""A private PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from db_knobs.errors import LabError
from db_knobs.lab.server import PrivateServer

ACCOUNT = "postgres"


def binaries() -> Path | None:
    """Where the newest installed server's programs are; None when there is none.

    The environment's TUNEWRIGHT_POSTGRES_BIN names another one's.
    """
    if chosen := os.environ.get("TUNEWRIGHT_POSTGRES_BIN"):
        return Path(chosen)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PrivatePostgres(PrivateServer):
    """One PostgreSQL server; its databases are made as they are needed.

    Args:
        options: settings given on its command line, where no later setting can change them.
        settings: written into its postgresql.conf, as a DBA would.
        durable: whether it waits for the disk; off where nothing needs to outlive this machine.
    """

    crash_signal = signal.SIGQUIT
    end_signal = signal.SIGINT

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        durable: bool = False,
        cpus: Sequence[int] | None = None,
        programs: Path | None = None,
    ) -> None:
        found = programs or binaries()
        if found is None:
            raise LabError("no PostgreSQL server is installed here: apt-get install postgresql")
        self._programs = found
        self._options = {"listen_addresses": "127.0.0.1", "max_connections": "200", **(options or {})}
        if not durable:
            self._options["fsync"] = "off"
        self._settings = dict(settings or {})
        self._numbers = itertools.count()
        super().__init__(ACCOUNT, cpus, prefix="tw-postgres-")

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.root / "data"

    def dsn(self, database: str = "postgres") -> str:
        """URL of one of its databases."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of one of its databases."""
        return self.dsn(database).replace("postgresql:", "postgresql+psycopg:")

    def create_database(self, template: str = "template0") -> str:
        """A new database, copied from another one that nobody is connected to; returns its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement outside of any transaction; returns its rows."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _initialize(self) -> None:
        secret = self.root / "password"
        secret.write_text(self.password)
        self._give(secret)
        self._run(
            *(self._programs / "initdb", "-D", self.data, "--no-sync", f"--username={self.user}"),
            *("--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"),
        )
        secret.unlink()
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())

    def _command(self) -> Sequence[str | Path]:
        given = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        return [self._programs / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.root, *given]

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

"""A private MariaDB server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import Cursor

from db_knobs.errors import LabError
from db_knobs.lab.server import PrivateServer

ACCOUNT = "mysql"


def binaries() -> tuple[Path, Path] | None:
    """The installed server and the program that fills its directory; None when there is none."""
    found = [shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("mariadbd", "mariadb-install-db")]
    return (Path(found[0]), Path(found[1])) if found[0] and found[1] else None


class PrivateMariaDB(PrivateServer):
    """One MariaDB server.

    Args:
        options: the server's own, without the leading dashes.
        statistics: whether its performance_schema is on.
        durable: whether it waits for the disk; off where nothing needs to outlive this machine.
    """

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        statistics: bool = True,
        durable: bool = False,
        cpus: Sequence[int] | None = None,
    ) -> None:
        found = binaries()
        if found is None:
            raise LabError("no MariaDB server is installed here: apt-get install mariadb-server")
        self._server, self._installer = found
        self._options = {"performance-schema": "ON" if statistics else "OFF", **(options or {})}
        if not durable:
            self._options.setdefault("innodb-flush-log-at-trx-commit", "2")
        super().__init__(ACCOUNT, cpus, prefix="tw-mariadb-")

    @property
    def socket(self) -> Path:
        return self.root / "socket"

    def dsn(self, database: str = "") -> str:
        """URL of one of its databases."""
        return f"mariadb://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str | None = None) -> list[Any]:
        """Run statements, each committed; returns the last one's rows."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def connect(self, database: str | None = None) -> pymysql.Connection[Cursor]:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _initialize(self) -> None:
        # Whoever may read the server's directory may be its root; everybody else needs the password.
        statements = self.root / "init.sql"
        statements.write_text(
            f"CREATE USER IF NOT EXISTS {self.user}@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO {self.user}@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        self._give(statements)
        statements.chmod(0o600)
        # A server that starts deletes what it takes for its own leftovers, other servers' temporary tables among them.
        temporary = self.root / "tmp"
        temporary.mkdir()
        self._give(temporary)
        self._run(
            *(self._installer, "--no-defaults", f"--datadir={self.root / 'data'}", f"--tmpdir={temporary}"),
            *("--skip-test-db", "--auth-root-authentication-method=socket"),
        )

    def _command(self) -> Sequence[str | Path]:
        return [
            *(self._server, "--no-defaults", f"--datadir={self.root / 'data'}", f"--socket={self.socket}"),
            *(f"--tmpdir={self.root / 'tmp'}", f"--port={self.port}", "--bind-address=127.0.0.1"),
            *(f"--pid-file={self.root / 'pid'}", f"--init-file={self.root / 'init.sql'}", "--skip-name-resolve"),
            *(f"--{name}={value}" for name, value in self._options.items()),
        ]

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True

"""Real servers under test: one interface over what differs between kinds, so that one suite runs on all."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import psycopg
import pymysql

from db_knobs.address import Address, Password, parse_dsn
from db_knobs.lab.mariadb import PrivateMariaDB
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.lab.server import PrivateServer
from tunewright.space import Value

ROLE_PASSWORD = "canary-role-5f2e"


class Site(ABC):
    """A server, its administrator, and the knobs that tests turn on it.

    Attributes:
        number, moving, switch: a knob and two values of it, neither its default.
        refused: a knob and a value that the server does not take.
        never: a setting that is never touched.
    """

    database = "shop"
    number: tuple[str, Value, Value]
    moving: tuple[str, Value, Value]
    switch: tuple[str, Value]
    refused: tuple[str, Value]
    never: str

    def __init__(self, server: PrivateServer) -> None:
        self.private = server
        self._roles = itertools.count()

    @property
    @abstractmethod
    def address(self) -> Address:
        """Of the administrator, in the database under test."""

    @abstractmethod
    def execute(self, *statements: str) -> list[Any]:
        """Run statements as the administrator, in the database under test."""

    @abstractmethod
    def create_role(self) -> Address:
        """A role that may connect, and nothing else."""

    @abstractmethod
    def stands(self, name: str) -> str:
        """What a setting stands at, as an administrator sees it in a new connection."""

    @abstractmethod
    def all_settings(self) -> dict[str, str]:
        """Everything that a new connection sees."""

    @abstractmethod
    def cut(self, address: Address) -> None:
        """End all connections of a role."""

    @abstractmethod
    def forget_statements(self) -> None:
        """Let the server count statements anew; what many tests ran is more than is looked at."""

    @abstractmethod
    def connect(self) -> Any:
        """A connection of an application, DB-API's."""

    def known(self, role: Address, user: str, password: str = ROLE_PASSWORD) -> Address:
        return replace(role, user=user, password=Password(password))


class PostgresSite(Site):
    number = ("work_mem", 8192, 16384)
    moving = ("random_page_cost", 1.1, 2.5)
    switch = ("jit", False)
    refused = ("maintenance_work_mem", 1)
    never = "log_statement"
    private: PrivatePostgres

    @cached_property
    def major(self) -> int:
        """Of the server's version."""
        return int(self.execute("SHOW server_version_num")[0][0]) // 10000

    @property
    def address(self) -> Address:
        return parse_dsn(self.private.dsn(self.database))

    def execute(self, *statements: str) -> list[Any]:
        found: list[Any] = []
        for statement in statements:
            found = self.private.execute(statement, self.database)
        return found

    def create_role(self) -> Address:
        name = f"role_{next(self._roles)}"
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{ROLE_PASSWORD}'")
        return self.known(self.address, name)

    def stands(self, name: str) -> str:
        return str(self.execute(f"SELECT setting FROM pg_settings WHERE name = '{name}'")[0][0])

    def all_settings(self) -> dict[str, str]:
        return dict(self.execute("SELECT name, setting FROM pg_settings"))

    def cut(self, address: Address) -> None:
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{address.user}'")

    def forget_statements(self) -> None:
        self.execute("SELECT extras.pg_stat_statements_reset()")

    def connect(self) -> Any:
        return psycopg.connect(self.private.dsn(self.database), autocommit=True)


class MariaDBSite(Site):
    number = ("sort_buffer_size", 1048576, 524288)
    moving = ("innodb_io_capacity", 400, 5000)
    switch = ("innodb_adaptive_hash_index", True)
    refused = ("innodb_change_buffering", "sometimes")
    never = "general_log"
    private: PrivateMariaDB

    @property
    def address(self) -> Address:
        # Trying TLS first takes longer than the rest of a test.
        return parse_dsn(f"{self.private.dsn(self.database)}?ssl-mode=DISABLED")

    def execute(self, *statements: str) -> list[Any]:
        return self.private.execute(*statements, database=self.database)

    def create_role(self) -> Address:
        name = f"role_{next(self._roles)}"
        self.execute(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{ROLE_PASSWORD}'")
        return self.known(self.address, name)

    def stands(self, name: str) -> str:
        return str(self.execute(f"SHOW GLOBAL VARIABLES LIKE '{name}'")[0][1])

    def all_settings(self) -> dict[str, str]:
        return dict(self.execute("SHOW GLOBAL VARIABLES"))

    def cut(self, address: Address) -> None:
        for (number,) in self.execute(f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{address.user}'"):
            self.execute(f"KILL {number}")

    def forget_statements(self) -> None:
        for by in ("digest", "user_by_event_name"):
            self.execute(f"TRUNCATE performance_schema.events_statements_summary_by_{by}")

    def connect(self) -> Any:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.private.port,
            user=self.private.user,
            password=self.private.password,
            database=self.database,
            autocommit=True,
        )


def run(connection: Any, *statements: str | Sequence[Any]) -> None:
    """Run statements of an application."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            if cursor.description:
                cursor.fetchall()


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.02)

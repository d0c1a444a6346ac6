"""A private PostgreSQL under a load that changes, with a role of few rights: something to show tuning on."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import psycopg
from psycopg import sql

from db_knobs.address import Address, Password
from db_knobs.lab.load import Load, LoadStats, Phase
from db_knobs.lab.postgres import PrivatePostgres
from db_knobs.lab.shop import DATABASE, Shop

ROLE = "tuner"
SCALE = 0.5
# A cache smaller than the data, as databases that matter have it.
SETTINGS = {
    "shared_buffers": "64MB",
    "shared_preload_libraries": "pg_stat_statements",
    "max_connections": "50",
}
# What clients do, one after the other.
PHASES = (
    Phase({"lookup": 1.0}, clients=4),
    Phase({"lookup": 0.8, "status": 0.2}, clients=4),
    Phase({"lookup": 0.9, "transfer": 0.1}, clients=6),
)
PHASE_SECONDS = 30.0


class DemoServer:
    """A PostgreSQL server with a shop's data; the server has one processor, and clients the others.

    Attributes:
        password: of `ROLE`, which may log in and, at first, nothing else.
    """

    def __init__(self, scale: float = SCALE) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        self._server = PrivatePostgres(settings=SETTINGS, cpus=cpus[:1])
        self._clients = cpus[1:] or cpus
        self._shop = Shop(scale)
        self.password = secrets.token_urlsafe(12)

    def __enter__(self) -> DemoServer:
        try:
            self._server.start()
            self._shop.load(self._server)
            self.run(["CREATE EXTENSION pg_stat_statements"])
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), self.password)
            with psycopg.connect(self._server.dsn(DATABASE), autocommit=True) as connection:
                connection.execute(statement)
        except BaseException:
            self._server.remove()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.remove()

    @property
    def dsn(self) -> str:
        """URL for `ROLE`, without its password."""
        return f"postgresql://{ROLE}@127.0.0.1:{self._server.port}/{DATABASE}"

    def run(self, statements: Sequence[str]) -> None:
        """Run statements as an administrator."""
        for statement in statements:
            self._server.execute(statement, DATABASE)

    def settings(self, names: Sequence[str]) -> dict[str, str]:
        """What the server says its settings are, to a new connection of an administrator."""
        with psycopg.connect(self._server.dsn(DATABASE), autocommit=True) as connection:
            rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(names)])
            return dict(rows.fetchall())

    def kept(self) -> list[str]:
        """Settings in the file that ALTER SYSTEM writes."""
        rows = self._server.execute(
            "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' ORDER BY name"
        )
        return [name for (name,) in rows]

    def set(self, settings: Mapping[str, Any]) -> None:
        """Set settings as an administrator, or put them back to what the server was started with: None."""
        with psycopg.connect(self._server.dsn(DATABASE), autocommit=True) as connection:
            for name, value in settings.items():
                text = {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
                change = sql.SQL("ALTER SYSTEM RESET {}") if value is None else sql.SQL("ALTER SYSTEM SET {} = {}")
                parts = [sql.Identifier(name)] if value is None else [sql.Identifier(name), text]
                connection.execute(change.format(*parts))
            connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def load(self, phase_seconds: float = PHASE_SECONDS) -> Iterator[ChangingLoad]:
        """Clients at work; what they do changes every now and then."""
        server = self._server
        address = Address("postgresql", "127.0.0.1", server.port, server.user, Password(server.password), DATABASE)
        with Load(address, self._shop, PHASES[0], cpus=self._clients) as load:
            changing = ChangingLoad(load, phase_seconds)
            try:
                yield changing
            finally:
                changing.hold()


class ChangingLoad:
    """Goes from one phase to the next, round and round, until it is held."""

    def __init__(self, load: Load, seconds: float) -> None:
        self._load = load
        self._seconds = seconds
        self._held = threading.Event()
        self._thread = threading.Thread(target=self._change, name="demo-load", daemon=True)
        self._thread.start()

    def hold(self) -> None:
        """Stay with what clients do now."""
        self._held.set()
        self._thread.join()

    def measure(self, seconds: float, phase: Phase = PHASES[0]) -> LoadStats:
        """What clients see of one phase; holds the load."""
        self.hold()
        self._load.change(phase)
        return self._load.measure(seconds)

    def _change(self) -> None:
        for phase in cycle(PHASES):
            self._load.change(phase)
            if self._held.wait(self._seconds):
                return

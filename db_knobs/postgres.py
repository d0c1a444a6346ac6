"""PostgreSQL 13 to 18: settings by ALTER SYSTEM and a reload, seen in new connections.

The role needs `pg_monitor`, `ALTER SYSTEM` on each parameter and EXECUTE on `pg_reload_conf` (PostgreSQL 15 and later;
before, only a superuser may). `postgres_statistics` reads the server's views.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, LiteralString

from psycopg import errors as pg
from psycopg import sql

from db_knobs import postgres_rights as rights
from db_knobs import postgres_statistics as views
from db_knobs.address import Address
from db_knobs.catalog import Host, Reported, entries, join
from db_knobs.database import (
    ESTIMATE_SECONDS,
    ESTIMATED_STATEMENTS,
    UNKNOWN_HOST,
    VERIFY_SECONDS,
    Allowed,
    Applied,
    Estimate,
    Former,
    FormerSetting,
    Probe,
    chosen,
)
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    KnobRefused,
    NotVerified,
    RightMissing,
    ServerBusy,
    UnknownKnob,
    UnknownServer,
    ValueRefused,
)
from db_knobs.host import host_of
from db_knobs.knob import Knob, same
from db_knobs.postgres_connection import (
    ANSWER_SECONDS,
    APPLICATION,
    Connection,
    first_line,
    opened,
    reading,
    translation,
)
from db_knobs.postgres_probe import Server, left_out, probed
from db_knobs.postgres_settings import HIDDEN, REPORTED, literal, parsed, reported_by
from db_knobs.statistics import Snapshot, Statement, Workload
from tunewright.space import Config, Value

VERSIONS = (13, 18)
_KEPT_IN = "postgresql.auto.conf"
_LOADED: LiteralString = "SELECT pg_conf_load_time()::text"
# Two numbers that no application is likely to lock: "tune" and "wrig".
_LOCK = (0x74756E65, 0x77726967)
# Texts of statements come all or none, with those of other databases, whose encoding this one may not know.
_UNREADABLE = (pg.CharacterNotInRepertoire, pg.UntranslatableCharacter, pg.UndefinedFunction)
# Locks are a database's, settings the server's: another session may hold the lock in another database.
_LOCKED_ELSEWHERE = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()
   AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 2
"""
_HOLDS = """
SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
   AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 2
"""


class Postgres:
    """A `Database` on PostgreSQL.

    Args:
        host: what the server's machine has; needed where it is another one than ours.
        verify_seconds: how long a reload may take to show.
        answer_seconds: after which a server that says nothing counts as lost.
    """

    kind = "postgresql"
    files_settings = True

    def __init__(
        self,
        address: Address,
        host: Host = Host(),  # noqa: B008
        *,
        verify_seconds: float = VERIFY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._address = address
        self._host = host_of(address, host)
        self._verify_seconds = verify_seconds
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None
        self._version = (0, 0)
        self._sees: views.Sees | None = None

    def __repr__(self) -> str:
        return f"Postgres({self._address})"

    def connect(self) -> None:
        self.close()
        connection = opened(self._address)
        major, minor = divmod(connection.info.server_version, 10000)
        if not VERSIONS[0] <= major <= VERSIONS[1]:
            connection.close()
            raise UnknownServer(
                f"{self._address}: PostgreSQL {major}.{minor}; known are {VERSIONS[0]} to {VERSIONS[1]}"
            )
        self._version = (major, minor)
        self._connection = connection
        if major >= 14:
            # The lock is held for as long as this connection, which is quiet while a restarted server's caches fill.
            with self._translated() as usable:
                usable.execute("SET idle_session_timeout = 0")

    def close(self) -> None:
        self._sees = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def lock(self, holder: str) -> bool:
        if not self._rows("SELECT pg_try_advisory_lock(%s, %s)", _LOCK)[0][0]:
            return False
        if self._rows(_LOCKED_ELSEWHERE, _LOCK)[0][0]:
            self._rows("SELECT pg_advisory_unlock(%s, %s)", _LOCK)
            return False
        with self._translated() as connection:
            # Outside of a transaction that is rolled back, which would undo it.
            connection.execute("SELECT set_config('application_name', %s, false)", [f"{APPLICATION} {holder}"])
        return True

    def holds_lock(self) -> bool:
        return bool(self._rows(_HOLDS, _LOCK)[0][0])

    def probe(self, allowed: Allowed = Allowed()) -> Probe:  # noqa: B008
        reported = self._reported()
        names = chosen(entries(self.kind), reported, allowed)
        # An administrator may have granted something since.
        self._sees = None
        server = Server(self._address, self._host, self._version, reported)
        with self._seen() as (connection, sees), reading(connection):
            return probed(connection, server, names, sees)

    def knobs(self, allowed: Allowed = Allowed()) -> list[Knob]:  # noqa: B008
        catalog, reported = entries(self.kind), self._reported()
        with self._translated() as connection, reading(connection):
            reasons = left_out(connection, reported)
        found = []
        for name in chosen(catalog, reported, allowed):
            knob = join(catalog[name], reported[name], self._host)
            reason = reasons.get(name) or (None if knob else UNKNOWN_HOST)
            if reason is None:
                assert knob is not None
                found.append(knob)
            elif allowed.names is not None:
                raise KnobRefused(name, reason)
        return found

    def read(self, names: Sequence[str]) -> Config:
        # A session keeps what it had at first of some settings: only a new one sees what the next one will.
        with self._opened() as connection, reading(connection):
            return self._values(connection, names)

    def reread(self) -> None:
        with suppress(NotVerified):
            self._reload_and_read([])

    def hidden(self, names: Sequence[str]) -> set[str]:
        with self._opened() as connection, reading(connection):
            return {name for (name,) in connection.execute(HIDDEN, [list(names)]).fetchall()}

    def former(self, names: Sequence[str]) -> Former:
        with self._opened() as connection, reading(connection):
            rows = connection.execute(
                "SELECT name, vartype, setting, current_setting(name), source, sourcefile, pending_restart"
                " FROM pg_settings WHERE name = ANY(%s)",
                [list(names)],
            ).fetchall()
            texts = self._kept_texts(connection, names)
        known = {row[0]: row for row in rows}
        found: Former = {}
        for name in names:
            if name not in known:
                raise UnknownKnob(name, "this server has no such setting")
            _, vartype, setting, shown, source, file, pending = known[name]
            if pending:
                raise KnobRefused(name, "somebody changed it and has not restarted the server yet; restart, or undo it")
            if source == "configuration file" and file is None:
                # Without it a DBA's own ALTER SYSTEM would be lost.
                raise RightMissing(
                    f'role "{self._address.user}" may not see in which file "{name}" is set',
                    [rights.grant_monitor(self._address.user)],
                )
            spelled = shown if (file or "").endswith(_KEPT_IN) else None
            found[name] = FormerSetting(
                value=parsed(vartype, setting), text=spelled if texts is None else texts.get(name)
            )
        return found

    def apply(self, settings: Mapping[str, Value]) -> Applied:
        for name in settings:
            if name not in entries(self.kind):
                raise KnobRefused(name, "it is not in the catalogue, so it is never touched")
        former = self.former(list(settings))
        done: Former = {}
        try:
            for name, value in settings.items():
                self._set(name, literal(value))
                done[name] = former[name]
            applied = self._reload_and_read(list(settings))
            for name, value in settings.items():
                stands = applied.settings[name]
                if name not in applied.pending_restart and not same(stands, value):
                    raise NotVerified(name, f"was set to {value} and stands at {stands}; something overrides it")
        except ConnectionLost:
            raise
        except DatabaseError:
            if done:
                self.restore(done)
            raise
        return applied

    def restore(self, former: Former) -> Applied:
        refused: list[DatabaseError] = []
        for name, setting in former.items():
            try:
                self._set(name, setting["text"])
            except ConnectionLost:
                raise
            except DatabaseError as error:
                refused.append(error)
        applied = self._reload_and_read(list(former)) if len(refused) < len(former) else Applied({})
        if refused:
            raise refused[0]
        return applied

    def measure(self) -> Snapshot:
        with self._seen() as (connection, sees), reading(connection):
            return views.snapshot(connection, self._version[0], sees)

    def workload(self) -> Workload:
        with self._seen() as (connection, sees):
            if not sees.statements:
                with reading(connection):
                    return views.kinds_of_statements(connection)
            try:
                with reading(connection):
                    return views.statements(connection, self._version[0], sees, texts=True)
            except _UNREADABLE:
                with reading(connection):
                    return views.statements(connection, self._version[0], sees, texts=False)

    def estimate(self, statements: Mapping[str, Statement]) -> dict[str, Estimate]:
        # What it sets for itself must not stay on the lasting connection, and statements name tables of applications.
        with self._apart(ESTIMATED_STATEMENTS * ESTIMATE_SECONDS, own_names=False) as connection:
            return views.estimates(connection, statements)

    # Connections

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        """A connection of its own, which sees what new connections see; of a server that is full the lasting one.

        What has filled it may be what stands: then nobody gets in before it is put back. The lasting connection differs
        in settings that were changed for this role or database since, and in none of those that are knobs.
        """
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._apart())
            except ServerBusy:
                if self._connection is None or self._connection.closed:
                    raise
                connection = stack.enter_context(self._translated())
            yield connection

    @contextmanager
    def _apart(self, more_seconds: float = 0.0, *, own_names: bool = True) -> Iterator[Connection]:
        """A connection of its own in any case."""
        if self._connection is None:
            self.connect()
        connection = opened(self._address, own_names=own_names)
        try:
            with translation(self._address, connection, seconds=self._answer_seconds + more_seconds):
                yield connection
        finally:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[Connection]:
        """The lasting connection; the driver's errors become ours."""
        if self._connection is None or self._connection.closed:
            self.connect()
        assert self._connection is not None
        with translation(self._address, self._connection, seconds=self._answer_seconds):
            yield self._connection

    @contextmanager
    def _seen(self) -> Iterator[tuple[Connection, views.Sees]]:
        """The lasting connection, and what can be seen through it."""
        with self._translated() as connection:
            with reading(connection):
                if self._sees is None or (not self._sees.shared and views.shared(connection)):
                    self._sees = views.look(connection)
                sees = self._sees
            yield connection, sees

    def _rows(self, statement: LiteralString, arguments: Sequence[Any] = ()) -> list[Any]:
        with self._translated() as connection, reading(connection):
            return connection.execute(statement, arguments).fetchall()

    # Settings

    def _reported(self) -> dict[str, Reported]:
        with self._opened() as connection, reading(connection):
            return reported_by(connection.execute(REPORTED).fetchall())

    def _set(self, name: str, text: str | None) -> None:
        """Write one setting into the server's own file; None removes it from there."""
        if text is None:
            statement = sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name))
        else:
            statement = sql.SQL("ALTER SYSTEM SET {} TO {}").format(sql.Identifier(name), sql.Literal(text))
        with self._translated() as connection:
            try:
                connection.execute(statement)
            except pg.InsufficientPrivilege:
                role, major = self._address.user, connection.info.server_version // 10000
                raise RightMissing(
                    f'role "{role}" may not set "{name}"', [rights.grant_parameters(major, [name], role)]
                ) from None
            except pg.UndefinedObject:
                raise UnknownKnob(name, "this server has no such setting") from None
            except (pg.InvalidParameterValue, pg.CantChangeRuntimeParam, pg.FeatureNotSupported) as error:
                raise ValueRefused(name, first_line(error)) from None

    def _reload_and_read(self, names: Sequence[str]) -> Applied:
        """Let the server read its files, wait until it has, and read what a new connection sees.

        The lasting connection is told to read them once the server itself has.

        Raises:
            NotVerified: it does not within the deadline.
        """
        # As text, which the driver takes in whatever style this role or database writes dates.
        before = self._rows(_LOADED)
        try:
            self._rows("SELECT pg_reload_conf()")
        except RightMissing:
            raise RightMissing(
                f'role "{self._address.user}" may not reload the configuration',
                [rights.grant_reload(self._address.user)],
            ) from None
        deadline = time.monotonic() + self._verify_seconds
        pause = 0.005
        while True:
            # Another time, not a later one: the server's clock may have been set back.
            if self._rows(_LOADED) != before:
                with self._opened() as connection, reading(connection):
                    settings = self._values(connection, names)
                    pending = connection.execute(
                        "SELECT name FROM pg_settings WHERE pending_restart AND name = ANY(%s)", [list(names)]
                    ).fetchall()
                    return Applied(settings, tuple(sorted(name for (name,) in pending)))
            if time.monotonic() > deadline:
                first = next(iter(names), "")
                raise NotVerified(
                    first,
                    f"the server did not read its files within {self._verify_seconds:g} s; its log says whether one of"
                    " them is wrong",
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.2)

    def _values(self, connection: Connection, names: Sequence[str]) -> Config:
        rows = connection.execute(
            "SELECT name, vartype, setting FROM pg_settings WHERE name = ANY(%s)", [list(names)]
        ).fetchall()
        found = {name: parsed(vartype, setting) for name, vartype, setting in rows}
        for name in names:
            if name not in found:
                raise UnknownKnob(name, "this server has no such setting")
        return {name: found[name] for name in names}

    def _kept_texts(self, connection: Connection, names: Sequence[str]) -> dict[str, str] | None:
        """Exact texts in the server's own file; None where the role may not see it, and spellings have to do."""
        allowed = connection.execute(
            "SELECT has_table_privilege('pg_file_settings', 'SELECT')"
            " AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')"
        ).fetchall()[0][0]
        if not allowed:
            return None
        rows = connection.execute(
            # Whoever edits the file may write a name as they like, and a value that is none: that one never stood.
            "SELECT lower(name), setting FROM pg_file_settings WHERE lower(name) = ANY(%s) AND applied"
            " AND sourcefile LIKE %s",
            [list(names), f"%{_KEPT_IN}"],
        ).fetchall()
        return dict(rows)

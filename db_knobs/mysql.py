"""MySQL 8 and 9, and MariaDB 10.6 to 12: settings by SET GLOBAL, which a restart of the server undoes.

The role needs SYSTEM_VARIABLES_ADMIN (MySQL) or SUPER (MariaDB; for a few variables another privilege instead, see
`mysql_rights`), and SELECT on performance_schema. `mysql_statistics` reads the server's counters.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pymysql

from db_knobs import mysql_connection as connections
from db_knobs import mysql_rights as rights
from db_knobs import mysql_statistics as views
from db_knobs.address import Address, Kind
from db_knobs.catalog import Host, Reported, entries, join
from db_knobs.database import (
    LOCK_NAME,
    UNKNOWN_HOST,
    VERIFY_SECONDS,
    Allowed,
    Applied,
    Capability,
    Estimate,
    Former,
    FormerSetting,
    Probe,
    chosen,
    known,
)
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    KnobRefused,
    RightMissing,
    ServerBusy,
    StatementTimeout,
    UnknownKnob,
    ValueRefused,
)
from db_knobs.host import host_of
from db_knobs.knob import Applies, Knob, same
from db_knobs.mysql_connection import Connection, rows, translation
from db_knobs.mysql_plans import estimates
from db_knobs.mysql_variables import MARIADB, MYSQL, PERSISTED, literal, reported_by, resizing
from db_knobs.statistics import Snapshot, Statement, Workload
from tunewright.space import Config, Value

_UNKNOWN_VARIABLE = 1193
_NO_DATABASE = 1049
# Wrong value, cache not shrunk, wrong type, read-only, not global, truncated, no room for the log, query cache off.
_VALUE_REFUSED = {1210, 1221, 1229, 1231, 1232, 1238, 1292, 1501, 1651, 3680}
# MySQL's number of what MariaDB says under that of a wrong value: InnoDB's cache, or its log, is still being resized.
_RESIZING, _RESIZING_SAID = 3166, "already in progress"
_CACHE = "innodb_buffer_pool_size"
_NEEDS_FILE = "this server takes it from its configuration at the start only; set it there"


class MySQL:
    """A `Database` on MySQL or MariaDB, whichever answers.

    Args:
        host: what the server's machine has; needed where it is another one than ours.
        verify_seconds: how long a resize of the cache is waited for.
        answer_seconds: after which a server that says nothing counts as lost.
    """

    files_settings = False

    def __init__(
        self,
        address: Address,
        host: Host = Host(),  # noqa: B008
        *,
        verify_seconds: float = VERIFY_SECONDS,
        answer_seconds: float = connections.ANSWER_SECONDS,
    ) -> None:
        self._address = address
        self._host = host_of(address, host)
        self._verify_seconds = verify_seconds
        self._answer_seconds = answer_seconds
        self._kind: Kind = address.kind
        self._version = (0, 0)
        self._connection: Connection | None = None
        self._sees: views.Sees | None = None

    def __repr__(self) -> str:
        return f"MySQL({self._address})"

    @property
    def kind(self) -> Kind:
        """What the server turned out to be; before a connection, what the address says."""
        return self._kind

    def connect(self) -> None:
        self.close()
        self._connection, self._kind, self._version = connections.opened(
            self._address, read_seconds=self._answer_seconds
        )

    def close(self) -> None:
        self._sees = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connections.closed(connection)

    def lock(self, holder: str) -> bool:
        return bool(self._rows("SELECT GET_LOCK(%s, 0)", LOCK_NAME)[0][0])

    def holds_lock(self) -> bool:
        return bool(self._rows("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", LOCK_NAME)[0][0])

    def probe(self, allowed: Allowed = Allowed()) -> Probe:  # noqa: B008
        # An administrator may have granted something since; much of it holds for new connections only.
        self._sees = None
        if self._address.database:
            self._require_database()
        reported = self._reported()
        names = self._chosen(reported, allowed)
        role, version_text, read_only = self._rows("SELECT CURRENT_USER(), VERSION(), @@GLOBAL.read_only")[0]
        grants = [line for (line,) in self._rows("SHOW GRANTS")]
        held = rights.rights_of(grants)
        missing = self._missing(role, held, names, statistics=self._statistics_on())
        with self._seen() as (connection, sees):
            replicas = bool(sees.lag) and bool(rows(connection, sees.lag))
            timed = sees.statements or views.times_statements(connection)
        (connected,) = [int(value) for _, value in self._rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")]
        frozen = str(read_only).upper() not in ("0", "OFF")
        return Probe(
            kind=self.kind,
            version=self._version,
            version_text=version_text,
            role=role,
            read_only=frozen,
            replica=replicas,
            capabilities=self._capabilities(role, held, sees, missing, timed=timed),
            missing=missing,
            pending_restart=(),
            host=self._host,
            max_connections=int(reported["max_connections"].current),
            connections=max(connected - 1, 0),
            notes=(*self._notes(reported, names, sees, role), *(self._dormant(grants, role) if missing else ())),
        )

    def knobs(self, allowed: Allowed = Allowed()) -> list[Knob]:  # noqa: B008
        catalog, reported = entries(self._reached()), self._reported()
        found = []
        for name in self._chosen(reported, allowed):
            knob = join(catalog[name], reported[name], self._host)
            if knob is not None:
                found.append(knob)
            elif allowed.names is not None:
                raise KnobRefused(name, UNKNOWN_HOST)
        return found

    def read(self, names: Sequence[str]) -> Config:
        reported = self._reported()
        return {name: known(reported, name).current for name in names}

    def reread(self) -> None:
        """Its files are read when it starts, and never written here."""

    def hidden(self, names: Sequence[str]) -> set[str]:
        """It has one value for all."""
        return set()

    def former(self, names: Sequence[str]) -> Former:
        reported, persisted = self._reported(), self._persisted()
        return {
            name: FormerSetting(value=known(reported, name).current, text=persisted.get(name))
            for name in self._moved(names, reported)
        }

    def apply(self, settings: Mapping[str, Value]) -> Applied:
        former = self.former(list(settings))
        for name in settings:
            if name not in entries(self.kind):
                raise KnobRefused(name, "it is not in the catalogue, so it is never touched")
        try:
            self._set_all(settings)
        except ConnectionLost:
            raise
        except DatabaseError:
            self.restore(former)
            raise
        return Applied(self.read(list(former)))

    def restore(self, former: Former) -> Applied:
        self._set_all({name: setting["value"] for name, setting in former.items()}, all_that_can_be=True)
        return Applied(self.read(list(former)))

    def measure(self) -> Snapshot:
        with self._seen() as (connection, sees):
            return views.snapshot(connection, sees, self._address.database)

    def workload(self) -> Workload:
        with self._seen() as (connection, sees):
            return views.statements(connection, sees, self._address.database, texts=True)

    def estimate(self, statements: Mapping[str, Statement]) -> dict[str, Estimate]:
        # What it sets for itself must not stay on the lasting connection.
        with self._opened() as connection:
            return estimates(connection, self.kind, statements)

    # Connections

    def _reached(self) -> Kind:
        """The server's kind, which is known once it has answered."""
        if self._connection is None:
            self.connect()
        return self._kind

    @contextmanager
    def _translated(self) -> Iterator[Connection]:
        """The lasting connection; the driver's errors become ours."""
        if self._connection is None or not self._connection.open:
            self.connect()
        assert self._connection is not None
        with translation(self._address, self._connection):
            yield self._connection

    @contextmanager
    def _opened(self, read_seconds: float = connections.SETTING_SECONDS) -> Iterator[Connection]:
        """A connection of its own."""
        connection, self._kind, self._version = connections.opened(self._address, read_seconds=read_seconds)
        try:
            with translation(self._address, connection):
                yield connection
        finally:
            connections.closed(connection)

    @contextmanager
    def _setting(self) -> Iterator[Connection]:
        """A connection to set variables by; of a server that is full the lasting one.

        What has filled it may be what stands: then nobody gets in before it is put back.
        """
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._opened())
                if self.kind == "mariadb":
                    # It may shrink its cache before it answers; the driver's limit has to do.
                    rows(connection, "SET SESSION max_statement_time = 0")
            except ServerBusy:
                if self._connection is None or not self._connection.open:
                    raise
                connection = stack.enter_context(self._translated())
            yield connection

    @contextmanager
    def _seen(self) -> Iterator[tuple[Connection, views.Sees]]:
        """The lasting connection, and what can be seen through it."""
        with self._translated() as connection:
            sees = self._sees
            if sees is None or (sees.statements and not sees.shared and views.shared(connection)):
                self._sees = sees = views.look(connection, self.kind)
            yield connection, sees

    def _rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with self._translated() as connection:
            return rows(connection, statement, arguments)

    # Settings

    def _reported(self) -> dict[str, Reported]:
        kind = self._reached()
        return reported_by(kind, self._rows(MARIADB if kind == "mariadb" else MYSQL))

    def _chosen(self, reported: Mapping[str, Reported], allowed: Allowed) -> list[str]:
        names = chosen(entries(self.kind), reported, allowed)
        for name in names:
            if reported[name].applies is Applies.RESTART:
                raise KnobRefused(name, _NEEDS_FILE)
        return names

    def _moved(self, names: Sequence[str], reported: Mapping[str, Reported]) -> list[str]:
        """These, and those that the server may move along, in order and once each."""
        catalog = entries(self.kind)
        along = [other for name in names if name in catalog for other in catalog[name].moves if other in reported]
        return list(dict.fromkeys([*names, *along]))

    def _persisted(self) -> dict[str, str]:
        """Texts that SET PERSIST wrote, which SET GLOBAL leaves alone; none where the role may not see them."""
        if self.kind != "mysql":
            return {}
        try:
            return dict(self._rows(PERSISTED))
        except RightMissing:
            return {}

    def _set_all(self, settings: Mapping[str, Value], *, all_that_can_be: bool = False) -> None:
        """Set variables that stand at something else; once more those that another one set later has moved.

        Args:
            all_that_can_be: go on after one that is refused, and raise its error in the end.
        """
        catalog = entries(self._reached())
        moved = {name: value for name, value in settings.items() if name in catalog and catalog[name].moves}
        refused: list[DatabaseError] = []
        with self._setting() as connection:
            for wanted in (settings, moved):
                # The cache last: the server takes one resize at a time, so what has begun is waited for.
                for name, value in sorted(self._differing(wanted).items(), key=lambda each: each[0] == _CACHE):
                    try:
                        if name == _CACHE:
                            self._await_resize(connection)
                        self._set(connection, name, value)
                    except DatabaseError as error:
                        if isinstance(error, ConnectionLost) or not all_that_can_be:
                            raise
                        refused.append(error)
            self._await_resize(connection)
        if refused:
            raise refused[0]

    def _differing(self, settings: Mapping[str, Value]) -> Config:
        reported = self._reported()
        # Of one that the server does not know, it says so itself.
        return {
            name: value
            for name, value in settings.items()
            if name not in reported or not same(reported[name].current, value)
        }

    def _set(self, connection: Connection, name: str, value: Value) -> None:
        with translation(self._address, connection):
            try:
                rows(connection, f"SET GLOBAL `{name.replace('`', '')}` = %s", [literal(value)])
            except pymysql.Error as error:
                code, said = connections.code_of(error), connections.said_by(error)
                if code == _UNKNOWN_VARIABLE:
                    raise UnknownKnob(name, "this server has no such setting") from None
                if code == _RESIZING or _RESIZING_SAID in said:
                    raise StatementTimeout(f'{self._address}: "{name}" cannot be set yet: {said}') from None
                if code in _VALUE_REFUSED:
                    raise ValueRefused(name, said) from None
                if code in (1142, 1227):
                    raise self._right_missing(name) from None
                raise

    def _right_missing(self, name: str) -> RightMissing:
        role = self._rows("SELECT CURRENT_USER()")[0][0]
        lacking = rights.missing_to_set(self.kind, self._version, {}, [name])
        return RightMissing(
            f'{self._address}: role {role} may not set "{name}"', [rights.grant(lacking, rights.EVERYWHERE, role)]
        )

    def _await_resize(self, connection: Connection) -> None:
        """Wait while InnoDB resizes its cache; at most `verify_seconds`, after which it goes on by itself."""
        deadline = time.monotonic() + self._verify_seconds
        while time.monotonic() < deadline:
            found = rows(connection, "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_resize_status'")
            if not found or not resizing(found[0][1]):
                return
            time.sleep(0.05)

    # What may be done

    def _require_database(self) -> None:
        """See that the database is there, as far as this role may know: it has no current one on other connections.

        Raises:
            DatabaseError: it is not.
        """
        with self._opened() as connection:
            try:
                connection.select_db(self._address.database)
            except pymysql.Error as error:
                if connections.code_of(error) == _NO_DATABASE:
                    raise DatabaseError(f"{self._address}: {connections.said_by(error)}") from None
                if connections.lost(connection, error):
                    raise

    def _statistics_on(self) -> bool:
        return bool(self._rows("SELECT @@performance_schema")[0][0])

    def _missing(self, role: str, held: rights.Rights, names: Sequence[str], *, statistics: bool) -> tuple[str, ...]:
        found = []
        if lacking := rights.missing_to_set(self.kind, self._version, held, names):
            found.append(rights.grant(lacking, rights.EVERYWHERE, role))
        if statistics and not rights.has(held, "SELECT", rights.STATISTICS):
            found.append(rights.grant(["SELECT"], rights.STATISTICS, role))
        return tuple(found)

    def _capabilities(
        self, role: str, held: rights.Rights, sees: views.Sees, missing: Sequence[str], *, timed: bool
    ) -> tuple[Capability, ...]:
        setting = [statement for statement in missing if rights.STATISTICS not in statement]
        return (
            Capability(
                "apply", not setting, *(("nothing can be set; sessions can only advise", *setting) if setting else ())
            ),
            _statements(missing, works=sees.digests, counted=sees.statements),
            Capability("latency", timed, "" if timed else "mean latency"),
            _percentiles(self.kind, works=bool(sees.histogram)),
            _throughput(exact=sees.transactions),
            _estimates(role, self._address.database, works=sees.digests and rights.reads(held, self._address.database)),
        )

    def _notes(
        self, reported: Mapping[str, Reported], names: Sequence[str], sees: views.Sees, role: str
    ) -> Iterator[str]:
        catalog = entries(self.kind)
        unknown = [name for name in names if join(catalog[name], reported[name], self._host) is None]
        if unknown:
            yield f"{', '.join(unknown)}: left out, {UNKNOWN_HOST}"
        yield "what is set here lasts until the server restarts; then its configuration holds again"
        new = [name for name in names if reported[name].applies is Applies.NEW_CONNECTIONS]
        if new:
            yield f"{', '.join(new)}: connections that are open keep what they have; let pools renew theirs"
        if sees.shared:
            yield f"others use {role} too, so the statements of this service are counted with theirs"
        if not sees.lag:
            lacks = "REPLICATION CLIENT" if self.kind == "mysql" else "SLAVE MONITOR"
            yield f"the lag of replication is not seen: {rights.grant([lacks], rights.EVERYWHERE, role)}"

    def _dormant(self, grants: Sequence[str], role: str) -> Iterator[str]:
        ((active,),) = self._rows("SELECT CURRENT_ROLE()")
        for dormant in rights.dormant_roles(grants, active):
            remedy = rights.default_role(self.kind, dormant, role)
            yield f"role {dormant} is granted, but not active; where it has what is missing: {remedy}"


def _statements(missing: Sequence[str], *, works: bool, counted: bool) -> Capability:
    if works:
        return Capability("statements", True)
    remedy = next(
        (statement for statement in missing if rights.STATISTICS in statement),
        "set performance_schema = ON in the server's configuration, and restart it",
    )
    if counted:
        remedy = "MariaDB does not tell prepared statements apart; let clients' drivers send statements whole"
    return Capability("statements", False, "the context knows rates and kinds of statements, not which", remedy)


def _percentiles(kind: Kind, *, works: bool) -> Capability:
    if works:
        return Capability("percentiles", True)
    remedy = (
        "INSTALL SONAME 'query_response_time'; SET GLOBAL query_response_time_range_base = 2;"
        " SET GLOBAL query_response_time_stats = ON;"
    )
    return Capability("percentiles", False, "latency percentiles", remedy if kind == "mariadb" else "")


def _throughput(*, exact: bool) -> Capability:
    if exact:
        return Capability("throughput", True)
    return Capability(
        "throughput",
        True,
        "transactions of several statements count several times",
        "UPDATE performance_schema.setup_instruments SET ENABLED = 'YES' WHERE NAME = 'transaction';",
    )


def _estimates(role: str, database: str, *, works: bool) -> Capability:
    if works:
        return Capability("estimates", True)
    where = f"`{database}`.*" if database else rights.EVERYWHERE
    return Capability(
        "estimates",
        False,
        "the context does not know how much data statements read",
        f"with performance_schema: {rights.grant(['SELECT'], where, role)}",
    )

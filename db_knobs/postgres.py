"""PostgreSQL 13 to 18: settings by ALTER SYSTEM and a reload, seen in new connections.

The role needs `pg_monitor`, `ALTER SYSTEM` on each parameter and EXECUTE on `pg_reload_conf` (PostgreSQL 15 and later;
before, only a superuser may). `postgres_statistics` reads the server's views.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow

from db_knobs import postgres_statistics as views
from db_knobs.address import Address
from db_knobs.catalog import Entry, Host, Reported, entries, join
from db_knobs.database import (
    CONNECT_SECONDS,
    STATEMENT_SECONDS,
    VERIFY_SECONDS,
    Allowed,
    Applied,
    Capability,
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
    LoginRefused,
    NotVerified,
    RightMissing,
    StatementTimeout,
    UnknownKnob,
    UnknownServer,
    ValueRefused,
)
from db_knobs.host import host_of
from db_knobs.knob import DIGITS, Applies, Knob, same
from db_knobs.statistics import Snapshot, Statement, Workload
from tunewright.space import Config, Value

VERSIONS = (13, 18)
# From here on a role that is no superuser can be granted what it takes.
GRANTABLE = 15
APPLICATION = "tunewright"
_KEPT_IN = "postgresql.auto.conf"
# Settings from these sources win over anything that ALTER SYSTEM writes.
_OVERRIDING = {"command line", "environment variable", "override", "global"}
_OWN = {"database", "user", "database user", "client", "session", "interactive", "test"}
_REFUSED_LOGIN = ("password authentication failed", "no pg_hba.conf entry", "role ", "database ", "SSL", "ssl", "cert")


class Postgres:
    """A `Database` on PostgreSQL.

    Args:
        host: what the server's machine has; needed where it is another one than ours.
        verify_seconds: how long a reload may take to show.
    """

    kind = "postgresql"

    def __init__(self, address: Address, host: Host = Host(), *, verify_seconds: float = VERIFY_SECONDS) -> None:  # noqa: B008
        self._address = address
        self._host = host_of(address, host)
        self._verify_seconds = verify_seconds
        self._connection: psycopg.Connection[TupleRow] | None = None
        self._version = (0, 0)

    def __repr__(self) -> str:
        return f"Postgres({self._address})"

    def connect(self) -> None:
        self.close()
        connection = self._open()
        major, minor = divmod(connection.info.server_version, 10000)
        if not VERSIONS[0] <= major <= VERSIONS[1]:
            connection.close()
            raise UnknownServer(
                f"{self._address}: PostgreSQL {major}.{minor}; known are {VERSIONS[0]} to {VERSIONS[1]}"
            )
        self._version = (major, minor)
        self._connection = connection

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def probe(self, allowed: Allowed = Allowed()) -> Probe:  # noqa: B008
        reported = self._reported()
        names = chosen(entries(self.kind), reported, allowed)
        role, read_only, superuser, monitor, connections = self._rows(
            "SELECT current_user, pg_is_in_recovery(),"
            " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),"
            " pg_has_role('pg_monitor', 'USAGE'),"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())"
        )[0]
        missing = self._missing_rights(role, names, superuser=superuser, monitor=monitor)
        statements = self._statements_work()
        estimates = self._rows(
            "SELECT coalesce(bool_and(has_table_privilege(relid, 'SELECT')), true) FROM pg_stat_user_tables"
        )[0][0]
        active_time = self._version[0] >= 14
        return Probe(
            kind="postgresql",
            version=self._version,
            version_text=self._rows("SELECT current_setting('server_version')")[0][0],
            role=role,
            read_only=read_only,
            replica=read_only,
            capabilities=(
                _apply_capability(self._version[0], superuser=superuser, missing=missing, read_only=read_only),
                _statements_capability(self._address.database, works=statements),
                Capability("latency", statements or active_time, "" if statements or active_time else "mean latency"),
                Capability("percentiles", statements, "" if statements else "latency percentiles"),
                Capability("throughput", True),
                _estimates_capability(role, works=estimates and statements),
            ),
            missing=missing,
            pending_restart=tuple(
                name for (name,) in self._rows("SELECT name FROM pg_settings WHERE pending_restart ORDER BY name")
            ),
            host=self._host,
            max_connections=int(reported["max_connections"].current),
            connections=int(connections),
            notes=tuple(self._notes(reported, names)),
        )

    def knobs(self, allowed: Allowed = Allowed()) -> list[Knob]:  # noqa: B008
        catalog, reported = entries(self.kind), self._reported()
        overridden = self._overridden(reported)
        found = []
        for name in chosen(catalog, reported, allowed):
            knob = join(catalog[name], reported[name], self._host)
            reason = overridden.get(name) or (None if knob else _UNKNOWN_HOST)
            if reason is None:
                assert knob is not None
                found.append(knob)
            elif allowed.names is not None:
                raise KnobRefused(name, reason)
        return found

    def read(self, names: Sequence[str]) -> Config:
        # A session keeps what it had at first of some settings: only a new one sees what the next one will.
        with self._opened() as connection:
            return self._values(connection, names)

    def former(self, names: Sequence[str]) -> Former:
        with self._opened() as connection:
            rows = connection.execute(
                "SELECT name, vartype, setting, current_setting(name), sourcefile, pending_restart FROM pg_settings"
                " WHERE name = ANY(%s)",
                [list(names)],
            ).fetchall()
            texts = self._kept_texts(connection, names)
        known = {row[0]: row for row in rows}
        found: Former = {}
        for name in names:
            if name not in known:
                raise UnknownKnob(name, "this server has no such setting")
            _, vartype, setting, shown, file, pending = known[name]
            if pending:
                raise KnobRefused(name, "somebody changed it and has not restarted the server yet; restart, or undo it")
            kept = texts.get(name, shown) if (file or "").endswith(_KEPT_IN) else None
            found[name] = FormerSetting(value=_parsed(vartype, setting), text=kept)
        return found

    def apply(self, settings: Mapping[str, Value]) -> Applied:
        former = self.former(list(settings))
        done: list[str] = []
        try:
            with self._translated():
                for name, value in settings.items():
                    self._set(name, _literal(value))
                    done.append(name)
        except ConnectionLost:
            raise
        except DatabaseError:
            if done:
                self.restore({name: former[name] for name in done})
            raise
        applied = self._reload_and_read(list(settings))
        for name, value in settings.items():
            if name not in applied.pending_restart and not same(applied.settings[name], value):
                raise NotVerified(
                    name, f"was set to {value} and stands at {applied.settings[name]}; something overrides it"
                )
        return applied

    def restore(self, former: Former) -> Applied:
        with self._translated():
            for name, setting in former.items():
                if setting["text"] is None:
                    self._set(name, None)
                else:
                    self._set(name, setting["text"])
        return self._reload_and_read(list(former))

    def measure(self) -> Snapshot:
        with self._translated() as connection:
            return views.snapshot(connection, self._version[0], statements=self._statements_work())

    def workload(self) -> Workload:
        with self._translated() as connection:
            if self._statements_work():
                return views.statements(connection, self._version[0], texts=True)
            return views.kinds_of_statements(connection)

    def estimate(self, statements: Mapping[str, Statement]) -> dict[str, Estimate]:
        # A lost estimate must not cost the main connection its transaction state.
        with self._opened() as connection:
            return views.estimates(connection, statements)

    # Connections

    def _open(self) -> psycopg.Connection[TupleRow]:
        address = self._address
        try:
            return psycopg.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password.secret or None,
                dbname=address.database,
                sslmode=address.tls,
                sslrootcert=address.ca,
                connect_timeout=int(CONNECT_SECONDS),
                application_name=APPLICATION,
                options=f"-c statement_timeout={int(1000 * STATEMENT_SECONDS)} -c lock_timeout=2000 -c jit=off",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=int(2000 * STATEMENT_SECONDS),
                autocommit=True,
            )
        except psycopg.Error as error:
            raise _login_error(address, error) from None

    @contextmanager
    def _opened(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """A connection of its own, which sees what new connections see."""
        if self._connection is None:
            self.connect()
        connection = self._open()
        try:
            with _translation(self._address, connection):
                yield connection
        finally:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """The lasting connection; the driver's errors become ours."""
        if self._connection is None or self._connection.closed:
            self.connect()
        assert self._connection is not None
        with _translation(self._address, self._connection):
            yield self._connection

    def _rows(self, statement: LiteralString, arguments: Sequence[Any] = ()) -> list[Any]:
        with self._translated() as connection:
            return connection.execute(statement, arguments).fetchall()

    # Settings

    def _reported(self) -> dict[str, Reported]:
        rows = self._rows(
            "SELECT name, vartype, coalesce(unit, ''), min_val, max_val, enumvals, context, boot_val, setting, source"
            " FROM pg_settings WHERE context <> 'internal'"
        )
        found = {}
        for name, vartype, unit, low, high, choices, context, boot, setting, source in rows:
            if vartype == "string":
                found[name] = Reported(name, setting or "", type="enum", source=source, applies=_applies(context))
                continue
            found[name] = Reported(
                name=name,
                current=_parsed(vartype, setting),
                type=vartype,
                unit=unit,
                low=None if low is None else float(low),
                high=None if high is None else float(high),
                choices=tuple(choices or ()),
                default=None if boot is None else _parsed(vartype, boot),
                source=source,
                applies=_applies(context),
            )
        return found

    def _set(self, name: str, text: str | None) -> None:
        """Write one setting into the server's own file; None removes it from there."""
        assert self._connection is not None
        if text is None:
            statement = sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name))
        else:
            statement = sql.SQL("ALTER SYSTEM SET {} TO {}").format(sql.Identifier(name), sql.Literal(text))
        try:
            self._connection.execute(statement)
        except pg.InsufficientPrivilege:
            raise RightMissing(
                f'role "{self._address.user}" may not set "{name}"', [_grant_parameters([name], self._address.user)]
            ) from None
        except pg.UndefinedObject:
            raise UnknownKnob(name, "this server has no such setting") from None
        except (pg.InvalidParameterValue, pg.CantChangeRuntimeParam, pg.FeatureNotSupported) as error:
            raise ValueRefused(name, _first_line(error)) from None

    def _reload_and_read(self, names: Sequence[str]) -> Applied:
        """Let the server read its files, wait until a new connection sees that it has, and read.

        Raises:
            NotVerified: it does not within the deadline.
        """
        before = self._rows("SELECT pg_conf_load_time()")[0][0]
        with self._opened() as connection:
            before = max(before, connection.execute("SELECT pg_conf_load_time()").fetchall()[0][0])
        try:
            self._rows("SELECT pg_reload_conf()")
        except RightMissing:
            raise RightMissing(
                f'role "{self._address.user}" may not reload the configuration', [_grant_reload(self._address.user)]
            ) from None
        deadline = time.monotonic() + self._verify_seconds
        pause = 0.005
        while True:
            with self._opened() as connection:
                if connection.execute("SELECT pg_conf_load_time() > %s", [before]).fetchall()[0][0]:
                    settings = self._values(connection, names)
                    pending = connection.execute(
                        "SELECT name FROM pg_settings WHERE pending_restart AND name = ANY(%s)", [list(names)]
                    ).fetchall()
                    return Applied(settings, tuple(sorted(name for (name,) in pending)))
            if time.monotonic() > deadline:
                first = next(iter(names), "")
                raise NotVerified(first, f"the server did not reload within {self._verify_seconds:g} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.2)

    def _values(self, connection: psycopg.Connection[TupleRow], names: Sequence[str]) -> Config:
        rows = connection.execute(
            "SELECT name, vartype, setting FROM pg_settings WHERE name = ANY(%s)", [list(names)]
        ).fetchall()
        found = {name: _parsed(vartype, setting) for name, vartype, setting in rows}
        for name in names:
            if name not in found:
                raise UnknownKnob(name, "this server has no such setting")
        return {name: found[name] for name in names}

    def _kept_texts(self, connection: psycopg.Connection[TupleRow], names: Sequence[str]) -> dict[str, str]:
        """Exact texts in the server's own file, where the role may see them; else the server's spelling has to do."""
        allowed = connection.execute(
            "SELECT has_table_privilege('pg_file_settings', 'SELECT')"
            " AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')"
        ).fetchall()[0][0]
        if not allowed:
            return {}
        rows = connection.execute(
            "SELECT name, setting FROM pg_file_settings WHERE name = ANY(%s) AND sourcefile LIKE %s",
            [list(names), f"%{_KEPT_IN}"],
        ).fetchall()
        return dict(rows)

    # What may be done

    def _missing_rights(self, role: str, names: Sequence[str], *, superuser: bool, monitor: bool) -> tuple[str, ...]:
        if superuser:
            return ()
        missing = [] if monitor else [f"GRANT pg_monitor TO {_quoted(role)};"]
        if self._version[0] < GRANTABLE:
            return (*missing, f"ALTER ROLE {_quoted(role)} SUPERUSER;")
        denied = self._rows(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT has_parameter_privilege(name, 'ALTER SYSTEM')"
            " ORDER BY name",
            [list(names)],
        )
        if denied:
            missing.append(_grant_parameters([name for (name,) in denied], role))
        if not self._rows("SELECT has_function_privilege('pg_reload_conf()', 'EXECUTE')")[0][0]:
            missing.append(_grant_reload(role))
        return tuple(missing)

    def _statements_work(self) -> bool:
        """Whether the extension is here, loaded, and shows others' statements."""
        try:
            return bool(self._rows("SELECT count(*) >= 0 FROM pg_stat_statements(false)")[0][0])
        except (UnknownKnob, ValueRefused, RightMissing, DatabaseError) as error:
            if isinstance(error, (ConnectionLost, StatementTimeout)):
                raise
            return False

    def _overridden(self, reported: Mapping[str, Reported]) -> dict[str, str]:
        """Settings that ALTER SYSTEM would not change for everybody, and why."""
        found = {
            name: f"it is set by {setting.source}, which no later setting can change"
            for name, setting in reported.items()
            if setting.source in _OVERRIDING and name in entries(self.kind)
        }
        rows = self._rows(
            "SELECT DISTINCT split_part(entry, '=', 1) FROM pg_db_role_setting AS s, unnest(s.setconfig) AS entry"
            " WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
        )
        for (name,) in rows:
            found[name] = "it is set for a role or this database (ALTER ROLE or ALTER DATABASE), which wins"
        return found

    def _notes(self, reported: Mapping[str, Reported], names: Sequence[str]) -> Iterator[str]:
        for name, reason in sorted(self._overridden(reported).items()):
            if name in names:
                yield f"{name} is left out: {reason}"
        catalog = entries(self.kind)
        unknown = [name for name in names if join(catalog[name], reported[name], self._host) is None]
        if unknown:
            yield f"{', '.join(unknown)}: left out, {_UNKNOWN_HOST}"
        if self._address.local is False:
            yield "backups and standbys keep what is set here only where they take postgresql.auto.conf along"


_UNKNOWN_HOST = "how far it may go depends on the server's memory and cores; declare them"


def _parsed(vartype: str, text: str) -> Value:
    if vartype == "bool":
        return text == "on"
    if vartype == "integer":
        return int(text)
    return float(text) if vartype == "real" else text


def _literal(value: Value) -> str:
    """A value as the server's file has it: a number in the setting's own unit."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def _applies(context: str) -> Applies:
    if context == "postmaster":
        return Applies.RESTART
    return Applies.NEW_CONNECTIONS if context.endswith("backend") else Applies.ONLINE


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _grant_parameters(names: Sequence[str], role: str) -> str:
    return f"GRANT ALTER SYSTEM ON PARAMETER {', '.join(names)} TO {_quoted(role)};"


def _grant_reload(role: str) -> str:
    return f"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {_quoted(role)};"


def _apply_capability(major: int, *, superuser: bool, missing: Sequence[str], read_only: bool) -> Capability:
    lost = "nothing can be set; sessions can only advise"
    if major < GRANTABLE and not superuser:
        return Capability("apply", False, lost, f"PostgreSQL {major} lets only superusers set anything")
    rights = [statement for statement in missing if "pg_monitor" not in statement]
    if rights:
        return Capability("apply", False, lost, " ".join(rights))
    note = "a standby has settings of its own; they are set here alone" if read_only else ""
    return Capability("apply", True, remedy=note)


def _statements_capability(database: str, *, works: bool) -> Capability:
    if works:
        return Capability("statements", True)
    return Capability(
        "statements",
        False,
        "the context knows rates and kinds of statements, not which; latency is that of transactions, no percentiles",
        f"add pg_stat_statements to shared_preload_libraries, restart, and in {database}: CREATE EXTENSION"
        " pg_stat_statements;",
    )


def _estimates_capability(role: str, *, works: bool) -> Capability:
    if works:
        return Capability("estimates", True)
    return Capability(
        "estimates",
        False,
        "the context does not know how much data statements read",
        f"with pg_stat_statements: GRANT SELECT ON ALL TABLES IN SCHEMA public TO {_quoted(role)};",
    )


def _first_line(error: psycopg.Error) -> str:
    return str(error.diag.message_primary or error).splitlines()[0]


def _login_error(address: Address, error: psycopg.Error) -> DatabaseError:
    said = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    if address.password.secret:
        said = said.replace(address.password.secret, "***")
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(("28", "3D")) or any(words in said for words in _REFUSED_LOGIN):
        return LoginRefused(f"{address}: {said}")
    return ConnectionLost(f"{address}: {said}")


@contextmanager
def _translation(address: Address, connection: psycopg.Connection[TupleRow]) -> Iterator[None]:
    try:
        yield
    except pg.QueryCanceled:
        raise StatementTimeout(f"{address}: a statement took longer than {STATEMENT_SECONDS:g} s") from None
    except pg.InsufficientPrivilege as error:
        raise RightMissing(f"{address}: {_first_line(error)}") from None
    except psycopg.Error as error:
        if connection.closed or isinstance(error, (pg.OperationalError, psycopg.InterfaceError)):
            connection.close()
            raise ConnectionLost(f"{address}: {_first_line(error)}") from None
        raise DatabaseError(f"{address}: {_first_line(error)}") from None


def _entry(name: str) -> Entry:
    return entries("postgresql")[name]

"""Connections to MySQL and MariaDB: which server it is, TLS, time limits, and the driver's errors as ours."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import pymysql
from pymysql.cursors import Cursor

from db_knobs.address import Address, Kind
from db_knobs.database import CONNECT_SECONDS, STATEMENT_SECONDS
from db_knobs.errors import (
    ConnectionLost,
    DatabaseError,
    LoginRefused,
    RightMissing,
    ServerBusy,
    StatementTimeout,
    UnknownServer,
)

# In quotes: only the driver's stubs know it as generic.
Connection: TypeAlias = "pymysql.Connection[Cursor]"

PROGRAM = "tunewright"
# First and last major versions, and the first minor one of the first.
VERSIONS: dict[Kind, tuple[tuple[int, int], int]] = {"mysql": ((8, 0), 9), "mariadb": ((10, 6), 12)}
# A server that is asleep keeps no limits.
ANSWER_SECONDS = 2 * STATEMENT_SECONDS
# MariaDB shrinks its cache before it answers.
SETTING_SECONDS = 60.0

# A server may give few rows, look at few, or send away who is quiet for a second; DEFAULT would be what it has.
_UNLIMITED = "sql_select_limit = 18446744073709551615, sql_big_selects = 1, wait_timeout = 28800"

# Access denied (1045, 1698), no such database for this user (1044, 1049), host (1129, 1130), method (1251, 3159),
# password expired (1820, 1862), account locked (3118, 4151), no TLS (2026).
_REFUSED_LOGIN = {1044, 1045, 1049, 1129, 1130, 1251, 1698, 1820, 1862, 2026, 3118, 3159, 4151}
# Too many connections: in all, and of this user (1203 by the server's limit, 1226 by the account's).
_BUSY = {1040, 1203, 1226}
# Killed, shut down, silent, or never there.
_LOST = {0, 1053, 1152, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 3169, 4031}
_TOO_LONG = {1205, 1317, 1969, 3024}
_DENIED = {1044, 1142, 1143, 1227, 1370}


def opened(address: Address, *, read_seconds: float = ANSWER_SECONDS) -> tuple[Connection, Kind, tuple[int, int]]:
    """A new connection, what answers it, and (major, minor).

    Without a current database: statements of ours then stand in nobody's statistics but the server's.

    Raises:
        LoginRefused, ConnectionLost, ServerBusy, UnknownServer: see `errors`.
    """
    socket = address.host if address.host.startswith("/") else None
    try:
        connection = pymysql.connect(
            host=None if socket else address.host,
            unix_socket=socket,
            port=address.port,
            user=address.user,
            # Bytes, so that no encoding of the driver's choice can fail on it, and show it.
            password=address.password.secret.encode(),
            connect_timeout=int(CONNECT_SECONDS),
            read_timeout=read_seconds,
            write_timeout=STATEMENT_SECONDS,
            autocommit=True,
            charset="utf8mb4",
            program_name=PROGRAM,
            **_tls(address),
        )
    except (pymysql.Error, OSError, RuntimeError) as error:
        raise _login_error(address, error) from None
    try:
        kind, version, text = server_of(connection.get_server_info())  # type: ignore[no-untyped-call]
        first, last = VERSIONS[kind]
        if not (version >= first and version[0] <= last):
            raise UnknownServer(
                f"{address}: {text}; known are MySQL 8 and 9, and MariaDB 10.6 to {VERSIONS['mariadb'][1]}"
            )
        with translation(address, connection):
            _limit(connection, kind)
    except BaseException:
        closed(connection)
        raise
    return connection, kind, version


def server_of(greeting: str) -> tuple[Kind, tuple[int, int], str]:
    """Kind, (major, minor) and version text of the server that greets so.

    Raises:
        UnknownServer: it is neither MySQL nor MariaDB.
    """
    # MariaDB once put this in front, for old replicas.
    text = greeting.removeprefix("5.5.5-")
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise UnknownServer(f"the server calls itself {text[:80]!r}, which is neither MySQL nor MariaDB")
    kind: Kind = "mariadb" if "mariadb" in text.lower() else "mysql"
    return kind, (int(found[1]), int(found[2])), text


def rows(connection: Connection, statement: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement; the driver's errors stay as they are."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments or None)
        return list(cursor.fetchall())


def closed(connection: Connection) -> None:
    with suppress(pymysql.Error, OSError):
        connection.close()


def code_of(error: BaseException) -> int:
    """The server's number of an error; -1 where it has none."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else -1


def said_by(error: BaseException) -> str:
    """What the server said, in a line."""
    return " ".join(str(error.args[1] if len(error.args) > 1 else error).split())


def lost(connection: Connection, error: BaseException) -> bool:
    """Whether the connection can no longer be used."""
    return not connection.open or code_of(error) in _LOST or isinstance(error, pymysql.InterfaceError)


@contextmanager
def translation(address: Address, connection: Connection) -> Iterator[None]:
    """The driver's errors become ours; a lost connection is closed."""
    try:
        yield
    except (pymysql.Error, OSError) as error:
        code, said = code_of(error), said_by(error)
        if code in _TOO_LONG:
            raise StatementTimeout(f"{address}: a statement took longer than {STATEMENT_SECONDS:g} s") from None
        if isinstance(error, OSError) or lost(connection, error):
            closed(connection)
            raise ConnectionLost(f"{address}: {said or 'the connection broke'}") from None
        if code in _DENIED:
            raise RightMissing(f"{address}: {said}") from None
        raise DatabaseError(f"{address}: {said}") from None


def _limit(connection: Connection, kind: Kind) -> None:
    """No statement of ours may run, or wait for a lock, for long; limits that the server has for others are none."""
    limit = (
        f"max_statement_time = {STATEMENT_SECONDS:g}"
        if kind == "mariadb"
        else f"max_execution_time = {int(1000 * STATEMENT_SECONDS)}"
    )
    rows(connection, f"SET SESSION {limit}, lock_wait_timeout = 2, {_UNLIMITED}")


def _tls(address: Address) -> dict[str, Any]:
    """PyMySQL's arguments; without any it takes TLS where the server offers it, and trusts everybody."""
    if address.tls == "disable":
        return {"ssl_disabled": True}
    if address.tls == "prefer":
        return {}
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except OSError as error:
        raise LoginRefused(f"{address}: no certificates can be read from {address.ca}: {error.strerror}") from None
    # Certificates that servers make for themselves lack what the strict form wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = address.tls == "verify-full"
    if address.tls == "require":
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def _login_error(address: Address, error: BaseException) -> DatabaseError:
    said = said_by(error)
    if address.password.secret:
        said = said.replace(address.password.secret, "***")
    if code_of(error) in _REFUSED_LOGIN or "SSL" in said or "certificate" in said.lower():
        return LoginRefused(f"{address}: {said}")
    return (ServerBusy if code_of(error) in _BUSY else ConnectionLost)(f"{address}: {said}")

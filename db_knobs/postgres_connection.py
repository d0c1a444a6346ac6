"""Connections to PostgreSQL: time limits, TLS, and the driver's errors as ours."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors as pg
from psycopg.rows import TupleRow

from db_knobs.address import Address
from db_knobs.database import CONNECT_SECONDS, STATEMENT_SECONDS
from db_knobs.errors import ConnectionLost, DatabaseError, LoginRefused, RightMissing, ServerBusy, StatementTimeout

Connection = psycopg.Connection[TupleRow]

APPLICATION = "tunewright"
LOCK_SECONDS = 2.0
# A server that is asleep keeps no limits.
ANSWER_SECONDS = 2 * STATEMENT_SECONDS
# The driver tells no SQLSTATE of a refused login, and servers speak many languages; see `_login_error`.
_REFUSED_LOGIN = re.compile(
    r"authentication failed|pg_hba\.conf|no password supplied|certificate|does not support SSL|role .* does not exist"
    r"|database .* does not exist|not permitted to log in|permission denied for database|not currently accepting"
    r"|requires a valid client|root\.crt|sslmode"
)
_BUSY = re.compile(r"too many (clients|connections)|connection slots are reserved|is starting up|in recovery mode")
# Whoever was let in may still be sent away by these; they say nothing of who asks.
_GONE = re.compile(r"shutting down|terminating connection|due to timeout|out of memory|could not |No space left")
# A server's own message follows its severity, in whatever language, and two blanks.
_ANSWERED = re.compile(r"failed: [^\s:]+( [^\s:]+)?:  ")


def opened(address: Address, *, own_names: bool = True) -> Connection:
    """A new connection; each statement commits, none may run or wait for a lock for long.

    Args:
        own_names: names mean the server's own views and functions, whatever others of the same names stand in the way.
    Raises:
        LoginRefused, ConnectionLost, ServerBusy: see `errors`.
    """
    try:
        return psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password.secret or None,
            dbname=address.database,
            sslmode=address.tls,
            sslrootcert=address.ca or ("system" if address.tls == "verify-full" else None),
            connect_timeout=int(CONNECT_SECONDS),
            application_name=APPLICATION,
            # Whatever role or database are in: the driver knows not all encodings, and gives bytes in SQL_ASCII.
            client_encoding="UTF8",
            # Nothing that is a knob: what a session is given hides what the server stands at.
            options=f"-c statement_timeout={int(1000 * STATEMENT_SECONDS)} -c lock_timeout={int(1000 * LOCK_SECONDS)}"
            + (" -c search_path=pg_catalog" if own_names else ""),
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=int(2000 * STATEMENT_SECONDS),
            autocommit=True,
            # The server's own plans are looked at under names that the driver would take.
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        raise _login_error(address, error) from None


def first_line(error: psycopg.Error) -> str:
    """What the server said, without details."""
    return (str(error.diag.message_primary or error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def translation(address: Address, connection: Connection, *, seconds: float = ANSWER_SECONDS) -> Iterator[None]:
    """The driver's errors become ours; a lost connection is closed.

    Args:
        seconds: after which a server that does not answer at all counts as lost; its own limits need it to be awake.
    """
    try:
        with _broken_after(seconds, connection):
            yield
    except pg.QueryCanceled:
        raise StatementTimeout(f"{address}: a statement took longer than {STATEMENT_SECONDS:g} s") from None
    except pg.LockNotAvailable:
        raise StatementTimeout(f"{address}: a lock was not free within {LOCK_SECONDS:g} s") from None
    except pg.InsufficientPrivilege as error:
        raise RightMissing(f"{address}: {first_line(error)}") from None
    except psycopg.Error as error:
        # The driver counts a server's file that cannot be read among what breaks connections.
        broken = isinstance(error, (pg.OperationalError, psycopg.InterfaceError))
        if connection.closed or (broken and not isinstance(error, pg.ConfigFileError)):
            connection.close()
            raise ConnectionLost(f"{address}: {first_line(error)}") from None
        raise DatabaseError(f"{address}: {first_line(error)}") from None


@contextmanager
def reading(connection: Connection) -> Iterator[None]:
    """Statements that see one state of the statistics, in a transaction that does not count as one.

    It is rolled back: a database that nobody uses commits nothing, however often it is looked at.
    """
    connection.execute("BEGIN READ ONLY")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


def _login_error(address: Address, error: psycopg.Error) -> DatabaseError:
    said = " ".join(str(error).split()) or type(error).__name__
    if address.password.secret:
        said = said.replace(address.password.secret, "***")
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(("28", "3D")) or _REFUSED_LOGIN.search(said):
        return LoginRefused(f"{address}: {said}")
    if _BUSY.search(said):
        return ServerBusy(f"{address}: {said}")
    if _ANSWERED.search(str(error)) and not _GONE.search(said):
        # In another language: who has asked for a password refuses the login; others do not get so far.
        asked = error.pgconn is not None and error.pgconn.used_password
        return (LoginRefused if asked else ServerBusy)(f"{address}: {said}")
    return ConnectionLost(f"{address}: {said}")


@contextmanager
def _broken_after(seconds: float, connection: Connection) -> Iterator[None]:
    """Break a connection that is still in use then; whoever waits for it gets an error of the driver."""
    if connection.closed:
        yield
        return
    # Of our own, so that it cannot become another file's number.
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        timer = threading.Timer(seconds, _shut, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _shut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)

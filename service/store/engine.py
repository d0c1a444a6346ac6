"""Opening the store: engine settings per database, transactions, and the schema's version.

On SQLite: WAL, so that readers never wait for the writer; `synchronous=FULL`, so that what was acknowledged also
survives a power cut; every transaction that writes begins as `IMMEDIATE`, so that two writers queue up
instead of failing with "database is locked" in the middle.

On PostgreSQL a transaction that reads sees one snapshot, as on SQLite. Those that write see each other's rows as they
are committed; where two must not run at once they lock the row that they are about, or `queue_up` when there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from sqlalchemy import URL, Connection, Engine, String, bindparam, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from service.store.timing import count_errors, timed_write
from tunewright.errors import TunewrightError
from workers import tracing

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

MIGRATIONS = Path(__file__).parent / "migrations"
# Writers queue for at most this long behind each other before they give up.
BUSY_SECONDS = 30
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
# A server that is gone without a word is noticed by these, and one that lost us gives our locks back. What the URL says
# itself goes first.
_POSTGRESQL_OPTIONS = {
    "application_name": "tunewright",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "options": f"-c lock_timeout={BUSY_SECONDS}s -c idle_in_transaction_session_timeout={2 * BUSY_SECONDS}s",
}
_WRITES: dict[str, dict[str, Any]] = {"sqlite": {"writes": True}, "postgresql": {"isolation_level": "READ COMMITTED"}}


class StoreUrlError(TunewrightError, ValueError):
    """The store's URL cannot be used; the message does not quote it, for it may hold a password."""


class SchemaError(TunewrightError):
    """The store's schema is not one that this release can use."""


def parse_url(text: str) -> URL:
    """A store's URL, checked.

    Raises:
        StoreUrlError: it is none, names a database or driver that is not supported, or was misread.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StoreUrlError(
            "this is not an SQLAlchemy URL; give for example postgresql+psycopg://user@host/database"
        ) from None
    if url.drivername not in _DRIVERS:
        raise StoreUrlError(
            f'"{url.drivername}" is not supported; give sqlite:///path or postgresql+psycopg://user@host/database'
        )
    if url.get_backend_name() == "postgresql":
        if "@" in (url.host or "") or "@" in (url.database or ""):
            raise StoreUrlError("a second @ stands behind the user's name; write @ in a password as %40 and / as %2F")
        if not url.database:
            raise StoreUrlError("it names no database; give one: postgresql+psycopg://user@host/database")
    return url


def open_engine(text: str) -> Engine:
    """An engine for a store at an SQLAlchemy URL; connects on first use.

    Raises:
        StoreUrlError: as `parse_url`.
    """
    url = parse_url(text)
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgresql(url)
    count_errors(engine)
    return engine


def _postgresql(url: URL) -> Engine:
    options = {name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in url.query}
    return create_engine(
        url.set(drivername="postgresql+psycopg").update_query_dict(options),
        # Every request may need a connection; several services and a runner for each study share what the server has.
        pool_size=5,
        max_overflow=15,
        # A connection that broke while it lay here is replaced before anybody is given it.
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        json_deserializer=from_json,
        hide_parameters=True,
    )


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=20,
        max_overflow=30,
        connect_args={"timeout": BUSY_SECONDS},
        # What is stored may be secret (a study's environment), and errors are logged.
        hide_parameters=True,
        # A page of trials is two hundred JSON values; the standard library takes three times as long for them.
        json_deserializer=from_json,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver must not open transactions by itself, else BEGIN IMMEDIATE would come too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write; commits when the block ends without an error."""
    with (
        tracing.span("store write"),
        timed_write(),
        engine.connect().execution_options(**_WRITES[engine.dialect.name]) as connection,
        connection.begin(),
    ):
        yield connection


_QUEUE_UP = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("what", type_=String), 0)))


def queue_up(connection: Connection, what: str) -> None:
    """Wait until no other transaction that has queued up for `what` is open; SQLite's writers queue up anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(_QUEUE_UP, {"what": f"tunewright:{what}"})


@dataclass(frozen=True)
class Schema:
    """The version of a store's schema.

    Attributes:
        there: what the store has; None while it is empty.
        needed: what this release needs.
        newer: whether a newer release made it what it is.
    """

    there: str | None
    needed: str
    newer: bool

    @property
    def older(self) -> bool:
        """Whether it was made by an older release, and can be brought up to date."""
        return self.there not in (None, self.needed) and not self.newer


def schema(engine: Engine) -> Schema:
    """Which schema a store has, and which it should have."""
    # Runners open the store as well, and find its schema right: only who looks at it imports this.
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.connect() as connection:
        there = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(alembic_config())
    known = {script.revision for script in scripts.walk_revisions()}
    return Schema(there, str(scripts.get_current_head()), there is not None and there not in known)


def prepare(engine: Engine) -> None:
    """Make sure that a store has the schema of this release; an empty one gets it.

    One of an older release is left as it is: its way back is a backup, which only people can make, and services of
    that release may still use it.

    Raises:
        SchemaError: it belongs to an older release, names the command; or see `migrate`.
    """
    found = schema(engine)
    if found.older:
        raise SchemaError(
            f"the store has the schema {found.there} of an older release, and this one needs {found.needed}; "
            "stop all services that use it, back it up, then run: tunewright migrate"
        )
    migrate(engine)


def migrate(engine: Engine) -> None:
    """Bring the schema to the version that this code needs; does nothing when it is there.

    Raises:
        SchemaError: the store has a version that this code does not know, or cannot hold every text.
    """
    from alembic import command
    from alembic.util import CommandError

    with writing(engine) as connection:
        _require_unicode(connection)
        # Two services may start at once.
        queue_up(connection, "migrations")
        try:
            command.upgrade(alembic_config(connection), "head")
        except CommandError as error:
            raise SchemaError(
                f"the store cannot be brought to the schema of this release ({error}); "
                "it was probably used by a newer one: run that release"
            ) from error


def _require_unicode(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise SchemaError(
            f"the store's database has the encoding {encoding}, which cannot hold every text; "
            "create one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def alembic_config(connection: Connection | None = None) -> AlembicConfig:
    """Alembic's configuration, bound to an open connection."""
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    # The configuration would take a percent sign for the start of a variable.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

"""Opening the store: engine settings per database, and the schema's version.

On SQLite: WAL, so that readers never wait for the writer; `synchronous=FULL`, so that what was acknowledged also
survives a power cut; every transaction that writes begins as `IMMEDIATE`, so that two writers queue up
instead of failing with "database is locked" in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from tunewright.errors import TunewrightError

MIGRATIONS = Path(__file__).parent / "migrations"
# Writers queue for at most this long behind each other before they give up.
BUSY_SECONDS = 30


class SchemaError(TunewrightError):
    """The store's schema is not one that this release can use."""


def open_engine(url: str) -> Engine:
    """An engine for a store at an SQLAlchemy URL; connects on first use."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, json_deserializer=from_json)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=20,
        max_overflow=30,
        connect_args={"timeout": BUSY_SECONDS},
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
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def migrate(engine: Engine) -> None:
    """Bring the schema to the version that this code needs; does nothing when it is there.

    Raises:
        SchemaError: the store has a version that this code does not know.
    """
    with writing(engine) as connection:
        try:
            command.upgrade(alembic_config(connection), "head")
        except CommandError as error:
            raise SchemaError(
                f"the store cannot be brought to the schema of this release ({error}); "
                "it was probably used by a newer one: run that release"
            ) from error


def alembic_config(connection: Connection | None = None) -> AlembicConfig:
    """Alembic's configuration, bound to an open connection."""
    config = AlembicConfig()
    # The configuration would take a percent sign for the start of a variable.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

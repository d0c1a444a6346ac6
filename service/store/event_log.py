"""The log of events: how one is added, and how a reader hears that there are new ones.

What may be relied on: ids become visible in their order, so a reader that goes on after the highest id it has seen
misses nothing. SQLite has one writer at a time. On PostgreSQL an id is drawn long before it can be seen, and another
writer may overtake; there, whoever adds an event queues up until the one before has committed or failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, func, insert, select

from service.store import storable
from service.store.engine import queue_up
from service.store.tables import EventRow

log = logging.getLogger(__name__)

CHANNEL = "tunewright_events"
POLL_SECONDS = 0.05
# Nothing need be missed while a connection lives, but one through a broken network may not know that it is dead.
UNHEARD_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
REST_SECONDS = 0.02


def append(connection: Connection, study_id: str, kind: str, at: float, body: Mapping[str, Any]) -> int:
    """Add an event in this transaction; best as its last statement, since others wait from here on until it ends.

    Returns:
        The event's id.
    """
    queue_up(connection, "events")
    result = connection.execute(insert(EventRow).values(study_id=study_id, kind=kind, at=at, body=storable.json(body)))
    if connection.dialect.name == "postgresql":
        # Sent when the transaction commits.
        connection.execute(select(func.pg_notify(CHANNEL, "")))
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


async def news(engine: Engine) -> AsyncGenerator[None]:
    """Says when it is worth looking for new events: at once, and then without end.

    PostgreSQL tells as soon as one is committed, whoever wrote it; SQLite is looked at every `POLL_SECONDS`.
    """
    if engine.dialect.name != "postgresql":
        while True:
            yield
            await asyncio.sleep(POLL_SECONDS)
    while True:
        try:
            async with aclosing(_notifications(engine)) as notifications:
                async for _ in notifications:
                    yield
                    # What is committed in quick succession is read together.
                    await asyncio.sleep(REST_SECONDS)
        except psycopg.Error as error:
            log.warning("cannot listen for events: %s", error)
            await asyncio.sleep(RECONNECT_SECONDS)


async def _notifications(engine: Engine) -> AsyncGenerator[None]:
    _, options = engine.dialect.create_connect_args(engine.url)
    async with await psycopg.AsyncConnection.connect(**options, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        while True:
            # Whatever came before the connection listened is found by looking.
            yield
            async for _ in connection.notifies(timeout=UNHEARD_SECONDS, stop_after=1):
                pass

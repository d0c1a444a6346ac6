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

from sqlalchemy import Connection, Engine, String, bindparam, func, insert, select

from service.store import storable
from service.store.engine import queue_up
from service.store.tables import EventRow, StudyRow

log = logging.getLogger(__name__)

CHANNEL = "tunewright_events"
POLL_SECONDS = 0.05
# Nothing need be missed while a connection lives, but one through a broken network may not know that it is dead.
UNHEARD_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
REST_SECONDS = 0.02


# Built once: a study that trains fast adds one with every report.
_INSERT = insert(EventRow.__table__).values(  # type: ignore[arg-type]
    study_id=bindparam("of"),
    # Without a study it is nobody's, and only who sees every project sees it.
    project=func.coalesce(
        bindparam("in_project", type_=String),
        select(StudyRow.project).where(StudyRow.id == bindparam("of")).scalar_subquery(),
        "",
    ),
    **{name: bindparam(name, type_=EventRow.__table__.c[name].type) for name in ("kind", "at", "body")},
)
_ADD = {
    "sqlite": _INSERT.returning(EventRow.id),
    # Whoever listens is told when the transaction commits.
    "postgresql": _INSERT.returning(EventRow.id, func.pg_notify(CHANNEL, "")),
}


def append(
    connection: Connection, study_id: str, kind: str, at: float, body: Mapping[str, Any], project: str | None = None
) -> int:
    """Add an event in this transaction; best as its last statement, since others wait from here on until it ends.

    Args:
        project: that of the study; None looks it up, as long as the study is there.
    Returns:
        The event's id.
    """
    queue_up(connection, "events")
    fields = {"of": study_id, "kind": kind, "at": at, "body": storable.json(body), "in_project": project}
    added = connection.execute(_ADD[connection.dialect.name], fields)
    return int(added.scalar_one())


def newest(connection: Connection) -> tuple[int, float]:
    """Id and time of the newest event; 0 before the first."""
    row = connection.execute(select(EventRow.id, EventRow.at).order_by(EventRow.id.desc()).limit(1)).one_or_none()
    return (0, 0.0) if row is None else (row.id, row.at)


def oldest(engine: Engine) -> int:
    """Id of the oldest event that is kept; 0 before the first."""
    with engine.connect() as connection:
        return connection.execute(select(func.min(EventRow.id))).scalar_one() or 0


async def news(engine: Engine) -> AsyncGenerator[None]:
    """Says when it is worth looking for new events: at once, and then without end.

    PostgreSQL tells as soon as one is committed, whoever wrote it; SQLite is looked at every `POLL_SECONDS`.
    """
    if engine.dialect.name != "postgresql":
        while True:
            yield
            await asyncio.sleep(POLL_SECONDS)

    import psycopg

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
    import psycopg

    _, options = engine.dialect.create_connect_args(engine.url)
    async with await psycopg.AsyncConnection.connect(**options, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        while True:
            # Whatever came before the connection listened is found by looking.
            yield
            async for _ in connection.notifies(timeout=UNHEARD_SECONDS, stop_after=1):
                pass

"""Tuning sessions in the store; each function that takes an engine is one transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, delete, insert, select, update

from service.store import cursors, databases, event_log, request_keys, session_facts
from service.store.databases import OPEN_STATES
from service.store.engine import queue_up, writing
from service.store.errors import Conflict, NotFound
from service.store.leases import session_lease
from service.store.repository import new_id
from service.store.request_keys import RequestKey
from service.store.rows import utc
from service.store.session_journal import new_status
from service.store.tables import EventRow, LeaseRow, SessionFactRow, SessionRow, SessionStatusRow
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import IntervalView, NoticeView, SessionSummary, SessionView
from tunewright.views import Page
from workers.session_journal import Began, Measured, Stands, Wanted

_NUMBER = re.compile("0|[1-9][0-9]{0,8}")
_FACTS = SessionFactRow.__table__
# What a person asked for, in the API's words.
_SHOWN = {Wanted.RUN: "run", Wanted.PAUSE: "pause", Wanted.CANCEL: "stop"}
T = TypeVar("T")


@dataclass(frozen=True)
class OpenSession:
    """A session that is not over, as the conductor sees it."""

    id: str
    database: str
    state: SessionState
    wanted: Wanted
    batch: int
    touched: bool


def create(engine: Engine, spec: SessionSpec, database_id: str, key: RequestKey | None = None) -> SessionView:
    """Store a session as pending.

    Args:
        spec: checked; its project is the database's.
        key: the same key with the same digest gives the session created the first time, for a day.
    Raises:
        NotFound: the database was detached meanwhile.
        Conflict: another session tunes its server, or the key was used for another request.
    """
    with writing(engine) as connection:
        earlier = request_keys.earlier(connection, key)
        if earlier is not None:
            return _view(connection, _row(connection, earlier.study_id))
        database = databases.hold(connection, database_id)
        # The same server may have been attached twice, or have two databases: its settings are those of all.
        queue_up(connection, f"server {database.server}")
        _require_alone(connection, database)
        session_id = new_id()
        connection.execute(
            insert(SessionRow).values(
                id=session_id,
                project=database.project,
                database_id=database.id,
                database_name=database.name,
                server=database.server,
                spec=spec.model_dump(mode="json"),
                wanted=Wanted.RUN,
                created_at=time.time(),
            )
        )
        connection.execute(insert(SessionStatusRow).values(**new_status(session_id)))
        request_keys.note(connection, key, session_id)
        row = _row(connection, session_id)
        _event(connection, row)
        return _view(connection, row)


def repeated(engine: Engine, key: RequestKey | None) -> SessionView | None:
    """The session that a request with this key has created; None if there is none.

    Raises:
        Conflict: the key was used for another request.
    """
    if key is None:
        return None
    with writing(engine) as connection:
        earlier = request_keys.earlier(connection, key)
        return None if earlier is None else _view(connection, _row(connection, earlier.study_id))


def page(
    engine: Engine,
    *,
    limit: int,
    cursor: str | None = None,
    project: str | None = None,
    database: str | None = None,
    state: SessionState | None = None,
) -> Page[SessionSummary]:
    """Sessions, newest first.

    Args:
        database: only those on the database of this id or name.
    Raises:
        BadCursor: the cursor is not this list's.
    """
    statement, kind = cursors.newest_first(_SESSIONS, SessionRow, limit=limit, cursor=cursor, project=project)
    if database is not None:
        statement = statement.where((SessionRow.database_id == database) | (SessionRow.database_name == database))
    if state is not None:
        statement = statement.where(SessionStatusRow.state == state)
    with engine.connect() as connection:
        items = [SessionSummary(**_fields(row)) for row in connection.execute(statement).all()]
    return cursors.page(items, limit, kind, lambda session: session.id)


def view(engine: Engine, session_id: str) -> SessionView:
    """One session.

    Raises:
        NotFound: there is none.
    """
    with engine.connect() as connection:
        return _view(connection, _row(connection, session_id))


def project_of(engine: Engine, session_id: str) -> str | None:
    """The project of a session; None if there is no such session."""
    if not cursors.ID.fullmatch(session_id):
        return None
    with engine.connect() as connection:
        return connection.scalar(select(SessionRow.project).where(SessionRow.id == session_id))


def steer(engine: Engine, session_id: str, wanted: Wanted) -> SessionView:
    """Note what is wanted of a session; the conductor and its runner act on it.

    One that has left the best settings in place at its end is stopped by taking them back.

    Raises:
        NotFound: there is none, or its database was detached since it ended.
        Conflict: it is over, or is being stopped already; or another one tunes its server by now.
    """
    with writing(engine) as connection:
        row = _row(connection, session_id, held=True)
        state = SessionState(row.state)
        if state.final:
            if wanted is not Wanted.CANCEL or not SessionSpec.model_validate(row.spec).keeps(state):
                raise Conflict(f"session {session_id} is {row.state}; only a session that is not over can be steered")
            database = databases.hold(connection, row.database_id)
            queue_up(connection, f"server {database.server}")
            _require_alone(connection, database)
            connection.execute(
                update(SessionStatusRow)
                .where(SessionStatusRow.session_id == session_id)
                .values(state=SessionState.RESTORING, touched=True, ended_at=None)
            )
        elif row.wanted == Wanted.CANCEL and wanted is not Wanted.CANCEL:
            raise Conflict(f"session {session_id} is being stopped; begin another one instead")
        connection.execute(update(SessionRow).where(SessionRow.id == session_id).values(wanted=wanted))
        row = _row(connection, session_id)
        _event(connection, row)
        return _view(connection, row)


def intervals(engine: Engine, session_id: str, *, limit: int, cursor: str | None = None) -> Page[IntervalView]:
    """A session's intervals, newest first.

    Raises:
        NotFound: there is no such session.
        BadCursor: the cursor is not this list's.
    """
    with engine.connect() as connection:
        kind, rows = _facts(connection, session_id, session_facts.INTERVALS, limit, cursor)
    items = [session_facts.interval(row.number, session_facts.interval_of(row)) for row in rows]
    return cursors.page(items, limit, kind, lambda interval: str(interval.number))


def notices(engine: Engine, session_id: str, *, limit: int, cursor: str | None = None) -> Page[NoticeView]:
    """What people should know of a session, newest first.

    Raises:
        NotFound, BadCursor: as `intervals`.
    """
    with engine.connect() as connection:
        kind, rows = _facts(connection, session_id, session_facts.NOTICES, limit, cursor)
    items = [session_facts.notice(row.number, session_facts.notice_of(row)) for row in rows]
    return cursors.page(items, limit, kind, lambda notice: str(notice.number))


def remove(engine: Engine, session_id: str) -> None:
    """Remove a session that is over, with all that is known of it.

    Raises:
        NotFound: there is none.
        Conflict: it is not over.
    """
    with writing(engine) as connection:
        row = _row(connection, session_id, held=True)
        if not SessionState(row.state).final:
            raise Conflict(f"session {session_id} is {row.state}; stop it before deleting it")
        connection.execute(delete(SessionRow).where(SessionRow.id == session_id))
        request_keys.forget(connection, session_id)
        connection.execute(delete(EventRow).where(EventRow.study_id == session_id))
        connection.execute(delete(LeaseRow).where(LeaseRow.name == session_lease(session_id)))
        body = {"state": "deleted", "reason": None, "database": row.database_id}
        event_log.append(connection, session_id, "session", time.time(), body, row.project)


def unfinished(engine: Engine) -> list[OpenSession]:
    """All sessions that are not over, oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(
            _SESSIONS.where(SessionStatusRow.state.in_(OPEN_STATES)).order_by(SessionRow.id)
        ).all()
    return [
        OpenSession(row.id, row.database_id, SessionState(row.state), Wanted(row.wanted), row.batch, row.touched)
        for row in rows
    ]


_SESSIONS: Select[Any] = select(
    SessionRow.__table__,
    *(column for column in SessionStatusRow.__table__.columns if column.name not in ("session_id", "tuner")),
).join(SessionStatusRow, SessionStatusRow.session_id == SessionRow.id)


def _require_alone(connection: Connection, database: Row[Any]) -> None:
    other = connection.execute(
        select(SessionRow.id, SessionRow.project, SessionRow.database_name)
        .join(SessionStatusRow, SessionStatusRow.session_id == SessionRow.id)
        .where(SessionRow.server == database.server, SessionStatusRow.state.in_(OPEN_STATES))
        .limit(1)
    ).one_or_none()
    if other is None:
        return
    # Of another project no more is told than that it is there.
    which = f'session {other.id} on "{other.database_name}"' if other.project == database.project else "a session"
    raise Conflict(
        f'database "{database.name}": {which} tunes this server already, and settings are those of the whole server; '
        "stop that session first"
    )


def _row(connection: Connection, session_id: str, *, held: bool = False) -> Row[Any]:
    found = None
    if cursors.ID.fullmatch(session_id):
        statement = _SESSIONS.where(SessionRow.id == session_id)
        # Not against a runner's facts, which refer to the session.
        found = connection.execute(statement.with_for_update(key_share=True) if held else statement).one_or_none()
    if found is None:
        raise NotFound(f"session {session_id[:100]} does not exist")
    return found


def _facts(
    connection: Connection, session_id: str, kinds: Sequence[str], limit: int, cursor: str | None
) -> tuple[str, Sequence[Row[Any]]]:
    """Name of a list of facts, and its rows, newest first, with one more than `limit` where there are more."""
    _row(connection, session_id)
    kind = f"{kinds[0]}:{session_id}"
    statement = (
        select(_FACTS)
        .where(SessionFactRow.session_id == session_id, SessionFactRow.kind.in_(kinds))
        .order_by(SessionFactRow.number.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        statement = statement.where(SessionFactRow.number < int(cursors.decode(cursor, kind, _NUMBER)))
    return kind, connection.execute(statement).all()


def _fields(row: Row[Any]) -> dict[str, Any]:
    spec = SessionSpec.model_validate(row.spec)
    return {
        "id": row.id,
        "project": row.project,
        "database": row.database_id,
        "database_name": row.database_name,
        "mode": spec.mode,
        "objective": spec.objective,
        "unit": spec.unit,
        "maximize": spec.maximize,
        "state": row.state,
        "wanted": _SHOWN[Wanted(row.wanted)],
        "reason": row.reason,
        "created_at": utc(row.created_at),
        "started_at": None if row.started_at is None else utc(row.started_at),
        "ended_at": None if row.ended_at is None else utc(row.ended_at),
        "active_seconds": row.active_seconds,
        "touched": row.touched,
        "intervals": row.intervals,
        "unsafe": row.unsafe,
        "lost": row.lost,
        "gain": row.gain,
        "best": row.best,
        "next_at": None if row.next_at is None else utc(row.next_at),
    }


def _view(connection: Connection, row: Row[Any]) -> SessionView:
    began = _newest(connection, row.id, session_facts.BEGAN)
    found: dict[str, Any] = {}
    if isinstance(began, Began):
        found = {
            "former": began.former,
            "reference": began.reference,
            "knobs": began.knobs,
            "features": began.features,
            "capabilities": began.capabilities,
        }
    return SessionView(
        **_fields(row), spec=SessionSpec.model_validate(row.spec), current=_current(connection, row.id), **found
    )


def _current(connection: Connection, session_id: str) -> Mapping[str, Any] | None:
    """Settings that were seen on the server last; None before."""
    seen = _newest(connection, session_id, session_facts.MEASURED, session_facts.RESTORED, session_facts.STANDS)
    if isinstance(seen, Measured) and seen.interval.aborted:
        # They were taken back before the interval was written down.
        seen = _newest(connection, session_id, session_facts.RESTORED, session_facts.STANDS) or seen
    if isinstance(seen, Stands) and not seen.settings:
        # Nobody knows what stands.
        seen = _newest(connection, session_id, session_facts.MEASURED, session_facts.RESTORED)
    if isinstance(seen, Measured):
        return {**seen.interval.config, **seen.running}
    return None if seen is None else dict(seen.settings)


def _newest(connection: Connection, session_id: str, *kinds: str) -> Any:
    """The newest fact of these kinds; None when there is none."""
    row = connection.execute(
        select(_FACTS)
        .where(SessionFactRow.session_id == session_id, SessionFactRow.kind.in_(kinds))
        .order_by(SessionFactRow.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else session_facts.fact(row)


def _event(connection: Connection, row: Row[Any]) -> None:
    body: Mapping[str, Any] = {
        "state": row.state,
        "reason": row.reason,
        "wanted": _SHOWN[Wanted(row.wanted)],
        "database": row.database_id,
        "database_name": row.database_name,
        "touched": row.touched,
        "intervals": row.intervals,
    }
    event_log.append(connection, row.id, "session", time.time(), body, row.project)

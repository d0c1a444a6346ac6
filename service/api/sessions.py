"""Tuning sessions: begin, look at, steer."""

from __future__ import annotations

from asyncio import to_thread
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Row

from service.api.dependencies import NO_NUL, CallerDep, Cursor, Limit, Services, ServicesDep, read
from service.api.submission import IdempotencyKey, request_key
from service.json_body import JsonRoute
from service.problems import answers
from service.store import databases, sessions
from service.store.errors import WrongField
from tunewright.access import ProjectName
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import IntervalView, NoticeView, SessionSummary, SessionView
from tunewright.views import Page
from workers.session_journal import Wanted

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=JsonRoute)


@router.post("", status_code=201, responses=answers(409, 413, 415, 507))
async def create_session(
    spec: SessionSpec, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> SessionView:
    """Begin to tune a database. What is asked for is checked against what the database says of itself, if it answers;
    a second session on the same server is refused."""
    row = await to_thread(_database, services, spec.database, caller.confined(spec.project))
    complete = spec.model_copy(update={"database": row.id, "project": row.project})
    key = request_key(caller, idempotency_key, "session", complete.model_dump(mode="json"))
    # Whatever the database says by now: a request that is repeated is answered as it was.
    if (repeated := await to_thread(sessions.repeated, services.repository.engine, key)) is not None:
        return repeated
    await services.databases.check(spec, row)
    session = await to_thread(sessions.create, services.repository.engine, complete, row.id, key)
    services.conductor.nudge()
    return session


@router.get("")
async def list_sessions(
    services: ServicesDep,
    caller: CallerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    database: Annotated[
        str | None, Query(max_length=200, pattern=NO_NUL, description="Id or name of a database")
    ] = None,
    state: SessionState | None = None,
    project: ProjectName | None = None,
) -> Page[SessionSummary]:
    """Sessions, newest first."""
    return await read(
        services,
        sessions.page,
        services.repository.engine,
        limit=limit,
        cursor=cursor,
        database=database,
        state=state,
        project=caller.confined(project),
    )


@router.get("/{session_id}", responses=answers(404))
async def get_session(session_id: str, services: ServicesDep) -> SessionView:
    """One session: where it stands, what it tunes, and what its database stood at before."""
    return await read(services, sessions.view, services.repository.engine, session_id)


@router.delete("/{session_id}", status_code=204, responses=answers(404, 409, 507))
def delete_session(session_id: str, services: ServicesDep) -> None:
    """Delete a session that is over, with its intervals and notices."""
    sessions.remove(services.repository.engine, session_id)


@router.post("/{session_id}:pause", status_code=202, responses=answers(404, 409, 507))
def pause_session(session_id: str, services: ServicesDep) -> SessionView:
    """Pause: the former settings are put back, and nothing is measured until the session is resumed."""
    return _steer(services, session_id, Wanted.PAUSE)


@router.post("/{session_id}:resume", status_code=202, responses=answers(404, 409, 507))
def resume_session(session_id: str, services: ServicesDep) -> SessionView:
    """Resume a paused session, with all that it knows."""
    return _steer(services, session_id, Wanted.RUN)


@router.post("/{session_id}:stop", status_code=202, responses=answers(404, 409, 507))
def stop_session(session_id: str, services: ServicesDep) -> SessionView:
    """Stop for good and put the former settings back; also those that a session with `keep` has left in place."""
    return _steer(services, session_id, Wanted.CANCEL)


@router.get("/{session_id}/intervals", responses=answers(404))
async def list_intervals(
    session_id: str, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[IntervalView]:
    """A session's intervals, newest first: what was suggested and why, what was set, and what came of it."""
    engine = services.repository.engine
    return await read(services, sessions.intervals, engine, session_id, limit=limit, cursor=cursor)


@router.get("/{session_id}/notices", responses=answers(404))
async def list_notices(
    session_id: str, services: ServicesDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[NoticeView]:
    """What people should know of a session, newest first: lost connections, changes by others, settings put back."""
    engine = services.repository.engine
    return await read(services, sessions.notices, engine, session_id, limit=limit, cursor=cursor)


def _database(services: Services, which: str, project: str | None) -> Row[Any]:
    """The database that a session names.

    Raises:
        WrongField: there is none, or several.
    """
    found = databases.named(services.repository.engine, which, project)
    if not found:
        raise WrongField(
            "database", f'database: "{which}" is the id or name of no attached database; attach it, or name another one'
        )
    if len(found) > 1:
        projects = ", ".join(sorted(row.project for row in found))
        raise WrongField(
            "database", f'database: "{which}" is a name in several projects ({projects}); give its id, or the project'
        )
    return found[0]


def _steer(services: Services, session_id: str, wanted: Wanted) -> SessionView:
    session = sessions.steer(services.repository.engine, session_id, wanted)
    services.conductor.nudge()
    return session

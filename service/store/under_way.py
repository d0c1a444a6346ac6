"""What is under way and what went wrong of late, for people who look at everything at once.

A few queries by index, however many studies there are; of long lists the newest are told, and how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, func, select

from service.store import sessions
from service.store.databases import OPEN_STATES
from service.store.repository import Repository
from service.store.rows import utc
from service.store.tables import SessionRow, SessionStatusRow, StatusRow, StudyRow, TrialRow
from tunewright.overview_views import Failure
from tunewright.session import SessionState
from tunewright.session_views import SessionSummary
from tunewright.study import StudyState, TrialState
from tunewright.views import StudySummary

LISTED = 20
LATELY_SECONDS = 7 * 86400.0
# A statement of any columns.
S = TypeVar("S", bound=Select[*tuple[Any, ...]])


def studies(repository: Repository, project: str | None, state: StudyState) -> list[StudySummary]:
    """Studies in a state, newest first."""
    return repository.studies(limit=LISTED, state=state, project=project).items


def tuning(repository: Repository, project: str | None) -> list[SessionSummary]:
    """Sessions that are not over, newest first."""
    found = _sessions(repository, project, OPEN_STATES)
    return sorted(found, key=lambda session: session.id, reverse=True)


def study_counts(connection: Connection, project: str | None) -> tuple[dict[StudyState, int], int]:
    """Number of studies in each state, and of trials that run."""
    running = func.sum(StatusRow.counts[TrialState.RUNNING.value].as_integer())
    query = select(StatusRow.state, func.count(), running).join(StudyRow, StudyRow.id == StatusRow.study_id)
    rows = connection.execute(_of_project(query, StudyRow, project).group_by(StatusRow.state)).all()
    trials = sum(count or 0 for state, _, count in rows if state == StudyState.RUNNING)
    return {StudyState(state): count for state, count, _ in rows}, trials


def session_counts(connection: Connection, project: str | None) -> dict[SessionState, int]:
    """Number of sessions in each state."""
    query = select(SessionStatusRow.state, func.count()).join(SessionRow, SessionRow.id == SessionStatusRow.session_id)
    rows = connection.execute(_of_project(query, SessionRow, project).group_by(SessionStatusRow.state))
    return {SessionState(state): count for state, count in rows}


def failures(repository: Repository, project: str | None, now: float) -> list[Failure]:
    """Studies that failed, trials that failed, and sessions that were ended by a fault, of late; newest first."""
    since = now - LATELY_SECONDS
    failed = {s.id: s for s in studies(repository, project, StudyState.FAILED) if _lately(s, since)}
    with repository.engine.connect() as connection:
        trials = {row.id: row for row in connection.execute(_failing(project, since))}
    found = [_study(study, trials.pop(study.id, None)) for study in failed.values()]
    found += [_trials(row) for row in trials.values()]
    ended = _sessions(repository, project, (SessionState.FAILED, SessionState.YIELDED))
    found += [_session(session) for session in ended if _lately(session, since)]
    return sorted(found, key=lambda failure: failure.at, reverse=True)[:LISTED]


def _failing(project: str | None, since: float) -> Select[Any]:
    """Studies of which trials have failed lately, each with the newest trial that did."""
    newest = (
        select(func.max(TrialRow.number))
        .where(TrialRow.study_id == StudyRow.id, TrialRow.state == TrialState.FAILED)
        .correlate(StudyRow)
        .scalar_subquery()
    )
    query = (
        select(StudyRow.id, StudyRow.name, StatusRow.counts, TrialRow.number, TrialRow.problem, TrialRow.ended_at)
        .join(StatusRow, StatusRow.study_id == StudyRow.id)
        .join(TrialRow, (TrialRow.study_id == StudyRow.id) & (TrialRow.number == newest))
        .where(StatusRow.ended_at.is_(None) | (StatusRow.ended_at >= since))
        .where(StatusRow.counts[TrialState.FAILED.value].as_integer() > 0, TrialRow.ended_at >= since)
        .order_by(TrialRow.ended_at.desc())
        .limit(LISTED)
    )
    return _of_project(query, StudyRow, project)


def _sessions(repository: Repository, project: str | None, states: Sequence[SessionState]) -> list[SessionSummary]:
    pages = (sessions.page(repository.engine, limit=LISTED, project=project, state=state) for state in states)
    return [session for page in pages for session in page.items]


def _lately(found: StudySummary | SessionSummary, since: float) -> bool:
    return found.ended_at is not None and found.ended_at.timestamp() >= since


def _study(study: StudySummary, row: Row[Any] | None) -> Failure:
    assert study.ended_at is not None
    return Failure(
        kind="study",
        id=study.id,
        name=study.name,
        at=study.ended_at,
        problem=study.reason or "",
        trial=None if row is None else f"{row.id}-{row.number}",
        failed=study.counts.get(TrialState.FAILED, 0),
        trials=study.trials,
    )


def _trials(row: Row[Any]) -> Failure:
    return Failure(
        kind="trials",
        id=row.id,
        name=row.name,
        at=utc(row.ended_at),
        problem=row.problem or "",
        trial=f"{row.id}-{row.number}",
        failed=row.counts[TrialState.FAILED],
        trials=sum(row.counts.values()),
    )


def _session(session: SessionSummary) -> Failure:
    assert session.ended_at is not None
    return Failure(
        kind="session", id=session.id, name=session.database_name, at=session.ended_at, problem=session.reason or ""
    )


def _of_project(query: S, table: Any, project: str | None) -> S:
    return query if project is None else query.where(table.project == project)

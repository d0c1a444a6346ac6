"""Everything at a glance, for metrics and diagnosis: a few cheap queries, however many studies and trials there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, case, func, select

from service.store.event_log import newest
from service.store.leases import Lease, lease, study_lease
from service.store.tables import EventRow, JobRow, ReportRow, SessionStatusRow, StatusRow, StudyRow, TrialRow
from tunewright.session import SessionState
from tunewright.study import Priority, StudyState, TrialState
from workers.journal import Wanted

# Studies that are told one by one; of the others only numbers.
LISTED = 50
# So much of a problem's text tells it apart from others.
PROBLEM_CHARACTERS = 300


@dataclass(frozen=True)
class RunningStudy:
    """A study that runs, in numbers."""

    id: str
    name: str
    progress: float
    counts: Mapping[str, int]
    cluster_seconds: float


@dataclass(frozen=True)
class Overview:
    """The store at one moment.

    Attributes:
        studies: number in each state; states without studies are left out.
        waiting: ids of studies that have no runner and should have one, as they are to start, at most `LISTED`.
        waiting_since: when something last happened to the first of them.
        waiting_studies: how many there are.
        running: studies that run, newest first, at most `LISTED`.
        running_jobs: trials that run, of all studies.
        conductor: the conductor's lease; None before there was a conductor.
        last_event, last_event_at: id and time of the newest event; 0 before the first.
        sessions: number of tuning sessions in each state; states without sessions are left out.
        touched_sessions: those that may have settings of theirs on a database.
    """

    studies: Mapping[StudyState, int]
    waiting: Sequence[str]
    waiting_since: float | None
    waiting_studies: int
    running: Sequence[RunningStudy]
    running_jobs: int
    conductor: Lease | None
    last_event: int
    last_event_at: float
    sessions: Mapping[SessionState, int] = field(default_factory=dict)
    touched_sessions: int = 0


@dataclass(frozen=True)
class RunningJob:
    """A job that has not ended.

    Attributes:
        attempts: 0 until a worker has begun it.
        heard_at: when its trial's newest report came, or else when its last attempt began.
    """

    trial: int
    attempts: int
    worker: str | None
    started_at: float
    heard_at: float


@dataclass(frozen=True)
class StudyFacts:
    """What the store knows of one study's work.

    Attributes:
        lease: of its runner; None before it had one.
        jobs: that have not ended, at most `LISTED`, oldest first.
        problems: why trials failed, and how many each; the commonest first, at most three.
    """

    lease: Lease | None
    jobs: Sequence[RunningJob]
    problems: Sequence[tuple[str, int]]


def read(engine: Engine) -> Overview:
    """The whole store at a glance."""
    with engine.connect() as connection:
        last_event, last_event_at = newest(connection)
        waiting = list(connection.execute(_WAITING.with_only_columns(StudyRow.id).limit(LISTED)).scalars())
        return Overview(
            studies=_counts(connection),
            waiting=waiting,
            waiting_since=_since(connection, waiting[0]) if waiting else None,
            waiting_studies=connection.execute(_WAITING.with_only_columns(func.count()).order_by(None)).scalar_one(),
            running=[_running(row) for row in connection.execute(_RUNNING.limit(LISTED))],
            running_jobs=connection.execute(_RUNNING_JOBS).scalar_one() or 0,
            conductor=lease(connection, "conductor"),
            last_event=last_event,
            last_event_at=last_event_at,
            sessions=_session_counts(connection),
            touched_sessions=connection.execute(_TOUCHED).scalar_one(),
        )


def of_study(engine: Engine, study_id: str) -> StudyFacts:
    """One study's work; empty for one that does not exist."""
    newest_report = (
        select(func.max(ReportRow.at))
        .where(ReportRow.study_id == JobRow.study_id, ReportRow.trial == JobRow.trial)
        .scalar_subquery()
    )
    # A running job's trial runs, and of those there are never many.
    jobs = (
        select(JobRow.trial, JobRow.attempts, JobRow.worker, JobRow.started_at, JobRow.attempt_at, newest_report)
        .join(TrialRow, (TrialRow.study_id == JobRow.study_id) & (TrialRow.number == JobRow.trial))
        .where(JobRow.study_id == study_id, TrialRow.state == TrialState.RUNNING, JobRow.end_seq.is_(None))
        .order_by(JobRow.number)
        .limit(LISTED)
    )
    problem = func.substr(func.coalesce(TrialRow.problem, ""), 1, PROBLEM_CHARACTERS)
    problems = (
        select(problem, func.count().label("trials"))
        .where(TrialRow.study_id == study_id, TrialRow.state == TrialState.FAILED)
        .group_by(problem)
        .order_by(func.count().desc(), problem)
        .limit(3)
    )
    with engine.connect() as connection:
        return StudyFacts(
            lease=lease(connection, study_lease(study_id)),
            jobs=[
                RunningJob(trial, attempts, worker, started, max(attempt, report or 0.0))
                for trial, attempts, worker, started, attempt, report in connection.execute(jobs)
            ],
            problems=[(text, count) for text, count in connection.execute(problems)],
        )


_OF_ITS_STUDY = StatusRow.study_id == StudyRow.id
# The conductor starts those of the highest priority first, and of these the oldest.
_FIRST = case({priority.value: -priority.weight for priority in Priority}, value=StudyRow.priority)
_WAITING = (
    select(StudyRow)
    .join(StatusRow, _OF_ITS_STUDY)
    .where(StatusRow.state.in_((StudyState.QUEUED, StudyState.PAUSED)), StudyRow.wanted == Wanted.RUN)
    .order_by(_FIRST, StudyRow.id)
)
_RUNNING = (
    select(StudyRow.id, StudyRow.name, StatusRow.progress, StatusRow.counts, StatusRow.cluster_seconds)
    .join(StatusRow, _OF_ITS_STUDY)
    .where(StatusRow.state == StudyState.RUNNING)
    .order_by(StudyRow.id.desc())
)
_RUNNING_JOBS = select(func.sum(StatusRow.counts[TrialState.RUNNING.value].as_integer())).where(
    StatusRow.state == StudyState.RUNNING
)
_TOUCHED = select(func.count()).select_from(SessionStatusRow).where(SessionStatusRow.touched.is_(True))


def _counts(connection: Connection) -> dict[StudyState, int]:
    records = connection.execute(select(StatusRow.state, func.count()).group_by(StatusRow.state))
    return {StudyState(state): count for state, count in records}


def _session_counts(connection: Connection) -> dict[SessionState, int]:
    records = connection.execute(select(SessionStatusRow.state, func.count()).group_by(SessionStatusRow.state))
    return {SessionState(state): count for state, count in records}


def _since(connection: Connection, study_id: str) -> float | None:
    return connection.execute(select(func.max(EventRow.at)).where(EventRow.study_id == study_id)).scalar_one()


def _running(row: Any) -> RunningStudy:
    return RunningStudy(row.id, row.name, row.progress, row.counts, row.cluster_seconds)

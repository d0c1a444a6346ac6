"""The runners' journal on SQL: every batch is one transaction that checks its epoch first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, and_, bindparam, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from optimizers.protocol import Job, JobEnd, Report
from service.store import event_log, facts, leases, progression, queue, sharing, trial_logs, warm_start
from service.store.engine import open_engine, writing
from service.store.tables import (
    EnqueuedRow,
    EventRow,
    ImprovementRow,
    JobRow,
    LeaseRow,
    ReportRow,
    StatusRow,
    StudyRow,
    TrialRow,
)
from tunewright.study import StudySpec, StudyState, TrialState
from workers.journal import (
    AttemptStarted,
    Batch,
    Enqueued,
    Fact,
    Fenced,
    JobEnded,
    JobStarted,
    JournalUnavailable,
    Reported,
    Status,
    StudyRecord,
    Wanted,
    best_json,
    facts_summary,
)

# The event feed keeps this many rows; who was away for longer reads the tables instead.
KEPT_EVENTS = 50_000
PRUNE_EVERY = 1_000
# What may be better at the next try. A violated constraint never is: it must end the study, not hang it.
# PostgreSQL's driver calls it an internal error that a server is only a standby until it has taken over.
_TRANSIENT = (OperationalError, InterfaceError, InternalError, PoolTimeout)


_STATUS = StatusRow.__table__
assert isinstance(_STATUS, Table)
# Both rows are held until the transaction ends: the lease against a take-over; the status because this very batch may
# be on its way already, in a transaction whose connection was lost.
_STANDING = (
    select(_STATUS.c.batch, _STATUS.c.seq, _STATUS.c.state, _STATUS.c.started_at, LeaseRow.epoch)
    .join(LeaseRow, LeaseRow.name == bindparam("lease"))
    .where(_STATUS.c.study_id == bindparam("study"))
    .with_for_update()
)
_MOVE_STATUS = facts.update_of(
    _STATUS,
    ("study_id",),
    [column.name for column in _STATUS.columns if column.name != "study_id"],
)


@dataclass(frozen=True)
class Standing:
    """Where a study stands, without its facts.

    Attributes:
        open_jobs: numbers of the jobs that have not ended, and of their trials, in the order in which they were given
            out.
    """

    state: StudyState
    batch: int
    active_seconds: float
    cluster_seconds: float
    open_jobs: Sequence[tuple[int, int]]


class SqlJournal:
    """`workers.journal.Journal` on a store; travels to a runner as its URL, study and epoch.

    Tracebacks and logs are kept for people and not loaded again; all else of a fact is loaded as it was committed.
    """

    def __init__(self, url: str, study_id: str, epoch: int) -> None:
        self.url = url
        self.study_id = study_id
        self.epoch = epoch
        self._opened: Engine | None = None
        self._claimed: tuple[float, int] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (SqlJournal, (self.url, self.study_id, self.epoch))

    @property
    def _engine(self) -> Engine:
        if self._opened is None:
            self._opened = open_engine(self.url)
        return self._opened

    def load(self) -> StudyRecord:
        with self._reaching("read the store"), self._engine.connect() as connection:
            study = connection.execute(select(StudyRow.__table__).where(StudyRow.id == self.study_id)).one()
            status = connection.execute(select(StatusRow.__table__).where(StatusRow.study_id == self.study_id)).one()
            jobs = connection.execute(
                select(JobRow.__table__, TrialRow.config)
                .join(TrialRow, and_(TrialRow.study_id == JobRow.study_id, TrialRow.number == JobRow.trial))
                .where(JobRow.study_id == self.study_id)
            ).all()
            reports = connection.execute(select(ReportRow.__table__).where(ReportRow.study_id == self.study_id)).all()
            enqueued = connection.execute(queue.entries(self.study_id).where(EnqueuedRow.seq.is_not(None))).all()
            earlier = warm_start.load(connection, self.study_id)
            improved_at = progression.improved_at(connection, self.study_id)
        begun = [job for job in jobs if job.attempts and (job.end_seq is None or job.ask_key is not None)]
        return StudyRecord(
            study=self.study_id,
            spec=StudySpec.model_validate(study.spec),
            state=StudyState(status.state),
            wanted=Wanted(study.wanted),
            active_seconds=status.active_seconds,
            batch=status.batch,
            facts=_ordered_facts(jobs, reports, enqueued),
            attempts={job.number: job.attempts for job in jobs if job.end_seq is None},
            begun=[_begun(job) for job in begun],
            begun_at={job.number: job.attempt_at for job in begun},
            earlier=earlier,
            cluster_seconds=status.cluster_seconds,
            improved_at=improved_at,
        )

    def standing(self) -> Standing:
        """Where the study stands; for whoever has no use for all that has happened, which may be millions of reports.

        Raises:
            JournalUnavailable: as `load`.
        """
        with self._reaching("read the store"), self._engine.connect() as connection:
            status = connection.execute(select(StatusRow.__table__).where(StatusRow.study_id == self.study_id)).one()
            jobs = connection.execute(
                select(JobRow.number, JobRow.trial)
                .where(JobRow.study_id == self.study_id, JobRow.end_seq.is_(None))
                .order_by(JobRow.seq)
            ).all()
        return Standing(
            StudyState(status.state),
            status.batch,
            status.active_seconds,
            status.cluster_seconds,
            [(job.number, job.trial) for job in jobs],
        )

    def commit(self, batch: Batch) -> None:
        with self._reaching("write to the store"), writing(self._engine) as connection:
            seq = self._advance(connection, batch)
            if seq is None:
                return
            facts.write(connection, self.study_id, batch, seq)
            if batch.improved:
                _write_improvement(connection, self.study_id, batch)
            trial_logs.append(connection, self.study_id, batch.printed)
            if batch.only_printed:
                return
            event_id = _write_events(connection, self.study_id, batch)
            if event_id % PRUNE_EVERY == 0:
                connection.execute(delete(EventRow).where(EventRow.id <= event_id - KEPT_EVENTS))

    def heartbeat(self) -> Wanted:
        with self._reaching("renew the lease"), writing(self._engine) as connection:
            if not leases.renew(connection, leases.study_lease(self.study_id), self.epoch):
                raise Fenced(f"study {self.study_id}: epoch {self.epoch} is over")
            wanted = connection.execute(select(StudyRow.wanted).where(StudyRow.id == self.study_id)).scalar_one()
            return Wanted(wanted)

    def enqueued(self) -> list[Enqueued]:
        with self._reaching("read the store"), self._engine.connect() as connection:
            waiting = connection.execute(queue.entries(self.study_id).where(EnqueuedRow.seq.is_(None))).all()
        return [Enqueued(row.number, row.config) for row in waiting]

    def share(self, running: float, wanted: int) -> int | None:
        claim = (round(running, 1), wanted)
        with self._reaching("read the store"), self._engine.connect() as connection:
            room = sharing.room(connection, self.study_id)
        if claim != self._claimed:
            with self._reaching("write to the store"), writing(self._engine) as connection:
                self._hold(connection)
                sharing.claim(connection, self.study_id, *claim)
            self._claimed = claim
        return room

    def release(self) -> None:
        try:
            with self._reaching("release the lease"):
                leases.release(self._engine, leases.study_lease(self.study_id), self.epoch)
        finally:
            self._engine.dispose()

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        """Turn what the driver raises while the store is away into what journals raise."""
        try:
            yield
        except _TRANSIENT as error:
            raise JournalUnavailable(f"study {self.study_id}: cannot {what}: {_cause(error)}") from error

    def _hold(self, connection: Connection) -> None:
        if not leases.held(connection, leases.study_lease(self.study_id), self.epoch):
            raise Fenced(f"study {self.study_id}: epoch {self.epoch} is over")

    def _advance(self, connection: Connection, batch: Batch) -> int | None:
        """Move the status to this batch; returns the next free sequence number, None when it stands there already."""
        lease = leases.study_lease(self.study_id)
        row = connection.execute(_STANDING, {"study": self.study_id, "lease": lease}).one_or_none()
        if row is None or row.epoch != self.epoch:
            raise Fenced(f"study {self.study_id}: epoch {self.epoch} is over")
        if row.batch == batch.number:
            return None
        if row.batch != batch.number - 1:
            raise Fenced(f"study {self.study_id}: batch {batch.number} does not follow {row.batch}")
        fields = _status_fields(batch, row.started_at)
        new = {**fields, "seq": row.seq + len(batch.facts), "batch": batch.number}
        connection.execute(
            _MOVE_STATUS, {"of_study_id": self.study_id, **{f"new_{name}": value for name, value in new.items()}}
        )
        if row.state != batch.status.state:
            _write_study_event(connection, self.study_id, batch.at, batch.status)
        return int(row.seq)


def _status_fields(batch: Batch, started_at: float | None) -> dict[str, Any]:
    status = batch.status
    if started_at is None and status.state is StudyState.RUNNING:
        started_at = batch.at
    return {
        "state": status.state,
        "reason": status.reason,
        "active_seconds": status.active_seconds,
        "cluster_seconds": status.cluster_seconds,
        "started_at": started_at,
        "ended_at": batch.at if status.state.final else None,
        "counts": dict(status.counts),
        "progress": status.progress,
        "seconds_left": status.seconds_left,
        "best": [best_json(incumbent) for incumbent in status.best],
    }


def _write_improvement(connection: Connection, study_id: str, batch: Batch) -> None:
    connection.execute(
        insert(ImprovementRow).values(
            study_id=study_id,
            batch=batch.number,
            at=batch.at,
            seconds=batch.status.active_seconds,
            trials=sum(batch.status.counts.values()),
            best=best_json(batch.status.best[0]),
        )
    )


def _write_events(connection: Connection, study_id: str, batch: Batch) -> int:
    body = facts_summary(batch)
    return event_log.append(connection, study_id, "progress", batch.at, body)


def _write_study_event(connection: Connection, study_id: str, at: float, status: Status) -> None:
    # Trials that wait for a promotion wait in vain once the study is over.
    if status.state.final:
        connection.execute(
            update(TrialRow)
            .where(TrialRow.study_id == study_id, TrialRow.state == TrialState.WAITING)
            .values(state=TrialState.STOPPED)
        )
    body = {"state": status.state, "reason": status.reason}
    event_log.append(connection, study_id, "study", at, body)


def _ordered_facts(jobs: Iterable[Row[Any]], reports: Iterable[Row[Any]], enqueued: Sequence[Row[Any]]) -> list[Fact]:
    numbered: list[tuple[int, Fact]] = [(row.seq, Enqueued(row.number, row.config)) for row in enqueued]
    taken_up = {row.trial: row.number for row in enqueued if row.trial is not None}
    for row in jobs:
        job = _job(row)
        numbered.append((row.seq, JobStarted(job, taken_up.get(job.trial) if job.begins_trial else None)))
        if row.end_seq is not None:
            state = TrialState(row.trial_state)
            ended = JobEnded(job.id, job.trial, JobEnd(row.state), state, row.problem, told=row.told)
            numbered.append((row.end_seq, ended))
    for row in reports:
        report = Report(row.job, row.trial, row.resource, row.metrics, row.seconds)
        numbered.append((row.seq, Reported(report, row.attempt, row.late)))
    numbered.sort(key=lambda pair: pair[0])
    return [fact for _, fact in numbered]


def _begun(row: Row[Any]) -> AttemptStarted:
    return AttemptStarted(row.number, row.attempts, row.worker, row.ask_key, row.ask_digest, row.losses, row.failures)


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.number,
        trial=row.trial,
        config=row.config,
        start=row.start,
        end=row.end,
        rung=row.rung,
        bracket=row.bracket,
        why=row.why,
        parent=row.parent,
    )


def _cause(error: SQLAlchemyError) -> BaseException:
    """The driver's own error: without the statement and its parameters, which are nobody else's business."""
    return (error.orig if isinstance(error, DBAPIError) else None) or error


def new_status(study_id: str) -> dict[str, Any]:
    """The status row of a study that was just submitted."""
    return {
        "study_id": study_id,
        "batch": 0,
        "seq": 0,
        "state": StudyState.QUEUED,
        "active_seconds": 0.0,
        "counts": {},
        "progress": 0.0,
        "best": [],
    }

"""The session runners' journal on SQL: every batch is one transaction that checks its epoch first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db_knobs.address import Password
from service.store import databases, event_log, leases, session_facts, storable
from service.store.engine import open_engine, writing
from service.store.journal import KEPT_EVENTS, PRUNE_EVERY
from service.store.tables import (
    DatabaseRow,
    EventRow,
    LeaseRow,
    SessionFactRow,
    SessionRow,
    SessionStatusRow,
)
from tunewright.session import SessionSpec, SessionState
from workers.session_journal import (
    Fenced,
    JournalUnavailable,
    Measured,
    Noticed,
    RestartTried,
    Restored,
    SessionBatch,
    SessionRecord,
    SessionStatus,
    Skipped,
    Stands,
    Wanted,
)

# See `service.store.journal`: what may be better at the next try.
_TRANSIENT = (OperationalError, InterfaceError, InternalError, PoolTimeout)
# They are many and long; who wants them asks for the interval.
_NOT_IN_EVENTS = {"metrics", "why", "seconds_of", "context"}
_STATUS = SessionStatusRow.__table__


@dataclass(frozen=True)
class Standing:
    """Where a session stands, without its facts."""

    batch: int
    status: SessionStatus


class SqlSessionJournal:
    """`workers.session_journal.SessionJournal` on a store; travels to a runner as what it is made of.

    Args:
        password: of the database; whoever starts a runner reads it, so that no key has to be where runners are.
    """

    def __init__(self, url: str, session_id: str, epoch: int, password: Password = Password("")) -> None:  # noqa: B008
        self.url = url
        self.session_id = session_id
        self.epoch = epoch
        self._password = password
        self._opened: Engine | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (SqlSessionJournal, (self.url, self.session_id, self.epoch, self._password))

    @property
    def _engine(self) -> Engine:
        if self._opened is None:
            self._opened = open_engine(self.url)
        return self._opened

    def load(self) -> SessionRecord:
        with self._reaching("read the store"), self._engine.connect() as connection:
            session = connection.execute(select(SessionRow.__table__).where(SessionRow.id == self.session_id)).one()
            status = connection.execute(select(_STATUS).where(_STATUS.c.session_id == self.session_id)).one()
            database = connection.execute(
                select(DatabaseRow.__table__).where(DatabaseRow.id == session.database_id)
            ).one()
            facts = connection.execute(
                select(SessionFactRow.__table__)
                .where(SessionFactRow.session_id == self.session_id)
                .order_by(SessionFactRow.number)
            ).all()
        return SessionRecord(
            session=self.session_id,
            spec=SessionSpec.model_validate(session.spec),
            address=databases.address_of(database, self._password),
            host=databases.host_of(database),
            wanted=Wanted(session.wanted),
            batch=status.batch,
            status=_status(status),
            facts=[session_facts.fact(row) for row in facts],
        )

    def status(self) -> Standing:
        """Where the session stands; quicker than `load`.

        Raises:
            JournalUnavailable: as `load`.
        """
        with self._reaching("read the store"), self._engine.connect() as connection:
            row = connection.execute(select(_STATUS).where(_STATUS.c.session_id == self.session_id)).one()
        return Standing(row.batch, _status(row))

    def commit(self, batch: SessionBatch) -> None:
        with self._reaching("write to the store"), writing(self._engine) as connection:
            before = self._advance(connection, batch)
            if before is None:
                return
            numbered = list(enumerate(batch.facts, start=before.seq))
            if numbered:
                rows = [{**session_facts.columns(fact, batch.at), "number": number} for number, fact in numbered]
                connection.execute(insert(SessionFactRow), [{"session_id": self.session_id, **row} for row in rows])
            self._tell(connection, batch, before)

    def heartbeat(self) -> Wanted:
        with self._reaching("renew the lease"), writing(self._engine) as connection:
            if not leases.renew(connection, leases.session_lease(self.session_id), self.epoch):
                raise self._fenced()
            return Wanted(
                connection.execute(select(SessionRow.wanted).where(SessionRow.id == self.session_id)).scalar_one()
            )

    def release(self) -> None:
        try:
            with self._reaching("release the lease"):
                leases.release(self._engine, leases.session_lease(self.session_id), self.epoch)
        finally:
            self._engine.dispose()

    def _fenced(self) -> Fenced:
        return Fenced(f"session {self.session_id}: epoch {self.epoch} is over")

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        """Turn what the driver raises while the store is away into what journals raise."""
        try:
            yield
        except _TRANSIENT as error:
            # The driver's own error, without the statement.
            cause = (error.orig if isinstance(error, DBAPIError) else None) or error
            raise JournalUnavailable(f"session {self.session_id}: cannot {what}: {cause}") from error

    def _advance(self, connection: Connection, batch: SessionBatch) -> Row[Any] | None:
        """Move the status to this batch; returns it as it was before, None when it stands there already."""
        # Both rows are held: the lease against a take-over; the status because this very batch may be on its way.
        row = connection.execute(
            select(_STATUS, LeaseRow.epoch.label("epoch"))
            .join(LeaseRow, LeaseRow.name == leases.session_lease(self.session_id))
            .where(_STATUS.c.session_id == self.session_id)
            .with_for_update()
        ).one_or_none()
        if row is None or row.epoch != self.epoch:
            raise self._fenced()
        if row.batch == batch.number:
            return None
        if row.batch != batch.number - 1:
            raise Fenced(f"session {self.session_id}: batch {batch.number} does not follow {row.batch}")
        connection.execute(
            update(SessionStatusRow)
            .where(SessionStatusRow.session_id == self.session_id)
            .values(batch=batch.number, seq=row.seq + len(batch.facts), **_status_columns(batch, row.started_at))
        )
        return row

    def _tell(self, connection: Connection, batch: SessionBatch, before: Row[Any]) -> None:
        """Add a batch's events."""
        status, told = batch.status, []
        for number, fact in enumerate(batch.facts, start=before.seq):
            if isinstance(fact, (Measured, Skipped)):
                shown = session_facts.interval(number, fact).model_dump(mode="json", exclude=_NOT_IN_EVENTS)
                told.append(("interval", {**shown, "session": _figures(status)}))
            elif isinstance(fact, (Noticed, Restored, RestartTried)):
                told.append(("notice", session_facts.notice(number, fact).model_dump(mode="json")))
            elif isinstance(fact, Stands) and fact.settings:
                told.append(("settings", {"settings": dict(fact.settings)}))
        if (before.state, before.reason, before.touched) != (status.state, status.reason, status.touched):
            told.append(("session", {"state": status.state, "reason": status.reason, **_figures(status)}))
        if not told:
            return
        project = connection.scalar(select(SessionRow.project).where(SessionRow.id == self.session_id))
        for kind, body in told:
            event_id = event_log.append(connection, self.session_id, kind, batch.at, body, project)
            if event_id % PRUNE_EVERY == 0:
                connection.execute(delete(EventRow).where(EventRow.id <= event_id - KEPT_EVENTS))


def _figures(status: SessionStatus) -> dict[str, Any]:
    """A session's totals, as its events tell them."""
    return {
        "touched": status.touched,
        "intervals": status.intervals,
        "unsafe": status.unsafe,
        "lost": status.lost,
        "gain": status.gain,
        "next_at": status.next_at,
    }


def _status(row: Row[Any]) -> SessionStatus:
    return SessionStatus(
        state=SessionState(row.state),
        active_seconds=row.active_seconds,
        reason=row.reason,
        touched=row.touched,
        intervals=row.intervals,
        unsafe=row.unsafe,
        lost=row.lost,
        gain=row.gain,
        best=row.best,
        tuner=row.tuner,
        next_at=row.next_at,
    )


def _status_columns(batch: SessionBatch, started_at: float | None) -> dict[str, Any]:
    status = batch.status
    if started_at is None and status.state is not SessionState.PENDING and not status.state.final:
        started_at = batch.at
    return {
        "state": status.state,
        "reason": status.reason,
        "active_seconds": status.active_seconds,
        "started_at": started_at,
        "ended_at": batch.at if status.state.final else None,
        "touched": status.touched,
        "intervals": status.intervals,
        "unsafe": status.unsafe,
        "lost": status.lost,
        "gain": status.gain,
        "best": None if status.best is None else storable.json(dict(status.best)),
        "tuner": storable.json(dict(status.tuner)),
        "next_at": status.next_at,
    }


def new_status(session_id: str) -> dict[str, Any]:
    """The status row of a session that was just asked for."""
    return {
        "session_id": session_id,
        "batch": 0,
        "seq": 0,
        "state": SessionState.PENDING,
        "active_seconds": 0.0,
        "touched": False,
        "intervals": 0,
        "unsafe": 0,
        "lost": 0.0,
        "best": None,
        "tuner": {},
    }

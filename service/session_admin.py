"""Putting a session's former settings back without the service: by whoever may open its store and reach the database.

For a service that is dead, or that cannot reach a database that we can. It takes the session's lease and the server's
lock like a runner, so that it never works against one that lives, and writes down what it did like one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Engine, select

from db_knobs.address import Password
from db_knobs.attach import open_database
from db_knobs.database import Database, FormerSetting
from db_knobs.errors import ConnectionLost
from service.passwords import Passwords
from service.settings import ServiceSettings
from service.store import audit, databases, leases
from service.store.audit import Act
from service.store.engine import open_engine, writing
from service.store.errors import Conflict, NotFound
from service.store.session_journal import SqlSessionJournal
from service.store.tables import SessionRow
from tunewright.session import SessionState
from workers.session_custody import Custody, Returned, changed_by
from workers.session_journal import Began, Restored, SessionBatch, SessionRecord
from workers.session_knobs import from_plain, moved_along, needs_restart
from workers.session_ledger import intended, left_at
from workers.session_pulse import Pulse

T = TypeVar("T")

HOLDER = "restore command"
RETRY_SECONDS = 0.5


def restore(settings: ServiceSettings, session_id: str, seconds: float) -> Restored:
    """Put back what a session's settings were, also those that it has left in place on purpose; the session ends.

    Args:
        session_id: whole, the beginning of one, or `last` for the newest.
        seconds: how long to wait for the lease of a runner that died, for the database, and for its lock.
    Returns:
        What the server says its settings are now.
    Raises:
        NotFound: there is no such session, or its database was detached.
        Conflict: a runner has the session, another session holds the server's lock, or nothing was ever changed.
        Fenced: a runner got the session while the store could not be reached; nothing was put back.
        DatabaseError: the database does not let us in, or does not take the settings.
    """
    deadline = time.monotonic() + seconds
    with _store(settings) as engine:
        found, password = _session(settings, engine, session_id)
        epoch = _until(deadline, lambda: leases.acquire(engine, leases.session_lease(found), HOLDER))
        if epoch is None:
            raise Conflict(f"session {found}: its runner is alive; stop it with: tunewright restore {found}")
        journal = SqlSessionJournal(settings.store_url, found, epoch, password)
        try:
            record = journal.load()
            # A database may take longer to let us in than a lease lasts.
            with Pulse(journal) as pulse:
                batch = _written(record, _put_back(record, pulse, deadline))
            journal.commit(batch)
        finally:
            journal.release()
        with writing(engine) as connection:
            act = Act(token=None, name="local", verb="session restore", resource=f"session/{found}", outcome="done")
            audit.add(connection, [(time.time(), act, 1)])
    return next(fact for fact in batch.facts if isinstance(fact, Restored))


@contextmanager
def _store(settings: ServiceSettings) -> Iterator[Engine]:
    if settings.database_url is None and not (settings.data_dir / "tunewright.db").exists():
        raise NotFound(f"there is no store in {settings.data_dir}; name the service's directory with --data-dir")
    engine = open_engine(settings.store_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _session(settings: ServiceSettings, engine: Engine, given: str) -> tuple[str, Password]:
    """The whole id of a session, and its database's password."""
    found = select(SessionRow.id, SessionRow.database_id)
    if given == "last":
        wanted = found.order_by(SessionRow.id.desc()).limit(1)
    else:
        wanted = found.where(SessionRow.id.startswith(given, autoescape=True)).limit(2)
    with engine.connect() as connection:
        fitting = connection.execute(wanted).all()
    if not fitting and given == "last":
        raise NotFound("there is no session yet")
    if len(fitting) != 1:
        some = "several sessions have ids" if fitting else "no session has an id"
        raise NotFound(f'{some} that begin{"" if fitting else "s"} with "{given[:50]}"')
    return fitting[0].id, Passwords(settings).open(databases.row(engine, fitting[0].database_id))


def _put_back(record: SessionRecord, pulse: Pulse, deadline: float) -> Returned:
    began = next((fact for fact in record.facts if isinstance(fact, Began)), None)
    if began is None:
        raise Conflict(f"session {record.session} has not begun; it has changed nothing")
    database = open_database(record.address, record.host)
    try:
        _hold(database, record, deadline)
        # Whoever had the session meanwhile may have changed more than the record says.
        pulse.wanted()
        return _returned(database, record, began)
    finally:
        database.close()


def _hold(database: Database, record: SessionRecord, deadline: float) -> None:
    """Connect, and take the server's lock."""

    def held() -> bool | None:
        try:
            database.connect()
            return database.lock(f"{HOLDER}, session {record.session}") or None
        except ConnectionLost:
            if time.monotonic() >= deadline:
                raise
            return None

    if not _until(deadline, held):
        raise Conflict(f"{record.address}: another tuning session, or a watchdog, holds the server's lock; try again")


def _returned(database: Database, record: SessionRecord, began: Began) -> Returned:
    former = {name: FormerSetting(value=each["value"], text=each["text"]) for name, each in began.former.items()}
    knobs = [from_plain(fields) for fields in began.knobs.values()]
    moves = moved_along(knobs)
    custody = Custody(database, former, needs_restart(knobs))
    for config in intended(record.facts):
        custody.ours |= changed_by(config, former, moves)
    custody.remember(left_at(record.facts))
    return custody.undo()


def _written(record: SessionRecord, returned: Returned) -> SessionBatch:
    """What the journal hears of it; a session of which something could not be put back is not over."""
    before, stuck = record.status, bool(returned.stuck)
    left = {**returned.left, **returned.pending}
    left |= {name: f"it could not be put back: {why}" for name, why in returned.stuck.items()}
    restored = Restored(time.time(), dict(returned.settings), left, "command")
    state = SessionState.RESTORING if stuck else before.state if before.state.final else SessionState.STOPPED
    reason = f"could not be put back by command: {', '.join(returned.stuck)}" if stuck else "put back by command"
    status = replace(before, state=state, reason=reason, touched=stuck, next_at=None)
    return SessionBatch(record.batch + 1, restored.at, (restored,), status)


def _until(deadline: float, attempt: Callable[[], T | None]) -> T | None:
    """What an attempt gives, tried until the deadline; once in any case."""
    while (found := attempt()) is None and time.monotonic() < deadline:
        time.sleep(RETRY_SECONDS)
    return found

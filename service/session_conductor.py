"""Sees that every tuning session that should run has a runner, and that nothing of ours stays on a database.

It is asked by the conductor, in its thread and under its lease. A session that has touched its database gets a runner
again and again, however often its runners die: somebody must put the settings back. One that has not is settled here
where it needs no runner, and fails when its runners die again and again without getting anywhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy import Engine

from db_knobs.address import Password
from service.passwords import Passwords
from service.secrets import SecretError
from service.store import databases, leases, sessions
from service.store.engine import writing
from service.store.errors import DatabaseUnusable, NotFound
from service.store.leases import Hold, session_lease
from service.store.session_journal import SqlSessionJournal
from service.store.sessions import OpenSession
from tunewright.session import SessionState
from workers.session_journal import SessionBatch, SessionJournal, Wanted
from workers.session_settings import SessionSettings

log = logging.getLogger(__name__)

MAX_CRASHES = 5
# A database that is away for hours must not be asked every second.
LONGEST_PAUSE = 60.0
SWEEP_SECONDS = 10.0


class SessionCluster(Protocol):
    """What of `workers.cluster.Cluster` starts and ends runners of sessions."""

    def start_session(self, session: str, journal: SessionJournal, settings: SessionSettings) -> Any:
        """Start a session's runner; one that is left over under its name is ended first."""

    def sessions(self) -> list[str]:
        """Sessions that have a runner on the cluster, whoever started it."""

    def kill_session(self, session: str) -> None:
        """End a session's runner at once, if there is one."""

    def starting(self, run: Any) -> bool:
        """Whether a runner's process is not there yet, so that it cannot renew its lease itself."""

    def ended(self, run: Any) -> tuple[bool, str | None]:
        """Whether a runner has ended, and the problem when it ended by dying."""

    def end_runner(self, run: Any) -> None:
        """End a runner that this process started."""


@dataclass
class _Running:
    """A runner that this conductor started."""

    run: Any
    epoch: int


@dataclass
class _Failures:
    """Runners of a session that came to nothing since it last got anywhere."""

    count: int
    batch: int
    not_before: float
    problem: str


class SessionConductor:
    """Conducts the sessions of one service; used by the conductor's thread alone.

    Args:
        most: sessions that run at once; one that has touched its database is never kept waiting.
        holder: name under which leases are taken.
    """

    def __init__(
        self,
        engine: Engine,
        store_url: str,
        cluster: SessionCluster,
        passwords: Passwords,
        settings: SessionSettings,
        most: int,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._store_url = store_url
        self._cluster = cluster
        self._passwords = passwords
        self._settings = settings
        self._most = most
        self._holder = holder
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._failures: dict[str, _Failures] = {}
        self._swept_at = clock()

    def collect(self) -> None:
        """Take note of runners of ours that have ended."""
        for session_id, running in list(self._running.items()):
            ended, problem = self._cluster.ended(running.run)
            if not ended:
                if self._cluster.starting(running.run):
                    # A process may take longer to start than a lease lasts; once it is there it renews its own.
                    with writing(self._engine) as connection:
                        leases.renew(connection, session_lease(session_id), running.epoch)
                continue
            ours = leases.revoke(self._engine, session_lease(session_id), running.epoch)
            del self._running[session_id]
            self._cluster.end_runner(running.run)
            if not ours:
                continue
            if problem is not None:
                log.warning("runner of session %s died: %s", session_id, problem)
            self._note_end(session_id, problem)

    def forget_runners(self) -> None:
        """The cluster is lost, with all that ran on it."""
        self._running.clear()

    def tick(self, live: set[str], under: Hold) -> None:
        """Compare what is wanted with what is, once.

        Args:
            live: names of the leases that somebody holds.
            under: the conductor's lease, in whose name this is done.
        """
        self._sweep(live)
        unfinished = sessions.unfinished(self._engine)
        running = sum(session_lease(session.id) in live for session in unfinished)
        # What stands on a database comes first.
        for session in sorted(unfinished, key=lambda session: not session.touched):
            if session_lease(session.id) in live or not self._needs_runner(session, under):
                continue
            if (session.touched or running < self._most) and self._may_start(session.id):
                self._start(session, under)
                running += 1

    def _needs_runner(self, session: OpenSession, under: Hold) -> bool:
        """Whether a session needs a runner; otherwise it is settled here."""
        if session.touched:
            return True
        if session.wanted is Wanted.CANCEL:
            self._settle(session, SessionState.STOPPED, None, under)
            return False
        if session.wanted is Wanted.PAUSE:
            if session.state is not SessionState.PAUSED:
                self._settle(session, SessionState.PAUSED, None, under)
            return False
        failures = self._failures.get(session.id)
        if failures is not None and failures.count >= MAX_CRASHES:
            reason = f"its runner came to nothing {failures.count} times in a row, the last time: {failures.problem}"
            self._settle(session, SessionState.FAILED, reason, under)
            return False
        return True

    def _start(self, session: OpenSession, under: Hold) -> None:
        try:
            password = self._password(session)
        except (SecretError, DatabaseUnusable, NotFound) as error:
            log.error("session %s: %s", session.id, error)
            self._fail(session, str(error))
            return
        epoch = self._acquire(session.id, under)
        if epoch is None:
            return
        journal = SqlSessionJournal(self._store_url, session.id, epoch, password)
        self._running[session.id] = _Running(self._cluster.start_session(session.id, journal, self._settings), epoch)

    def _password(self, session: OpenSession) -> Password:
        return self._passwords.open(databases.row(self._engine, session.database))

    def _note_end(self, session_id: str, problem: str | None) -> None:
        """A runner of ours has ended; count it where its session was left in need of another one."""
        session = next((each for each in sessions.unfinished(self._engine) if each.id == session_id), None)
        if session is None or (session.state is SessionState.PAUSED and not session.touched):
            self._failures.pop(session_id, None)
        else:
            self._fail(session, problem or f"it ended and left the session {session.state}")

    def _fail(self, session: OpenSession, problem: str) -> None:
        before = self._failures.get(session.id)
        # A new runner notes that it has taken over, which is not getting anywhere yet.
        stuck = before is not None and session.batch <= before.batch + 1
        count = before.count + 1 if before is not None and stuck else 1
        pause = min(0.2 * 2.0 ** min(count, 10), LONGEST_PAUSE)
        self._failures[session.id] = _Failures(count, session.batch, self._clock() + pause, problem)

    def _may_start(self, session_id: str) -> bool:
        failures = self._failures.get(session_id)
        return failures is None or self._clock() >= failures.not_before

    def _settle(self, session: OpenSession, state: SessionState, reason: str | None, under: Hold) -> None:
        """Write a session's state in its runner's place; nothing of ours stands on its database."""
        epoch = self._acquire(session.id, under)
        if epoch is None:
            return
        journal = SqlSessionJournal(self._store_url, session.id, epoch)
        standing = journal.status()
        # A runner may have begun, and ended, since we looked.
        if not standing.status.state.final and not standing.status.touched:
            after = replace(standing.status, state=state, reason=reason, next_at=None)
            journal.commit(SessionBatch(standing.batch + 1, time.time(), (), after))
        journal.release()
        self._failures.pop(session.id, None)

    def _sweep(self, live: set[str]) -> None:
        """End runners that are done and that nobody ends, because the conductor that started them is gone."""
        now = self._clock()
        if now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        for session_id in self._cluster.sessions():
            if session_id not in self._running and session_lease(session_id) not in live:
                self._cluster.kill_session(session_id)

    def _acquire(self, session_id: str, under: Hold) -> int | None:
        return leases.acquire(self._engine, session_lease(session_id), self._holder, under=under)

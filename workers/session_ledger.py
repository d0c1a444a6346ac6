"""A session's books: facts of the next batch, the sums of all before it, and the writing of both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tunewright.session import SessionState
from workers.session_journal import (
    RECOVERING,
    RESTART_FAILED,
    Began,
    Intended,
    JournalUnavailable,
    Measured,
    Noticed,
    RestartIntended,
    RestartTried,
    Restored,
    SessionBatch,
    SessionFact,
    SessionJournal,
    SessionStatus,
    Skipped,
    Stands,
    Wanted,
)
from workers.session_watch import Clock

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_SECONDS = 0.5
# Without a store for so long, nobody could hear of what this session does.
STORE_SECONDS = 10.0


class Ledger:
    """One session's books, carried on from its journal.

    Args:
        heartbeat: renews the lease, and says what people want.

    Attributes:
        state, reason, touched, next_at, best, tuner: as in `SessionStatus`; what the next batch says.
        broken: a restart failed, of this runner's or of an earlier one's; nothing is restarted any more.
        away: called when the store has been away for `STORE_SECONDS`.
    """

    def __init__(self, journal: SessionJournal, heartbeat: Callable[[], Wanted], clock: Clock) -> None:
        self._journal, self._heartbeat, self._clock = journal, heartbeat, clock
        self.away: Callable[[], None] = lambda: None
        self.record = record = self._unless_unavailable(journal.load)
        before = record.status
        self.state, self.reason = before.state, before.reason
        self.touched, self.best, self.tuner = before.touched, before.best, before.tuner
        self.next_at: float | None = None
        self.intervals = before.intervals
        self._unsafe, self._lost, self._gain = before.unsafe, before.lost, before.gain
        self.broken = any(_broke(fact) for fact in record.facts)
        # Seconds that the mean gain is of: intervals have many lengths.
        self._compared = sum(_compared(fact) for fact in record.facts)
        self._number = record.batch
        self._began_at = clock.monotonic()
        self._facts: list[SessionFact] = []
        self._told: set[tuple[str, str]] = set()

    @property
    def began(self) -> Began | None:
        """What the first runner saw; None while nothing was written."""
        return next((fact for fact in self.record.facts if isinstance(fact, Began)), None)

    @property
    def intended(self) -> list[Mapping[str, Any]]:
        """Settings that earlier runners were about to apply."""
        return intended(self.record.facts)

    @property
    def left(self) -> Mapping[str, Any]:
        """What earlier runners had left everything at; empty where nobody knows."""
        return left_at(self.record.facts)

    @property
    def restarts(self) -> list[RestartTried]:
        """What earlier runners tried with a restart; one who died over it was not to keep it."""
        found: list[RestartTried] = []
        under_way: RestartIntended | None = None
        for fact in [*self.record.facts, None]:
            if isinstance(fact, RestartTried):
                found.append(fact)
                under_way = None
            elif under_way is not None and (fact is None or isinstance(fact, RestartIntended)):
                found.append(RestartTried(under_way.at, under_way.config, None, kept=False, reason="broken off"))
            if isinstance(fact, RestartIntended):
                under_way = fact
        return found

    @property
    def unrecovered(self) -> bool:
        """Whether an earlier runner's restart may have left the server down, and nothing was done about it yet.

        It may from its intention on, and once it has failed; until its verdict, the recover command, or the return of
        the former settings. None follows one that failed: an interval that was measured since tells that the server is
        up.
        """
        measured = False
        for fact in reversed(self.record.facts):
            if isinstance(fact, (RestartTried, Restored)) or _noticed(fact, RECOVERING):
                return False
            if isinstance(fact, RestartIntended):
                return True
            if _noticed(fact, RESTART_FAILED):
                return not measured
            measured = measured or isinstance(fact, Measured)
        return False

    @property
    def last_seen(self) -> Mapping[str, Any]:
        """What stood when settings were last put back; empty where they never were."""
        return next((fact.settings for fact in reversed(self.record.facts) if isinstance(fact, Restored)), {})

    @property
    def foreign(self) -> dict[str, str]:
        """Knobs that earlier runners left to somebody else, and why."""
        notices = [fact for fact in self.record.facts if isinstance(fact, Noticed) and fact.kind == "foreign_change"]
        return {fact.knob: fact.text for fact in notices if fact.knob is not None}

    @property
    def measured(self) -> list[Measured]:
        """Intervals of earlier runners."""
        return [fact for fact in self.record.facts if isinstance(fact, Measured)]

    @property
    def active_seconds(self) -> float:
        return self.record.status.active_seconds + self._clock.monotonic() - self._began_at

    @property
    def written(self) -> bool:
        """Whether this runner has written anything."""
        return self._number > self.record.batch

    def wanted(self) -> Wanted:
        """What people want, as far as it can be heard.

        Raises:
            Fenced: another runner has the session.
        """
        try:
            return self._heartbeat()
        except JournalUnavailable:
            # To write will wait for the store.
            return Wanted.RUN

    def add(self, fact: SessionFact) -> None:
        """A fact of the next batch."""
        self._facts.append(fact)

    def notice(self, kind: str, text: str, knob: str | None = None) -> None:
        """Something that people should know, in the next batch."""
        log.info("%s: %s", kind, text)
        self.add(Noticed(self._clock.wall(), kind, text, knob))

    def notice_once(self, kind: str, subject: str, text: str, knob: str | None = None) -> None:
        """A notice that may be true again and again: told once of each subject by each runner."""
        if (kind, subject) not in self._told:
            self._told.add((kind, subject))
            self.notice(kind, text, knob)

    def restart_failed(self, problem: str) -> None:
        """Restart nothing any more; written at once, because it holds for whoever follows a runner that dies now."""
        self.broken = True
        self.notice(RESTART_FAILED, f"the restart failed: {problem}")
        self.commit()

    def recovering(self) -> None:
        """The recover command is about to be run; written at once."""
        self.notice(RECOVERING, "the server is being brought up by the recover command")
        self.commit()

    def skip(self, reason: str) -> None:
        """An interval that was not judged."""
        self.add(Skipped(self._clock.wall(), reason))

    def measure(self, fact: Measured, ratio: float | None) -> None:
        """An interval, and its performance against the reference where that is known."""
        self.add(fact)
        self.intervals += 1
        self._unsafe += fact.unsafe
        self._lost += fact.lost
        if ratio is not None:
            seconds, gain = fact.interval.seconds, self._gain or 0.0
            self._compared += seconds
            self._gain = gain + (ratio - 1.0 - gain) * seconds / self._compared

    def commit(self, state: SessionState | None = None) -> None:
        """Write the next batch, however long it takes.

        Raises:
            Fenced: another runner has the session.
        """
        self.state = state or self.state
        facts, self._facts = tuple(self._facts), []
        self._number += 1
        batch = SessionBatch(self._number, self._clock.wall(), facts, self._status())
        self._unless_unavailable(lambda: self._journal.commit(batch))

    def _status(self) -> SessionStatus:
        return SessionStatus(
            state=self.state,
            active_seconds=self.active_seconds,
            reason=self.reason,
            touched=self.touched,
            intervals=self.intervals,
            unsafe=self._unsafe,
            lost=self._lost,
            gain=self._gain,
            best=self.best,
            tuner=self.tuner,
            next_at=self.next_at,
        )

    def _unless_unavailable(self, write: Callable[[], T]) -> T:
        """Do it again until the store is back."""
        began, told = self._clock.monotonic(), False
        while True:
            try:
                return write()
            except JournalUnavailable as error:
                log.warning("%s; trying again", error)
                if not told and self._clock.monotonic() - began >= STORE_SECONDS:
                    told = True
                    self.away()
                self._clock.sleep(RETRY_SECONDS)


def intended(facts: Iterable[SessionFact]) -> list[Mapping[str, Any]]:
    """All settings that a session was ever about to apply, by its facts."""
    found: list[Mapping[str, Any]] = []
    for fact in facts:
        if isinstance(fact, Intended):
            found.append(fact.suggestion.config)
        elif isinstance(fact, RestartIntended):
            found.append(fact.config)
    return found


def left_at(facts: Iterable[SessionFact]) -> Mapping[str, Any]:
    """What a session has left everything at, by its facts; empty where nobody knows."""
    found: Mapping[str, Any] = {}
    for fact in facts:
        if isinstance(fact, (Intended, RestartIntended)):
            found = {}
        elif isinstance(fact, (Stands, Restored)):
            found = fact.settings
    return found


def _noticed(fact: SessionFact, kind: str) -> bool:
    return isinstance(fact, Noticed) and fact.kind == kind


def _broke(fact: SessionFact) -> bool:
    """Whether a fact tells of a restart that failed; journals of old do only with a trial's verdict."""
    return _noticed(fact, RESTART_FAILED) or (isinstance(fact, RestartTried) and fact.broke)


def _compared(fact: SessionFact) -> float:
    """Seconds by which a fact counted in the mean gain: those of an interval whose reference was known."""
    if not isinstance(fact, Measured) or fact.interval.suggestion is None:
        return 0.0
    known = fact.interval.suggestion.reference_performance is not None and fact.interval.performance is not None
    return fact.interval.seconds if known else 0.0

"""The journal of a tuning session in memory, for tests of what writes to one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from db_knobs.address import Address, Password
from db_knobs.catalog import Host
from optimizers.onlinetune import Interval, Suggestion
from tunewright.session import SessionSpec, SessionState
from workers.session_journal import (
    Began,
    Fenced,
    Intended,
    JournalUnavailable,
    Measured,
    SessionBatch,
    SessionFact,
    SessionRecord,
    SessionStatus,
    Wanted,
)

ADDRESS = Address("postgresql", "127.0.0.1", 5432, "tuner", Password("canary"), "app")


class MemorySessionJournal:
    """`workers.session_journal.SessionJournal` of one session; whatever is written stays to look at.

    Attributes:
        batches: everything committed.
        wanted: what people want of the session.
        fenced: another runner has it.
        outages: calls that will fail before the store is back.
        crossing: called before and after each commit takes effect; a test dies in it.
        heard: called at each heartbeat.
    """

    def __init__(self, spec: SessionSpec, address: Address = ADDRESS, host: Host | None = None) -> None:
        self.spec, self.address, self.host = spec, address, host or Host()
        self.batches: list[SessionBatch] = []
        self.wanted = Wanted.RUN
        self.fenced = False
        self.released = False
        self.outages = 0
        self.crossing: Callable[[str], None] = lambda _: None
        self.heard: Callable[[], None] = lambda: None

    @property
    def facts(self) -> list[SessionFact]:
        return [fact for batch in self.batches for fact in batch.facts]

    def of(self, kind: type[Any]) -> list[Any]:
        """Facts of one type."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    @property
    def notices(self) -> list[str]:
        """Kinds of all notices."""
        return [fact.kind for fact in self.facts if hasattr(fact, "kind")]

    @property
    def status(self) -> SessionStatus:
        return self.batches[-1].status if self.batches else SessionStatus(SessionState.PENDING, 0.0)

    def taken_over(self) -> MemorySessionJournal:
        """The same session's journal in the hands of its next runner."""
        self.fenced = True
        following = MemorySessionJournal(self.spec, self.address, self.host)
        following.batches, following.wanted = self.batches, self.wanted
        return following

    def load(self) -> SessionRecord:
        self._write()
        status = replace(self.status, tuner=_through_json(self.status.tuner), best=_through_json(self.status.best))
        facts = [_stored(fact) for fact in self.facts]
        return SessionRecord("s1", self.spec, self.address, self.host, self.wanted, len(self.batches), status, facts)

    def commit(self, batch: SessionBatch) -> None:
        self._write()
        self.crossing("before commit")
        if batch.number == len(self.batches):
            return
        if batch.number != len(self.batches) + 1:
            raise Fenced(f"batch {batch.number} does not follow {len(self.batches)}")
        self.batches.append(batch)
        self.crossing("after commit")

    def heartbeat(self) -> Wanted:
        self._write()
        self.heard()
        return self.wanted

    def release(self) -> None:
        self.released = True

    def _write(self) -> None:
        if self.fenced:
            raise Fenced("this epoch is over")
        if self.outages > 0:
            self.outages -= 1
            raise JournalUnavailable("the store is down")


def _stored(fact: SessionFact) -> SessionFact:
    """A fact as a store gives it back: what is plain data went through JSON."""
    if isinstance(fact, Began):
        return Began(**_through_json(vars(fact)))
    if isinstance(fact, Intended):
        return Intended(Suggestion.model_validate_json(fact.suggestion.model_dump_json()))
    if isinstance(fact, Measured):
        return replace(fact, interval=Interval.model_validate_json(fact.interval.model_dump_json()))
    return fact


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))

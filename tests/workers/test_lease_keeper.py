"""A lease is renewed while a runner reads its history."""

from __future__ import annotations

import threading
import time

import pytest

from tests.workers.memory_journal import MemoryJournal
from workers import lease_keeper
from workers.journal import Fenced, JournalUnavailable, Wanted
from workers.lease_keeper import kept


class CountingJournal(MemoryJournal):
    """Counts heartbeats; the first does not reach the store, and from the `end`-th on another holds the lease."""

    def __init__(self, end: int = 1_000) -> None:
        self.beats, self.end = 0, end

    def heartbeat(self) -> Wanted:
        self.beats += 1
        if self.beats == 1:
            raise JournalUnavailable("the store is away")
        if self.beats >= self.end:
            raise Fenced("another runner has it")
        return Wanted.RUN


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.01)


def test_the_lease_is_renewed_until_the_reader_takes_over() -> None:
    journal, begun = CountingJournal(), threading.Event()
    with kept(journal, until=begun):
        _wait_for(journal, 3)
        begun.set()
        time.sleep(0.05)
        beats = journal.beats
        time.sleep(0.1)
        assert journal.beats == beats


def test_a_lease_that_is_lost_is_left_alone() -> None:
    journal = CountingJournal(end=3)
    with kept(journal, until=threading.Event()):
        _wait_for(journal, 3)
        time.sleep(0.1)
        assert journal.beats == 3


def test_the_thread_ends_with_the_block() -> None:
    with pytest.raises(ValueError, match="broken"), kept(CountingJournal(), until=threading.Event()):
        raise ValueError("broken")
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def _wait_for(journal: CountingJournal, beats: int) -> None:
    deadline = time.monotonic() + 10
    while journal.beats < beats and time.monotonic() < deadline:
        time.sleep(0.01)
    assert journal.beats >= beats

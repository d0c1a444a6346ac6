"""Stands for a session's runner: writes into its journal what that would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from db_knobs.database import FormerSetting
from optimizers.onlinetune.intervals import Interval, Suggestion
from service.store import leases
from service.store.session_journal import SqlSessionJournal
from tunewright.session import SessionState
from tunewright.session_views import ProbeView
from workers.session_journal import (
    Began,
    Intended,
    Measured,
    SessionBatch,
    SessionFact,
    SessionStatus,
)

PROBE = ProbeView(
    at=datetime(2026, 1, 1, tzinfo=UTC),
    kind="postgresql",
    version="15.6",
    role="tuner",
    read_only=False,
    replica=False,
    max_connections=100,
    connections=1,
)
FORMER = {"work_mem": FormerSetting(value=4096, text=None), "jit": FormerSetting(value=True, text="on")}


@dataclass
class Writer:
    """One runner's hand in a journal; every batch is one second after the one before."""

    journal: SqlSessionJournal
    batch: int = 0
    at: float = 1_000.0

    @classmethod
    def of(cls, engine: Engine, url: str, session_id: str) -> Writer:
        epoch = leases.acquire(engine, leases.session_lease(session_id), "test", seize=True)
        assert epoch is not None
        journal = SqlSessionJournal(url, session_id, epoch)
        return cls(journal, journal.status().batch)

    def commit(self, *facts: SessionFact, state: SessionState = SessionState.RUNNING, **fields: Any) -> SessionBatch:
        self.batch += 1
        self.at += 1.0
        batch = SessionBatch(self.batch, self.at, facts, SessionStatus(state, self.at - 1_000.0, **fields))
        self.journal.commit(batch)
        return batch

    def finish(self, state: SessionState = SessionState.STOPPED) -> None:
        self.commit(state=state)
        self.journal.release()


def began(**fields: Any) -> Began:
    given: dict[str, Any] = {
        "former": FORMER,
        "reference": {"work_mem": 4096, "jit": True},
        "knobs": {"work_mem": {"type": "integer", "unit": "kB", "low": 64, "high": 65536}, "jit": {"type": "bool"}},
        "features": ("rate", "reads"),
        "capabilities": {"percentiles": True},
    }
    return Began(**{**given, **fields})


def suggestion(number: int = 0, **fields: Any) -> Suggestion:
    given: dict[str, Any] = {
        "number": number,
        "kind": "safe",
        "config": {"work_mem": 8192, "jit": False},
        "point": (0.25, 0.0),
        "centre": (0.1, 1.0),
        "reference_performance": 100.0,
        "abort_below": 95.0,
        "gain": 0.12,
        "lower": -0.01,
        "why": {"said": "wider", "width": 0.3},
    }
    return Suggestion(**{**given, **fields})


def intended(number: int = 0, **fields: Any) -> Intended:
    return Intended(suggestion(number, **fields))


def measured(number: int = 0, *, at: float = 1_010.0, performance: float | None = 110.0, **fields: Any) -> Measured:
    interval = Interval(
        suggestion=suggestion(number),
        config={"work_mem": 8192, "jit": False},
        context=(0.5, 0.25),
        performance=performance,
        seconds=9.75,
    )
    given: dict[str, Any] = {"metrics": {"throughput": 110.0, "deadlocks": None}, "seconds_of": {"suggest": 0.01}}
    return Measured(at, interval, unsafe=performance is None, **{**given, **fields})

"""Writes a tuning session's journal as its runner would, on a database that nobody has to run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from db_knobs.address import Address
from db_knobs.catalog import Host
from db_knobs.database import FormerSetting
from optimizers.onlinetune import Interval, Suggestion
from service.store import databases, leases, sessions
from service.store.databases import NewDatabase
from service.store.repository import new_id
from service.store.session_journal import SqlSessionJournal
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import CapabilityView, ProbeView, SessionView
from workers.session_journal import Began, Intended, Measured, SessionBatch, SessionFact, SessionStatus, Stands

FORMER = {"work_mem": 4096, "random_page_cost": 4.0, "jit": True, "max_wal_size": 1024}
BETTER = {"work_mem": 16384, "random_page_cost": 1.1, "jit": False}
KNOBS: dict[str, dict[str, Any]] = {
    "work_mem": {
        "type": "integer",
        "unit": "kB",
        "low": 1024,
        "high": 1048576,
        "applies": "new connections only",
        "doc": "Memory of one sort or hash.",
    },
    "random_page_cost": {"type": "real", "unit": "", "low": 1.0, "high": 10.0, "doc": "Cost of a page read at random."},
    "jit": {"type": "bool", "unit": "", "low": None, "high": None, "doc": "Compile queries."},
    "max_wal_size": {"type": "integer", "unit": "MB", "low": 512, "high": 65536, "doc": "Log between checkpoints."},
}
FEATURES = ("demand", "writes")
_PLAIN: dict[str, Any] = {
    "current": 1,
    "factor": None,
    "scale": "linear",
    "special": None,
    "choices": [],
    "default": None,
    "source": "",
    "applies": "online",
    "danger": "none",
    "rules": [],
    "loses": "",
    "moves": [],
}


def attach(engine: Engine, name: str = "prod", address: Address | None = None, missing: Sequence[str] = ()) -> str:
    """Keep a database; returns its id."""
    where = address or Address("postgresql", f"{name}.example".replace(" ", "-")[:200], 5432, "tuner", database="shop")
    probe = ProbeView(
        at=datetime.now(UTC),
        kind=where.kind,
        version="15.9",
        role=where.user,
        read_only=False,
        replica=False,
        capabilities=[
            CapabilityView(name="apply", works=not missing),
            CapabilityView(name="percentiles", works=False, loses="latency percentiles", remedy="CREATE EXTENSION x;"),
        ],
        missing=list(missing),
        max_connections=100,
        connections=3,
    )
    new = NewDatabase(new_id(), name, "default", where, "none", None, Host(), f"{where.host}:{where.port}", probe)
    return databases.add(engine, new).id


class SessionWriter:
    """One session; every method is one batch."""

    def __init__(self, engine: Engine, url: str, database: str, **fields: Any) -> None:
        spec = SessionSpec.model_validate({"database": database, "interval": 5.0, **fields})
        self._engine = engine
        self.id = sessions.create(engine, spec, database).id
        self._mode = spec.mode
        epoch = leases.acquire(engine, leases.session_lease(self.id), "test", seize=True)
        assert epoch is not None
        self._journal = SqlSessionJournal(url, self.id, epoch)
        self._batch = 0
        self._number = 0
        self._unsafe = 0
        self._touched = False
        self._at = time.time() - 3600

    @property
    def view(self) -> SessionView:
        return sessions.view(self._engine, self.id)

    def commit(
        self, *facts: SessionFact, state: SessionState = SessionState.RUNNING, reason: str | None = None, **status: Any
    ) -> None:
        self._batch += 1
        fields = {
            "touched": self._touched,
            "intervals": self._number,
            "unsafe": self._unsafe,
            "gain": 0.12 if self._number > 1 else None,
            **status,
        }
        told = SessionStatus(state=state, active_seconds=5.0 * self._number, reason=reason, **fields)
        self._touched = told.touched
        self._journal.commit(SessionBatch(self._batch, time.time(), facts, told))

    def begin(self) -> None:
        former = {name: FormerSetting(value=value, text=None) for name, value in FORMER.items()}
        knobs = {name: {**_PLAIN, **knob, "name": name, "current": FORMER[name]} for name, knob in KNOBS.items()}
        self.commit(Began(former, dict(FORMER), knobs, FEATURES))

    def stand(self, changed: Mapping[str, Any]) -> None:
        """The former settings but for some have been put in place."""
        self.commit(Stands({**FORMER, **changed}))

    def interval(
        self,
        changed: Mapping[str, Any] | None = None,
        performance: float | None = 100.0,
        *,
        unsafe: bool = False,
        aborted: bool = False,
        why: Mapping[str, Any] | None = None,
        seconds: float = 5.0,
        context: tuple[float, float] = (1.0, 0.1),
        cluster: int = 0,
    ) -> None:
        """An interval under the former settings, or some others; expected of the former ones are 100 requests/s."""
        config = {**FORMER, **(changed or {})}
        words = "most promising of the safe settings" if changed else "reference"
        suggestion = Suggestion(
            number=self._number,
            kind="safe" if changed else "reference",
            config=config,
            point=(0.5,) * len(FORMER),
            cluster=cluster,
            centre=(0.5,) * len(FORMER),
            reference_performance=100.0,
            gain=0.1 if changed else 0.0,
            lower=0.01 if changed else 0.0,
            abort_below=88.0,
            why=why or {"rule": words},
        )
        stands = FORMER if self._mode == "advice" else config
        self._at += seconds
        self._number += 1
        self._unsafe += unsafe
        measured = Interval(
            suggestion=suggestion,
            config=stands,
            context=context,
            performance=performance,
            seconds=seconds,
            aborted=aborted,
        )
        touched = self._touched or (bool(changed) and self._mode == "apply")
        fact = Measured(self._at, measured, unsafe, 0.1 if unsafe else 0.0)
        self.commit(Intended(suggestion), fact, touched=touched, next_at=time.time() + 5)

    def let_go(self) -> None:
        self._journal.release()

"""The queue of configurations that people want to be tried; each is taken once, in order, by the study's runner."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select

from service.store.tables import EnqueuedRow
from tunewright.space import Config
from tunewright.study import StudySpec

# Of a study whose trials are not numbered beforehand.
MAX_WAITING = 10_000


def room(connection: Connection, study_id: str, spec: StudySpec, started: int) -> int:
    """Configurations that can still be enqueued.

    Args:
        started: trials that the study has started.
    """
    waiting = connection.execute(
        select(func.count())
        .select_from(EnqueuedRow)
        .where(EnqueuedRow.study_id == study_id, EnqueuedRow.trial.is_(None))
    ).scalar_one()
    left = MAX_WAITING if spec.budget.trials is None else spec.budget.trials - started
    return min(left, MAX_WAITING) - waiting


def append(connection: Connection, study_id: str, config: Config, retry_of: int | None = None) -> int:
    """Add a configuration; returns its number. The caller holds the study, so that no two get the same."""
    last = connection.execute(select(func.max(EnqueuedRow.number)).where(EnqueuedRow.study_id == study_id)).scalar_one()
    number = 0 if last is None else int(last) + 1
    connection.execute(
        insert(EnqueuedRow).values(
            study_id=study_id, number=number, config=config, retry_of=retry_of, created_at=time.time()
        )
    )
    return number


def waiting_retry(connection: Connection, study_id: str, trial: int) -> int | None:
    """Number of an entry that is to repeat a trial and still waits."""
    waiting = select(func.min(EnqueuedRow.number)).where(
        EnqueuedRow.study_id == study_id, EnqueuedRow.retry_of == trial, EnqueuedRow.trial.is_(None)
    )
    return connection.execute(waiting).scalar_one()


def one(connection: Connection, study_id: str, number: int) -> Row[Any]:
    """One entry."""
    return connection.execute(entries(study_id).where(EnqueuedRow.number == number)).one()


def entries(study_id: str) -> Select[Any]:
    """A study's entries, in order."""
    return select(EnqueuedRow.__table__).where(EnqueuedRow.study_id == study_id).order_by(EnqueuedRow.number)

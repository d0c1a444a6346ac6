"""How the incumbent got better by what a study had spent: trials, time, and resource."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select

from service.store.tables import ImprovementRow, JobRow, TrialRow
from tunewright.story_views import Progression, Spent, Step
from tunewright.study import Objective, first_goal
from tunewright.views import Study


def read(engine: Engine, study: Study, points: int) -> Progression:
    """The incumbent's steps, thinned to `points` with the first and the last among them.

    A step whose trial misses a bound has no value: it is not as good as its metric looks.
    """
    assert study.spec.objectives
    objectives = study.spec.objectives
    metric = first_goal(objectives).metric
    rows = _improvements(engine, study.id)
    if len(rows) > points:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, points).round().astype(int)]
    now = _end(study)
    spent = _resource(engine, study.id, np.array([*(row.at for row in rows), now]))
    steps = [
        Step(
            trials=row.trials,
            seconds=row.seconds,
            resource=used,
            trial=row.best["trial"],
            value=row.best["metrics"].get(metric) if _allowed(row.best["metrics"], objectives) else None,
        )
        for row, used in zip(rows, spent[:-1].tolist(), strict=True)
    ]
    return Progression(
        metric=metric,
        resource=study.spec.fidelity.name if study.spec.fidelity else "resource",
        steps=steps,
        now=Spent(trials=study.trials, seconds=study.active_seconds, resource=float(spent[-1])),
    )


def improved_at(connection: Connection, study_id: str) -> int:
    """Trials that had started when the incumbent changed last; 0 while there is none."""
    # It only ever grows, so the largest is the last.
    latest = select(func.max(ImprovementRow.trials)).where(ImprovementRow.study_id == study_id)
    return connection.execute(latest).scalar_one() or 0


def _allowed(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> bool:
    """Whether an incumbent is within all bounds: until any trial is, it is the one that misses them least."""
    bounds = [(o.sign, o.bound, metrics.get(o.metric)) for o in objectives if o.bound is not None]
    return all(value is None or sign * value <= sign * bound for sign, bound, value in bounds)


def _improvements(engine: Engine, study_id: str) -> list[Any]:
    query = (
        select(ImprovementRow.at, ImprovementRow.trials, ImprovementRow.seconds, ImprovementRow.best)
        .where(ImprovementRow.study_id == study_id)
        .order_by(ImprovementRow.batch)
    )
    with engine.connect() as connection:
        return list(connection.execute(query).all())


def _end(study: Study) -> float:
    return time.time() if study.ended_at is None else study.ended_at.timestamp()


def _resource(engine: Engine, study_id: str, moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) resource that all legs together had been trained for at each of (m,) moments.

    A leg that did not complete counts as far as its trial has reported. Between its beginning and its end a leg is
    taken to go evenly: so a study of 100,000 trials is told without reading its millions of reports.
    """
    with engine.connect() as connection:
        began, ended, amount = _legs(connection, study_id, float(moments[-1]))
    length = np.maximum(ended - began, 1e-9)
    return np.array([float(np.sum(amount * np.clip((at - began) / length, 0.0, 1.0))) for at in moments])


def _legs(connection: Connection, study_id: str, now: float) -> tuple[NDArray[np.float64], ...]:
    """When each leg began and ended, and the resource that it trained for; each (n,)."""
    query = (
        select(JobRow.started_at, JobRow.ended_at, JobRow.start, JobRow.end, JobRow.state, TrialRow.resource)
        .join(TrialRow, (TrialRow.study_id == JobRow.study_id) & (TrialRow.number == JobRow.trial))
        .where(JobRow.study_id == study_id)
    )
    legs = np.array(
        [
            (began, now if ended is None else ended, max(0.0, (end if state == "completed" else min(end, at)) - start))
            for began, ended, start, end, state, at in connection.execute(query)
        ],
        dtype=np.float64,
    ).reshape(-1, 3)
    return legs[:, 0], legs[:, 1], legs[:, 2]

"""A study's trials and jobs as columns: one query each, and of a trial no more than plots need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from service.store.tables import ImprovementRow, JobRow, TrialRow
from tunewright.study import Objective, TrialState
from tunewright.views import Study


@dataclass(frozen=True)
class Span:
    """A job while it ran; `ended_at` None: it still does."""

    trial: int
    rung: int | None
    bracket: int | None
    start: float
    end: float
    state: str
    attempts: int
    worker: str | None
    started_at: float
    ended_at: float | None
    weights: tuple[float, ...] = ()


class Columns:
    """Trials that have measured something, by number; the rest of the store is read when a plot asks for it.

    Attributes:
        numbers, resources: (n,) of the trials.
        configs, states: of each, in the same order.
        values: (n, m) metrics of the m objectives at the trials' largest resources; NaN where one is missing.
    """

    def __init__(self, engine: Engine, study: Study) -> None:
        self._engine = engine
        self.study = study
        self.objectives: list[Objective] = list(study.spec.objectives or [])
        query = (
            select(TrialRow.number, TrialRow.state, TrialRow.resource, TrialRow.config, TrialRow.metrics)
            .where(TrialRow.study_id == study.id, TrialRow.resource > 0)
            .order_by(TrialRow.number)
        )
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        self.numbers = np.array([row.number for row in rows], dtype=np.int64)
        self.states = [TrialState(row.state) for row in rows]
        self.resources = np.array([row.resource for row in rows], dtype=np.float64)
        self.configs: list[dict[str, Any]] = [row.config for row in rows]
        self.values = np.array(
            [[_number(row.metrics.get(objective.metric)) for objective in self.objectives] for row in rows],
            dtype=np.float64,
        ).reshape(len(rows), len(self.objectives))

    @cached_property
    def aims(self) -> list[int]:
        """Which objectives are optimised, and not only kept within a bound."""
        return [i for i, objective in enumerate(self.objectives) if objective.bound is None]

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """(n, m) values, the smaller the better."""
        return np.asarray(self.values * np.array([objective.sign for objective in self.objectives]))

    @cached_property
    def whole(self) -> NDArray[np.int64]:
        """Rows at the largest resource that any trial has reached, with all values: those that can be compared."""
        if not len(self.numbers):
            return np.array([], dtype=np.int64)
        complete = np.isfinite(self.values).all(axis=1)
        top = self.resources[complete].max(initial=0.0)
        return np.flatnonzero(complete & (self.resources >= top))

    @cached_property
    def allowed(self) -> NDArray[np.int64]:
        """Of `whole`, those within all bounds."""
        rows = self.whole
        for i, objective in enumerate(self.objectives):
            if objective.bound is not None:
                rows = rows[self.losses[rows, i] <= objective.bound * objective.sign]
        return rows

    def improvements(self) -> list[tuple[int, float, dict[str, Any]]]:
        """How the incumbent got better: trials started, active seconds, and what it was."""
        query = (
            select(ImprovementRow.trials, ImprovementRow.seconds, ImprovementRow.best)
            .where(ImprovementRow.study_id == self.study.id)
            .order_by(ImprovementRow.batch)
        )
        with self._engine.connect() as connection:
            return [(row.trials, row.seconds, row.best) for row in connection.execute(query)]

    def jobs(self, newest: int | None = None) -> list[Span]:
        """Jobs by number; `newest` limits how many."""
        query = select(JobRow.__table__).where(JobRow.study_id == self.study.id).order_by(JobRow.number.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(query if newest is None else query.limit(newest)).all()
        return [_span(row) for row in reversed(rows)]


def _span(row: Any) -> Span:
    weights = row.why.get("bracket_weights") if isinstance(row.why, dict) else None
    return Span(
        trial=row.trial,
        rung=row.rung,
        bracket=row.bracket,
        start=row.start,
        end=row.end,
        state=row.state,
        attempts=row.attempts,
        worker=row.worker,
        started_at=row.started_at,
        ended_at=row.ended_at,
        weights=tuple(map(float, weights)) if isinstance(weights, list) else (),
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")

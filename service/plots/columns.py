"""A study's trials and jobs as columns: one query each, and of a trial no more than plots need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from service.store import progression
from service.store.tables import JobRow, TrialRow
from tunewright.story_views import Progression
from tunewright.study import Objective, TrialState, finite, first_goal
from tunewright.views import Study

MAX_STEPS = 500


@dataclass(frozen=True)
class Span:
    """A job's last attempt, while it ran; `ended_at` None: it still does."""

    trial: int
    start: float
    end: float
    state: str
    attempts: int
    worker: str | None
    attempt_at: float
    ended_at: float | None


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
    def goal(self) -> Objective:
        """What plots of one objective are about."""
        return first_goal(self.objectives)

    @cached_property
    def goal_values(self) -> NDArray[np.float64]:
        """(n,) values of `goal`."""
        return np.asarray(self.values[:, self.objectives.index(self.goal)])

    @cached_property
    def goal_losses(self) -> NDArray[np.float64]:
        """(n,) values of `goal`, the smaller the better."""
        return self.goal_values * self.goal.sign

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

    @cached_property
    def progression(self) -> Progression:
        """How the incumbent got better by what had been spent."""
        return progression.read(self._engine, self.study, MAX_STEPS)

    def jobs(self, newest: int) -> list[Span]:
        """The newest jobs, by number."""
        wanted = [JobRow.__table__.c[field.name] for field in fields(Span)]
        query = select(*wanted).where(JobRow.study_id == self.study.id).order_by(JobRow.number.desc()).limit(newest)
        with self._engine.connect() as connection:
            return [Span(**row._mapping) for row in reversed(connection.execute(query).all())]

    def leg_ends(self) -> NDArray[np.float64]:
        """(l,) resources at which legs were to end, rising."""
        query = select(JobRow.end).distinct().where(JobRow.study_id == self.study.id).order_by(JobRow.end)
        with self._engine.connect() as connection:
            return np.array(connection.scalars(query).all(), dtype=np.float64)

    def first_legs(self) -> NDArray[np.int64]:
        """(n, 3) job, trial and bracket of every trial's first leg, by job, where there are brackets."""
        query = (
            select(JobRow.number, JobRow.trial, JobRow.bracket)
            .where(JobRow.study_id == self.study.id, JobRow.start == 0, JobRow.bracket.is_not(None))
            .order_by(JobRow.number)
        )
        with self._engine.connect() as connection:
            return np.array([tuple(row) for row in connection.execute(query)], dtype=np.int64).reshape(-1, 3)

    def weights(self, jobs: Sequence[int]) -> dict[int, list[float]]:
        """The weights of the brackets that each of these jobs was chosen by; left out where there were none."""
        query = select(JobRow.number, JobRow.why).where(JobRow.study_id == self.study.id, JobRow.number.in_(jobs))
        with self._engine.connect() as connection:
            found = [(number, why.get("bracket_weights")) for number, why in connection.execute(query) if why]
        # In a document that was imported anything may stand there.
        return {number: weights for number, weights in found if weights and _numbers(weights)}


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(finite, value))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")

"""Extending a study that has ended: it goes on under a larger budget, from where it stood."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from optimizers.protocol import Incumbent
from service.store import progression
from service.store.tables import JobRow, StatusRow, StudyRow, TrialRow
from tunewright.errors import SpecError
from tunewright.study import Budget, StudySpec, StudyState, TrialState
from workers.journal import Wanted
from workers.spending import reached


def reopen(connection: Connection, study: Row[Any], budget: Budget) -> None:
    """Give a study that is over, and that the caller holds, a new budget, and queue it.

    Raises:
        SpecError: the budget is used up already; names the limit.
    """
    spec = StudySpec.model_validate(study.spec).model_copy(update={"budget": budget})
    _require_room(study, spec, progression.improved_at(connection, study.id))
    connection.execute(
        update(StudyRow).where(StudyRow.id == study.id).values(spec=spec.model_dump(mode="json"), wanted=Wanted.RUN)
    )
    # No runner writes the status of a study that is over, and the next one begins from this.
    connection.execute(
        update(StatusRow)
        .where(StatusRow.study_id == study.id)
        .values(state=StudyState.QUEUED, reason=None, ended_at=None, seconds_left=None)
    )
    _wait_again(connection, study.id)


def _require_room(study: Row[Any], spec: StudySpec, improved_at: int) -> None:
    """Check that a study's new budget lets it go on; so many trials had started when it last got better.

    Raises:
        SpecError: names the limit that is met.
    """
    budget, trials = spec.budget, sum(study.counts.values())
    used = (
        ("trials", trials, budget.trials, "the study has had"),
        ("seconds", study.active_seconds, budget.seconds, "the study has had"),
        ("cluster_seconds", study.cluster_seconds, budget.cluster_seconds, "the study has had"),
        ("patience", trials - improved_at, budget.patience, "trials that brought nothing better:"),
    )
    for name, spent, limit, had in used:
        if limit is not None and limit <= spent:
            raise SpecError(f"budget.{name}: {limit:g} is used up, {had} {spent:g}; give more")
    if budget.target is not None and reached(spec, budget.target, [Incumbent(**entry) for entry in study.best]):
        raise SpecError(f"budget.target: {budget.target:g} is reached already; give a better one, or none")


def _wait_again(connection: Connection, study_id: str) -> None:
    """Trials that waited for a promotion when the study ended wait again."""
    last = (
        select(JobRow.trial, func.max(JobRow.number).label("number"))
        .where(JobRow.study_id == study_id)
        .group_by(JobRow.trial)
        .subquery()
    )
    waiting = select(JobRow.trial).where(
        JobRow.study_id == study_id,
        JobRow.number.in_(select(last.c.number)),
        JobRow.trial_state == TrialState.WAITING,
    )
    connection.execute(
        update(TrialRow)
        .where(TrialRow.study_id == study_id, TrialRow.state == TrialState.STOPPED, TrialRow.number.in_(waiting))
        .values(state=TrialState.WAITING)
    )

"""How one trial went: its curve beside the median of its study, where it came from, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, select

from service.store.errors import NotFound
from service.store.repository import split_trial_id, thin
from service.store.tables import JobRow, ReportRow, TrialRow
from tunewright.story_views import Kin
from tunewright.study import TrialState

# The median is of so many trials at most, the newest.
COMPARED = 200
KIN = 100

Points = list[tuple[float, float]]
Series = tuple[NDArray[np.float64], NDArray[np.float64]]


def curve(engine: Engine, trial_id: str, metric: str, points: int) -> tuple[Points, Points, int]:
    """A trial's curve, the median of the study's completed trials, and how many those are; thinned to `points`.

    Raises:
        NotFound: no such trial.
    """
    study_id, number = split_trial_id(trial_id)
    with engine.connect() as connection:
        _require(connection, study_id, number)
        own = _series(connection, study_id, [number], metric).get(number)
        finished = connection.execute(
            select(TrialRow.number)
            .where(TrialRow.study_id == study_id, TrialRow.state == TrialState.COMPLETED, TrialRow.number != number)
            .order_by(TrialRow.number.desc())
            .limit(COMPARED)
        ).scalars()
        others = _series(connection, study_id, list(finished), metric)
    drawn = [] if own is None else list(zip(own[0].tolist(), own[1].tolist(), strict=True))
    return thin(drawn, points), median(list(others.values()), points), len(others)


def median(curves: Sequence[Series], points: int) -> Points:
    """The median over curves at up to `points` resources, where half of the curves or more reach.

    Args:
        curves: each (n,) resources, increasing, and (n,) values; between two of its points a curve is a straight line.
    """
    if not curves:
        return []
    levels = np.unique(np.concatenate([resources for resources, _ in curves]))
    if len(levels) > points:
        levels = levels[np.linspace(0, len(levels) - 1, points).round().astype(int)]
    table = np.array([np.interp(levels, x, y, left=np.nan, right=np.nan) for x, y in curves])
    told = np.isfinite(table).sum(axis=0) * 2 >= len(curves)
    return list(zip(levels[told].tolist(), np.nanmedian(table[:, told], axis=0).tolist(), strict=True))


def lineage(engine: Engine, trial_id: str) -> tuple[list[Kin], list[Kin]]:
    """Ancestors, the nearest first, and the trials that came from this one directly.

    Raises:
        NotFound: no such trial.
    """
    study_id, number = split_trial_id(trial_id)
    with engine.connect() as connection:
        _require(connection, study_id, number)
        ancestors: list[Kin] = []
        while len(ancestors) < KIN and (found := _origin(connection, study_id, number)) is not None:
            ancestors.append(found)
            number = found.number
        return ancestors, _descendants(connection, study_id, split_trial_id(trial_id)[1])


def _require(connection: Connection, study_id: str, number: int) -> None:
    if connection.scalar(select(TrialRow.number).where(_is(study_id, number))) is None:
        raise NotFound(f"trial {study_id}-{number} does not exist")


def _series(connection: Connection, study_id: str, numbers: Sequence[int], metric: str) -> dict[int, Series]:
    """By trial, the resources at which it measured a number, and those numbers."""
    rows = connection.execute(
        select(ReportRow.trial, ReportRow.resource, ReportRow.metrics[metric].as_float())
        .where(ReportRow.study_id == study_id, ReportRow.trial.in_(numbers))
        .order_by(ReportRow.trial, ReportRow.resource)
    )
    found: dict[int, Points] = {}
    for trial, resource, value in rows:
        if value is not None:
            found.setdefault(trial, []).append((resource, value))
    columns = {trial: np.array(points, dtype=np.float64).T for trial, points in found.items()}
    return {trial: (x, y) for trial, (x, y) in columns.items()}


def _origin(connection: Connection, study_id: str, number: int) -> Kin | None:
    copied = connection.execute(
        select(TrialRow.number, TrialRow.state, JobRow.start)
        .join(JobRow, (JobRow.study_id == TrialRow.study_id) & (JobRow.parent == TrialRow.number))
        .where(JobRow.study_id == study_id, JobRow.trial == number)
        .order_by(JobRow.number)
        .limit(1)
    ).one_or_none()
    if copied is not None:
        return _kin(study_id, *copied[:2], "copy", copied.start)
    retried = select(TrialRow.retry_of).where(_is(study_id, number)).scalar_subquery()
    first = connection.execute(
        select(TrialRow.number, TrialRow.state).where(TrialRow.study_id == study_id, TrialRow.number == retried)
    ).one_or_none()
    return None if first is None else _kin(study_id, *first, "retry")


def _descendants(connection: Connection, study_id: str, number: int) -> list[Kin]:
    copies = connection.execute(
        select(TrialRow.number, TrialRow.state, JobRow.start)
        .join(JobRow, (JobRow.study_id == TrialRow.study_id) & (JobRow.trial == TrialRow.number))
        .where(JobRow.study_id == study_id, JobRow.parent == number)
        .order_by(TrialRow.number)
        .limit(KIN)
    )
    retries = connection.execute(
        select(TrialRow.number, TrialRow.state)
        .where(TrialRow.study_id == study_id, TrialRow.retry_of == number)
        .order_by(TrialRow.number)
        .limit(KIN)
    )
    found = [_kin(study_id, trial, state, "copy", start) for trial, state, start in copies]
    found += [_kin(study_id, trial, state, "retry") for trial, state in retries]
    return sorted(found, key=lambda kin: kin.number)[:KIN]


def _kin(study_id: str, number: int, state: str, how: str, resource: float = 0.0) -> Kin:
    return Kin.model_validate(
        {"id": f"{study_id}-{number}", "number": number, "state": state, "how": how, "resource": resource}
    )


def _is(study_id: str, number: int) -> ColumnElement[bool]:
    return (TrialRow.study_id == study_id) & (TrialRow.number == number)

"""Warm starts: trials of earlier studies, copied when a study is submitted, so that no later change can touch them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from optimizers.protocol import Earlier
from service.store.tables import EarlierRow, JobRow, ReportRow, TrialRow
from tunewright.errors import SpaceError, SpecError
from tunewright.space import Config, SearchSpace
from tunewright.study import Fidelity, Objective, StudySpec, TrialState

MAX_EARLIER = 20_000
# Reports of so many trials are read at once.
CHUNK = 500
# Their last word is spoken. What was cancelled says nothing of its configuration.
FINISHED = (TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED)


def copy(connection: Connection, study_id: str, spec: StudySpec, spec_of: Callable[[str], StudySpec | None]) -> None:
    """Copy the finished trials that a new study is to start with.

    A trial counts if its configuration is one of the new space; its reports count up to the new study's fidelity.
    One that began as a copy of another was trained under more than its own configuration, and does not count.

    Args:
        spec_of: the specification of another study; None if there is no such study.
    Raises:
        SpecError: a study is unknown, does not fit (names the parameter, objective or fidelity), or has no such trial.
    """
    number = 0
    for source in spec.warm_start:
        earlier = spec_of(source)
        if earlier is None:
            raise SpecError(f"warm_start: study {source} does not exist")
        require_fit(source, earlier, spec)
        number += _copy_study(connection, study_id, source, spec, number)


def load(connection: Connection, study_id: str) -> list[Earlier]:
    """The trials with which a study was warm-started, in their order."""
    found = connection.execute(
        select(EarlierRow.__table__).where(EarlierRow.study_id == study_id).order_by(EarlierRow.number)
    )
    return [Earlier(row.config, dict(row.reports), row.failed) for row in found]


def require_fit(source: str, earlier: StudySpec, spec: StudySpec) -> None:
    """Check that results of an earlier study mean something in a new one; both are complete.

    Raises:
        SpecError: names what does not fit.
    """
    assert earlier.space is not None
    assert spec.space is not None
    assert earlier.fidelity is not None
    assert spec.fidelity is not None
    problem = (
        _space_problem(earlier.space, spec.space)
        or _objectives_problem(earlier.objectives, spec.objectives)
        or _fidelity_problem(earlier.fidelity, spec.fidelity)
    )
    if problem is not None:
        raise SpecError(f"warm_start: study {source} does not fit: {problem}")


def _space_problem(earlier: SearchSpace, space: SearchSpace) -> str | None:
    theirs = {parameter.name: parameter for parameter in earlier.parameters}
    for parameter in space.parameters:
        if parameter.name not in theirs:
            return f'it has no parameter "{parameter.name}"'
        other = theirs.pop(parameter.name)
        # What was not searched, there or here, is a choice of one, whatever kind its workload declares.
        if other.type != parameter.type and 1 not in (other.size, parameter.size):
            return f'its parameter "{parameter.name}" is {other.type}, here it is {parameter.type}'
    return f'its parameter "{next(iter(theirs))}" is none of this study' if theirs else None


def _objectives_problem(earlier: list[Objective], objectives: list[Objective]) -> str | None:
    theirs = {objective.metric: objective for objective in earlier}
    for objective in objectives:
        if objective.metric not in theirs:
            return f'"{objective.metric}" is none of its objectives'
        there = theirs[objective.metric].direction
        if there != objective.direction:
            return f'its objective "{objective.metric}" is to {there}, here it is to {objective.direction}'
    return None


def _fidelity_problem(earlier: Fidelity, fidelity: Fidelity) -> str | None:
    for name in ("name", "unit"):
        there, here = getattr(earlier, name), getattr(fidelity, name)
        if there != here:
            return f'its fidelity.{name} is "{there}", here it is "{here}"'
    return None


def _copy_study(connection: Connection, study_id: str, source: str, spec: StudySpec, first: int) -> int:
    """Copy one study's trials as rows that are numbered from `first`; returns how many there were."""
    copies = select(JobRow.trial).where(JobRow.study_id == source, JobRow.parent.is_not(None))
    finished = (TrialRow.study_id == source, TrialRow.state.in_(FINISHED), TrialRow.number.not_in(copies))
    total = connection.execute(select(func.count()).select_from(TrialRow).where(*finished)).scalar_one()
    if first + total > MAX_EARLIER:
        raise SpecError(
            f"warm_start: more than {MAX_EARLIER} trials with study {source}; name fewer or smaller studies"
        )
    copied = 0
    for trials in connection.execute(
        select(TrialRow.number, TrialRow.config, TrialRow.state).where(*finished).order_by(TrialRow.number)
    ).partitions(CHUNK):
        fitting = [(trial, config) for trial in trials for config in _config(spec.space, trial.config)]
        reports = _reports(connection, source, [trial.number for trial, _ in fitting], spec)
        rows = [
            {
                "study_id": study_id,
                "source_study": source,
                "source_trial": trial.number,
                "config": config,
                "reports": [] if trial.state == TrialState.FAILED else reports[trial.number],
                "failed": trial.state == TrialState.FAILED,
            }
            for trial, config in fitting
            if reports[trial.number] or trial.state == TrialState.FAILED
        ]
        if rows:
            numbers = range(first + copied, first + copied + len(rows))
            connection.execute(
                insert(EarlierRow), [{**row, "number": number} for number, row in zip(numbers, rows, strict=True)]
            )
            copied += len(rows)
    if not copied:
        raise SpecError(f"warm_start: study {source} has no finished trial whose configuration is one of this study")
    return copied


def _config(space: SearchSpace | None, config: Mapping[str, Any]) -> Iterator[Config]:
    """The configuration, if it is one of the space."""
    assert space is not None
    try:
        yield space.validate_config(config)
    except SpaceError:
        return


def _reports(connection: Connection, study: str, trials: list[int], spec: StudySpec) -> Mapping[int, list[Any]]:
    """Trial -> pairs of resource and objectives, by resource, as far as the new study's trials go."""
    assert spec.fidelity is not None
    found: defaultdict[int, list[Any]] = defaultdict(list)
    names = [objective.metric for objective in spec.objectives]
    for trial, resource, metrics in connection.execute(
        select(ReportRow.trial, ReportRow.resource, ReportRow.metrics)
        .where(ReportRow.study_id == study, ReportRow.trial.in_(trials), ReportRow.resource <= spec.fidelity.max)
        .order_by(ReportRow.trial, ReportRow.resource)
    ):
        found[trial].append([resource, {name: metrics[name] for name in names}])
    return found

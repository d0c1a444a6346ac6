"""Studies of Optuna, read from its relational storage as documents that a service imports; Optuna is not needed.

Parameters keep their ranges, scales and steps; one that trials have only for some values of an earlier parameter gets
that as its condition. Completed trials end with their value, pruned ones with their last intermediate value. Steps
are counted from 1. User attributes become tags (one word) or notes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tunewright._text import writable
from tunewright.document import DocumentReport, DocumentStudy, DocumentTrial
from tunewright.errors import SpaceError, SpecError
from tunewright.integrations.optuna_space import ObservedSpace
from tunewright.study import (
    EXTERNAL,
    Budget,
    Fidelity,
    Objective,
    OptimizerSpec,
    StudySpec,
    Tag,
    TrialState,
)

CHUNK = 500
MAX_NOTES = 20_000
MAX_TAGS = 50
_STATES = {"COMPLETE": TrialState.COMPLETED, "PRUNED": TrialState.STOPPED, "FAIL": TrialState.FAILED}
# What Optuna 3 added to the tables of Optuna 2.
_NEW_COLUMNS = {"trial_values": "value_type", "trial_intermediate_values": "intermediate_value_type"}
_OLDER = (
    "this is no storage of Optuna 3 or newer; a newer Optuna brings an older one up to date: "
    "optuna storage upgrade --storage URL"
)
_TAG: TypeAdapter[str] = TypeAdapter(Tag)


@dataclass
class OptunaStudy:
    """A study in a storage.

    Attributes:
        study: what the document says before its trials.
        left_out: trials that were not taken over, by reason; complete once `trials` has been read to its end.
        filled: trials that lack a parameter without a visible reason, and got its default; as `left_out`.
    """

    study: DocumentStudy
    left_out: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    _storage: Any = None
    _row: Any = None
    _offset: int = 0

    def trials(self) -> Iterator[DocumentTrial]:
        """Trials in the order of their numbers, which count up without gaps."""
        taken = 0
        for record in self._storage.records(self._row):
            trial = self._trial(record, taken)
            if isinstance(trial, str):
                self.left_out[trial] = self.left_out.get(trial, 0) + 1
                continue
            yield trial
            taken += 1

    def _trial(self, record: Record, number: int) -> DocumentTrial | str:
        """A trial of a document, or why it is none."""
        state = _STATES.get(record.state)
        if state is None:
            return "has not ended"
        space = self.study.spec.space
        assert space is not None
        values = self._storage.space.values(record.parameters)
        try:
            # One that failed may not have come to its last parameter.
            config = space.validate_config(values) if state is TrialState.FAILED else space.complete(values)
        except SpaceError:
            return "has no whole configuration"
        self.filled += len(config) > len(values)
        reports = self._reports(record)
        problem = None
        if state is TrialState.COMPLETED and not self._whole(reports):
            state, problem = TrialState.FAILED, "its value is not finite"
        elif state is TrialState.FAILED:
            problem = "it failed in Optuna"
        renumbered = {} if record.number == number else {"optuna_number": record.number}
        return DocumentTrial(
            number=number,
            state=state,
            config=config,
            started_at=_local(record.started),
            ended_at=_local(record.ended),
            seconds=_between(record.started, record.ended),
            problem=problem,
            notes=_notes({**renumbered, **record.attributes}),
            reports=reports,
        )

    def _reports(self, record: Record) -> list[DocumentReport]:
        names = [objective.metric for objective in self.study.spec.objectives]
        assert self.study.spec.fidelity is not None
        whole = self.study.spec.fidelity.max
        measured = {step + self._offset: {names[0]: value} for step, value in record.steps.items()}
        if record.state == "COMPLETE":
            measured[int(whole)] = {names[n]: value for n, value in record.values.items()}
        return [
            DocumentReport(resource=resource, metrics=metrics)
            for resource, metrics in sorted(measured.items())
            if len(metrics) == len(names) and all(map(math.isfinite, metrics.values()))
        ]

    def _whole(self, reports: list[DocumentReport]) -> bool:
        assert self.study.spec.fidelity is not None
        return bool(reports) and reports[-1].resource == self.study.spec.fidelity.max


@dataclass
class Record:
    """A trial as the storage has it.

    Attributes:
        parameters: name -> distribution (JSON) and internal value.
        steps, values: step -> intermediate value, objective -> value.
    """

    number: int
    state: str
    started: datetime | None
    ended: datetime | None
    parameters: dict[str, tuple[str, float]] = field(default_factory=dict)
    steps: dict[int, float] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


def read(url: str, name: str | None = None, optimizer: str | None = None) -> OptunaStudy:
    """A study of an Optuna storage.

    Args:
        url: of the storage, as Optuna takes it: sqlite:///example.db, postgresql://..., mysql://...
        name: of the study; may be left out where the storage has only one.
        optimizer: with which it could be extended; None takes tpe, or nsga2 for several objectives.
    Raises:
        SpecError: the storage cannot be read, has no such study, or a study that cannot be expressed here.
    """
    storage = _Storage(url)
    row = storage.study(name)
    objectives = storage.objectives(row)
    steps = storage.steps(row)
    # Resources begin above 0.
    offset = 0 if steps is None else max(0, 1 - steps[0])
    fidelity = Fidelity(name="step", max=1) if steps is None else _fidelity(steps, offset)
    storage.space = ObservedSpace.of(storage.distributions(row), storage.parameters(row))
    attributes = storage.attributes(row)
    tags = _tags(attributes)
    spec = StudySpec(
        name=_name(row.study_name),
        workload=EXTERNAL,
        space=storage.space.space(),
        objectives=objectives,
        fidelity=fidelity,
        optimizer=OptimizerSpec(name=optimizer or ("tpe" if len(objectives) == 1 else "nsga2")),
        budget=Budget(trials=max(1, storage.count(row))),
        tags=list(tags.values()),
        notes=_notes({key: value for key, value in attributes.items() if key not in tags}),
    )
    began, ended = storage.span(row)
    study = DocumentStudy(
        spec=spec,
        source=f"Optuna study {row.study_name}"[:300],
        started_at=_local(began),
        ended_at=_local(ended),
        active_seconds=_between(began, ended),
    )
    return OptunaStudy(study, _storage=storage, _row=row, _offset=offset)


class _Storage:
    """Optuna's tables."""

    space: ObservedSpace

    def __init__(self, url: str) -> None:
        try:
            import sqlalchemy
        except ImportError:
            raise SpecError("optuna: its storage is read with SQLAlchemy; pip install sqlalchemy") from None
        self._sql: Any = sqlalchemy
        self._engine = self._open(url)
        self._tables: dict[str, Any] = {}

    def _open(self, url: str) -> Any:
        sql = self._sql
        try:
            parsed = sql.make_url(url)
            if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
                raise SpecError(f"optuna: there is no file {parsed.database}")
            return sql.create_engine(parsed)
        except (sql.exc.ArgumentError, sql.exc.NoSuchModuleError, ValueError) as error:
            if isinstance(error, SpecError):
                raise
            raise SpecError("optuna: this is no storage's URL; give for example sqlite:///example.db") from None
        except ImportError as error:
            raise SpecError(f"optuna: the driver of this storage is not installed here ({error})") from None

    def table(self, name: str) -> Any:
        if name not in self._tables:
            sql = self._sql
            try:
                table = sql.Table(name, sql.MetaData(), autoload_with=self._engine)
            except sql.exc.NoSuchTableError:
                raise SpecError(f"optuna: there is no table {name}; {_OLDER}") from None
            except sql.exc.DBAPIError as error:
                raise SpecError(f"optuna: the storage cannot be read: {error.orig}") from None
            if name in _NEW_COLUMNS and _NEW_COLUMNS[name] not in table.c:
                raise SpecError(f"optuna: the table {name} has no column {_NEW_COLUMNS[name]}; {_OLDER}")
            self._tables[name] = table
        return self._tables[name]

    def study(self, name: str | None) -> Any:
        table = self.table("studies")
        found = self._all(self._sql.select(table).order_by(table.c.study_id))
        fitting = [row for row in found if name in (None, row.study_name)]
        if len(fitting) == 1:
            return fitting[0]
        known = ", ".join(row.study_name for row in found[:10]) or "none"
        problem = "give the name of one of its studies" if name is None else f'it has no study "{name}"'
        raise SpecError(f"optuna: {problem}; there are: {known}{', ...' if len(found) > 10 else ''}")

    def objectives(self, study: Any) -> list[Objective]:
        table = self.table("study_directions")
        rows = self._all(self._sql.select(table).where(table.c.study_id == study.study_id).order_by(table.c.objective))
        directions = [str(row.direction) for row in rows]
        if "NOT_SET" in directions or not directions:
            raise SpecError("optuna: the study has no direction, so nobody knows what is better")
        names = self._attributes("study_system_attributes", "study_id", [study.study_id]).get(study.study_id, {})
        given = names.get("study:metric_names")
        if not isinstance(given, list) or len(given) != len(directions):
            given = ["value"] if len(directions) == 1 else [f"value_{n}" for n in range(len(directions))]
        return [
            Objective(metric=str(name), direction="minimize" if direction == "MINIMIZE" else "maximize")
            for name, direction in zip(given, directions, strict=True)
        ]

    def attributes(self, study: Any) -> dict[str, Any]:
        return self._attributes("study_user_attributes", "study_id", [study.study_id]).get(study.study_id, {})

    def steps(self, study: Any) -> tuple[int, int] | None:
        """The smallest and the largest step with an intermediate value."""
        sql, trials, steps = self._sql, self.table("trials"), self.table("trial_intermediate_values")
        (row,) = self._all(
            sql.select(sql.func.min(steps.c.step), sql.func.max(steps.c.step))
            .join(trials, trials.c.trial_id == steps.c.trial_id)
            .where(trials.c.study_id == study.study_id)
        )
        return None if row[0] is None else (int(row[0]), int(row[1]))

    def distributions(self, study: Any) -> list[tuple[str, str]]:
        """Parameters and their distributions, in the order in which they came up."""
        sql, trials, params = self._sql, self.table("trials"), self.table("trial_params")
        rows = self._all(
            sql.select(params.c.param_name, params.c.distribution_json, sql.func.min(params.c.param_id).label("first"))
            .join(trials, trials.c.trial_id == params.c.trial_id)
            .where(trials.c.study_id == study.study_id)
            .group_by(params.c.param_name, params.c.distribution_json)
            .order_by("first")
        )
        return [(row.param_name, row.distribution_json) for row in rows]

    def parameters(self, study: Any) -> Iterator[Mapping[str, tuple[str, float]]]:
        """Parameters of each trial that came to a result."""
        for record in self.records(study):
            if record.state in ("COMPLETE", "PRUNED"):
                yield record.parameters

    def count(self, study: Any) -> int:
        """Trials that have ended."""
        sql, trials = self._sql, self.table("trials")
        ended = trials.c.state.in_(list(_STATES))
        (row,) = self._all(sql.select(sql.func.count()).where(trials.c.study_id == study.study_id, ended))
        return int(row[0])

    def span(self, study: Any) -> tuple[datetime | None, datetime | None]:
        sql, trials = self._sql, self.table("trials")
        (row,) = self._all(
            sql.select(sql.func.min(trials.c.datetime_start), sql.func.max(trials.c.datetime_complete)).where(
                trials.c.study_id == study.study_id
            )
        )
        return row[0], row[1]

    def records(self, study: Any) -> Iterator[Record]:
        """Trials with all that is stored of them, by number, a chunk at a time."""
        sql, trials = self._sql, self.table("trials")
        last = -1
        while True:
            rows = self._all(
                sql.select(trials)
                .where(trials.c.study_id == study.study_id, trials.c.number > last)
                .order_by(trials.c.number)
                .limit(CHUNK)
            )
            yield from self._records(rows)
            if len(rows) < CHUNK:
                return
            last = rows[-1].number

    def _records(self, rows: list[Any]) -> Iterator[Record]:
        found = {
            row.trial_id: Record(row.number, str(row.state), row.datetime_start, row.datetime_complete) for row in rows
        }
        for row in self._of_trials("trial_params", found):
            found[row.trial_id].parameters[row.param_name] = (row.distribution_json, row.param_value)
        for row in self._of_trials("trial_intermediate_values", found):
            value = row.intermediate_value if str(row.intermediate_value_type) == "FINITE" else math.nan
            found[row.trial_id].steps[row.step] = value
        for row in self._of_trials("trial_values", found):
            found[row.trial_id].values[row.objective] = row.value if str(row.value_type) == "FINITE" else math.nan
        for trial, attributes in self._attributes("trial_user_attributes", "trial_id", list(found)).items():
            found[trial].attributes = attributes
        return iter(found.values())

    def _of_trials(self, name: str, trials: Mapping[int, Any]) -> list[Any]:
        table = self.table(name)
        return self._all(self._sql.select(table).where(table.c.trial_id.in_(list(trials))))

    def _attributes(self, name: str, of: str, keys: list[int]) -> dict[int, dict[str, Any]]:
        table = self.table(name)
        found: dict[int, dict[str, Any]] = {}
        for row in self._all(self._sql.select(table).where(table.c[of].in_(keys))):
            found.setdefault(getattr(row, of), {})[row.key] = json.loads(row.value_json)
        return found

    def _all(self, statement: Any) -> list[Any]:
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(statement).all())
        except self._sql.exc.DBAPIError as error:
            raise SpecError(f"optuna: the storage cannot be read: {error.orig}") from None


def _fidelity(steps: tuple[int, int], offset: int) -> Fidelity:
    return Fidelity(name="step", min=steps[0] + offset, max=steps[1] + offset)


def _name(name: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in name).strip()
    return printable[:200] or "optuna"


def _tags(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes that are tags: those of one word."""
    found: dict[str, str] = {}
    for key, value in attributes.items():
        if isinstance(value, (str, int, float)) and len(found) < MAX_TAGS:
            try:
                found[key] = _TAG.validate_python(f"{key}={value}")
            except ValidationError:
                continue
    return found


def _notes(attributes: Mapping[str, Any]) -> str:
    lines = (
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in attributes.items()
    )
    return writable("\n".join(lines))[:MAX_NOTES]


def _local(moment: datetime | None) -> datetime | None:
    """Optuna writes local time without saying so."""
    return None if moment is None else moment.astimezone()


def _between(began: datetime | None, ended: datetime | None) -> float:
    """Seconds; the local clock may have gone back meanwhile, as it does each autumn."""
    start, end = _local(began), _local(ended)
    return 0.0 if start is None or end is None else max(0.0, (end - start).total_seconds())

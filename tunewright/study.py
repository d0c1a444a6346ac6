"""What a study is: objectives, fidelity, budget, and everything else that is said at submission.

The same models are the Python API, the YAML file and the JSON body of `POST /v1/studies`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from tunewright._yaml import dump, read_mapping
from tunewright.access import ProjectName
from tunewright.command import COMMAND, Command, with_directory
from tunewright.errors import SpecError
from tunewright.space import SearchSpace

# The workload of studies whose trials are asked for over REST.
EXTERNAL = "external"
MAX_PARALLEL = 1_000
MAX_TRIALS = 1_000_000
# Quotes and backslashes would have to be escaped in the JSON paths of every database.
METRIC_NAME = r'^[^"\\\x00-\x1f]+$'


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Objective(_Frozen):
    """A metric to optimise, or to keep within a bound.

    Attributes:
        metric: name under which the workload reports it.
        direction: `minimize` or `maximize`.
        bound: makes it a constraint: at most (minimize) or at least (maximize) this value.
        unit: for axes and tables, such as "s" or "%".
    """

    metric: str = Field(min_length=1, max_length=100, pattern=METRIC_NAME)
    direction: Literal["minimize", "maximize"] = "minimize"
    bound: float | None = Field(default=None, allow_inf_nan=False)
    unit: str = ""

    @property
    def sign(self) -> float:
        """Factor that turns the metric into a loss: 1 to minimize, -1 to maximize."""
        return 1.0 if self.direction == "minimize" else -1.0


def first_goal(objectives: Sequence[Objective]) -> Objective:
    """The first objective that is optimised, and not only kept within a bound: what "the best" is about.

    Args:
        objectives: at least one.
    """
    return next((objective for objective in objectives if objective.bound is None), objectives[0])


class Fidelity(_Frozen):
    """The resource that a trial consumes as it learns.

    Attributes:
        name: for example "epochs".
        unit: unit of the resource, when the name does not say it.
        min: smallest resource at which a trial's metrics mean anything.
        max: resource of a whole trial.
        integer: whether resources are whole numbers (epochs) or not (fraction of the data).
    """

    name: str = Field(min_length=1, max_length=100)
    unit: str = ""
    min: float = Field(default=1, gt=0, allow_inf_nan=False)
    max: float = Field(gt=0, allow_inf_nan=False)
    integer: bool = True

    @model_validator(mode="after")
    def _check(self) -> Fidelity:
        if self.min > self.max:
            raise SpecError(f"fidelity.min ({self.min}) must be at most fidelity.max ({self.max})")
        if self.integer and not (float(self.min).is_integer() and float(self.max).is_integer()):
            raise SpecError(f"fidelity: {self.min} and {self.max} must be whole numbers, or set integer: false")
        return self


class Resources(_Frozen):
    """What one trial occupies on the cluster while it runs.

    Attributes:
        cpus, gpus: counts; fractions share a device.
        memory_mb: a trial that uses more is ended; None sets no limit.
    """

    cpus: float = Field(default=1, ge=0, le=10_000, allow_inf_nan=False)
    gpus: float = Field(default=0, ge=0, le=1_000, allow_inf_nan=False)
    memory_mb: int | None = Field(default=None, ge=16, le=100_000_000)


class Budget(_Frozen):
    """When a study ends; whichever limit is met first.

    Attributes:
        trials: configurations to start.
        seconds: wall time during which the study runs, pauses not counted.
        cluster_seconds: time that trials run, summed over those that run side by side.
        patience: ends once so many trials in a row have brought nothing better.
        target: ends once the first objective without a bound is at least this good at full fidelity, within all bounds.
    """

    trials: int | None = Field(default=None, ge=1, le=MAX_TRIALS)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    cluster_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    patience: int | None = Field(default=None, ge=1, le=MAX_TRIALS)
    target: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Budget:
        if self.trials is None and self.seconds is None and self.cluster_seconds is None:
            raise SpecError("budget: give trials or seconds, else the study would never end")
        return self


class OptimizerSpec(_Frozen):
    """Which optimizer decides, by default Hyper-Tune, and its settings; both as in `tunewright optimizers`."""

    name: str = Field(default="hypertune", min_length=1, max_length=100)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data


class TrialLimits(_Frozen):
    """What a trial may do before it is ended.

    Attributes:
        leg_seconds: wall time of one leg; None sets no limit.
        silent_seconds: time between two reports (and before the first one) after which a trial counts as hung.
        retries: how often a leg that was lost with its worker is run again from its last checkpoint.
        retry_failed: how often a leg whose program failed is run again from its last checkpoint.
        checkpoint_seconds: how often a workload should save a checkpoint in the middle of a leg.
        lease_seconds: of a study whose trials run elsewhere: a client that says nothing for so long may lose its job
            to the next one that asks. Of such studies the other limits but `retries` and `leg_seconds` mean nothing.
    """

    leg_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    silent_seconds: float = Field(default=600, gt=0, allow_inf_nan=False)
    retries: int = Field(default=3, ge=0, le=100)
    retry_failed: int = Field(default=0, ge=0, le=100)
    checkpoint_seconds: float = Field(default=10, ge=0, allow_inf_nan=False)
    lease_seconds: float = Field(default=60, ge=1, le=30 * 86400, allow_inf_nan=False)


def _printable(name: str) -> str:
    if not name.isprintable() or not name.strip():
        raise SpecError("name: holds control characters or nothing but blanks; give one that people can read")
    return name


class Priority(StrEnum):
    """How much of a shared cluster a study gets beside others: each step up four times as much."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def weight(self) -> float:
        """Its share in proportion to those of others."""
        return {Priority.LOW: 1.0, Priority.NORMAL: 4.0, Priority.HIGH: 16.0}[self]


def _one_word(tag: str) -> str:
    if not tag.isprintable() or any(character.isspace() or character == "," for character in tag):
        raise SpecError(f'tags: "{tag}" is not one word; leave out blanks and commas, such as in team=search')
    return tag


def _different(tags: list[str]) -> list[str]:
    twice = [tag for tag in tags if tags.count(tag) > 1]
    if twice:
        raise SpecError(f'tags: "{twice[0]}" stands twice; remove one')
    return tags


def _storable(text: str) -> str:
    if "\0" in text:
        raise SpecError("notes: they hold a null character; remove it")
    return text


StudyName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Tag = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_one_word)]
Tags = Annotated[list[Tag], Field(max_length=50), AfterValidator(_different)]
Notes = Annotated[str, Field(max_length=20_000), AfterValidator(_storable)]

_StudyId = Annotated[str, Field(min_length=1, max_length=100)]


class StudySpec(_Frozen):
    """A study as submitted.

    `space`, `objectives`, `fidelity` and `resources` come from the workload unless given here.

    Attributes:
        name: for people; need not be unique.
        workload: a registered name, `module:attribute` importable where trials run, `command`, or `external`: trials
            run wherever somebody asks for them.
        command: the program that is run; with the workload `command` alone, which declares nothing else by itself.
        data: options of the workload's data, as it declares them.
        parallel: trials that run at the same time.
        project: the name space in which it is kept, for people and for tokens that are bound to one; None takes the
            token's, else `default`.
        warm_start: ids of earlier studies with the same parameters, objectives and fidelity; the optimizer learns from
            their finished trials before the first of this study.
        seed: makes the study's decisions repeatable.
        priority: its share of the cluster beside other studies, and who starts first; may be changed at any time.
        tags: words to find it by, such as `baseline` or `team=search`; may be changed at any time.
        notes: whatever people want to remember of it; may be changed at any time.
    """

    name: StudyName
    project: ProjectName | None = None
    workload: str = Field(min_length=1, max_length=300)
    command: Command | None = None
    space: SearchSpace | None = None
    objectives: list[Objective] = Field(default_factory=list, max_length=20)
    fidelity: Fidelity | None = None
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec)
    budget: Budget
    parallel: int = Field(default=1, ge=1, le=MAX_PARALLEL)
    resources: Resources | None = None
    limits: TrialLimits = Field(default_factory=TrialLimits)
    data: dict[str, Any] = Field(default_factory=dict)
    warm_start: list[_StudyId] = Field(default_factory=list, max_length=20)
    seed: int = Field(default=0, ge=0, lt=2**32)
    priority: Priority = Priority.NORMAL
    tags: Tags = Field(default_factory=list)
    notes: Notes = ""

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, objectives: list[Objective]) -> list[Objective]:
        metrics = [objective.metric for objective in objectives]
        twice = [metric for metric in metrics if metrics.count(metric) > 1]
        if twice:
            raise SpecError(f'objectives: metric "{twice[0]}" stands twice; remove one')
        if objectives and all(objective.bound is not None for objective in objectives):
            raise SpecError("objectives: all are constraints; leave bound out of the one to optimise")
        return objectives

    @field_validator("warm_start")
    @classmethod
    def _check_warm_start(cls, studies: list[str]) -> list[str]:
        twice = [study for study in studies if studies.count(study) > 1]
        if twice:
            raise SpecError(f'warm_start: study "{twice[0]}" stands twice; remove one')
        return studies

    @model_validator(mode="after")
    def _check_command(self) -> StudySpec:
        if (self.workload == COMMAND) is not (self.command is not None):
            raise SpecError(f'command: stands with "workload: {COMMAND}", and that with it; give both or neither')
        if self.command is None:
            return self
        for name in ("space", "objectives", "fidelity"):
            if not getattr(self, name):
                raise SpecError(f"{name}: a command declares none of its own; give it in the study")
        if self.data:
            raise SpecError("data: a command takes no data options; use command.argv or command.environment")
        assert self.space is not None
        self.command.check(self.space)
        return self

    @model_validator(mode="after")
    def _check_external(self) -> StudySpec:
        if self.workload != EXTERNAL:
            return self
        for name in ("space", "objectives"):
            if not getattr(self, name):
                raise SpecError(f"{name}: trials that run elsewhere declare none of their own; give it in the study")
        for name in ("data", "resources"):
            if getattr(self, name):
                raise SpecError(f'{name}: means nothing with "workload: {EXTERNAL}", whose trials run elsewhere')
        return self

    @classmethod
    def from_yaml(cls, source: str | Path, directory: Path | None = None) -> StudySpec:
        """Read a study from a YAML (or JSON) file, or from its text.

        Args:
            directory: what relative paths in the study start from; None takes that of the file, and refuses them in a
                text.
        Raises:
            SpecError: not readable as YAML, not a mapping, too large, or it holds what JSON cannot.
            pydantic.ValidationError: a field is wrong; names it.
        """
        study = read_mapping(source, "study", "name, workload and budget")
        if isinstance(source, Path):
            directory = directory or source.parent
        return cls.model_validate(study if directory is None else with_directory(study, directory))

    def to_yaml(self) -> str:
        """YAML text from which `from_yaml` reads an equal study."""
        return dump(self.model_dump(mode="json", exclude_defaults=True))


def changed_spec(spec: StudySpec, changes: Mapping[str, Any]) -> StudySpec:
    """A study with some of its fields replaced.

    Raises:
        pydantic.ValidationError: a field is unknown or wrong; names it.
    """
    return StudySpec.model_validate({**spec.model_dump(mode="json"), **changes})


class StudyState(StrEnum):
    """Where a study stands in its life; the first three are not final."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (StudyState.COMPLETED, StudyState.FAILED, StudyState.CANCELLED)


class TrialState(StrEnum):
    """What a trial is doing; `waiting` has finished a leg and may be promoted."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (TrialState.RUNNING, TrialState.WAITING)


def finite(value: Any) -> bool:
    """Whether `value` is a finite real number (and not a bool); an int beyond all floats is none that could be kept."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max

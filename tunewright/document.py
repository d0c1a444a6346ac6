"""A study as a document: what an export in JSON holds, and what can be imported.

A document is one JSON object. `format` and `version` say what it is, `study` describes the study, and the lists after
it hold what was measured:

    {"format": "tunewright-study", "version": 1,
     "study": {"spec": {"name": ..., "space": ..., "objectives": ..., "fidelity": ..., ...}, "state": "completed"},
     "trials": [{"number": 0, "state": "completed", "config": {"x": 0.5},
                 "reports": [{"resource": 1, "metrics": {"loss": 0.25}}]}]}

That much is enough for results from elsewhere. An export says more, so that a study that was imported can go on as if
it had never been anywhere else: jobs and reports carry the places (`seq`) at which the optimizer saw them, and
`improvements`, before the trials, tell when the best one changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tunewright.space import Config
from tunewright.study import MAX_TRIALS, Notes, StudySpec, StudyState, TrialState

FORMAT = "tunewright-study"
VERSION = 1
# The lists of a document, in the order in which they stand in it.
LISTS = ("earlier", "queue", "improvements", "trials")


def _within_the_calendar(moment: datetime) -> datetime:
    """A time zone may carry the calendar's first and last day out of it, where no time can be told again."""
    try:
        datetime.fromtimestamp(moment.timestamp(), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"{moment.isoformat()} lies outside the years 1 to 9999 in UTC; give the right time"
        ) from error
    return moment


Moment: TypeAlias = Annotated[datetime, AfterValidator(_within_the_calendar)]

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Number = Annotated[int, Field(ge=0, lt=100 * MAX_TRIALS)]
_Place = Annotated[int, Field(ge=0, lt=2**53)]


class _Part(BaseModel):
    # A newer release may say more; what an older one does not know is not needed to understand the rest.
    model_config = ConfigDict(frozen=True, extra="ignore")


class DocumentReport(_Part):
    """One measurement.

    Attributes:
        metrics: all objectives, finite.
        late: it came after its job had ended; the optimizer did not see it.
    """

    resource: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    metrics: dict[str, _Finite]
    job: _Number | None = None
    attempt: _Number = 1
    seconds: _Finite | None = None
    seq: _Place | None = None
    at: Moment | None = None
    late: bool = False


class DocumentJob(_Part):
    """One leg of a trial, which has ended."""

    number: _Number
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    end: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    rung: _Number | None = None
    bracket: _Number | None = None
    parent: _Number | None = None
    why: dict[str, Any] = Field(default_factory=dict)
    state: str = Field(max_length=10)
    trial_state: TrialState | None = None
    attempts: _Number = 1
    seq: _Place
    end_seq: _Place | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    problem: str | None = None


class DocumentTrial(_Part):
    """A trial and all that was measured of it.

    Attributes:
        number: counts up from 0 within the document.
        jobs: none: the trial is taken for a single one, and its reports for all that the optimizer saw.
    """

    number: _Number
    state: TrialState
    config: Config
    rung: _Number | None = None
    bracket: _Number | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    problem: str | None = None
    retry_of: _Number | None = None
    notes: Notes = ""
    jobs: list[DocumentJob] = Field(default_factory=list)
    reports: list[DocumentReport] = Field(default_factory=list)


class DocumentQueued(_Part):
    """A configuration that somebody enqueued, and the trial that it became."""

    number: _Number
    config: Config
    seq: _Place | None = None
    trial: _Number | None = None
    retry_of: _Number | None = None
    created_at: Moment | None = None


class DocumentEarlier(_Part):
    """A trial of another study with which this one was warm-started."""

    source_study: str = Field(max_length=32)
    source_trial: _Number
    config: Config
    reports: list[tuple[_Finite, dict[str, _Finite]]]
    failed: bool = False


class DocumentBest(_Part):
    """The best trial of some moment, with what it had measured at a resource."""

    trial: _Number
    config: Config
    resource: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    metrics: dict[str, _Finite]


class DocumentImprovement(_Part):
    """A moment at which the best trial (of several, the first) became another one, or better.

    Attributes:
        seconds: that the study had run.
        trials: that it had started.
    """

    at: Moment
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    trials: _Number
    best: DocumentBest


class DocumentStudy(_Part):
    """The study itself.

    Attributes:
        spec: complete: with space, objectives and fidelity.
        source: where it comes from, for people.
    """

    spec: StudySpec
    state: StudyState = StudyState.COMPLETED
    reason: str | None = None
    source: str = Field(default="", max_length=300)
    started_at: Moment | None = None
    ended_at: Moment | None = None
    active_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    cluster_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class DocumentHead(_Part):
    """What stands before the lists."""

    format: Literal["tunewright-study"]
    version: Literal[1]
    study: DocumentStudy


def write(study: DocumentStudy, **lists: Iterable[BaseModel]) -> Iterator[str]:
    """The text of a document piece by piece; each item of a list stands in a line of its own.

    Args:
        lists: of `LISTS`, read one after the other.
    """
    head = study.model_dump_json(exclude_none=True)
    yield f'{{"format":"{FORMAT}","version":{VERSION},"study":{head}'
    for name in LISTS:
        yield f',\n"{name}":['
        separator = "\n"
        for item in lists.get(name, ()):
            yield separator + item.model_dump_json(exclude_none=True)
            separator = ",\n"
        yield "\n]"
    yield "}\n"

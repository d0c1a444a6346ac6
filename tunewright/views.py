"""What the service shows of studies, trials and jobs: the JSON of its REST API, as Python types.

The service fills these and the client returns them, so that there is one definition of each.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, WithJsonSchema

from tunewright._view import View
from tunewright.access import DEFAULT_PROJECT
from tunewright.study import Objective, Priority, StudySpec, StudyState, TrialState
from tunewright.workload import WorkloadInfo

T = TypeVar("T")

# [resource, value]. Told as a list of two alike, as many programs that read OpenAPI documents know no `prefixItems`.
Point = Annotated[
    tuple[float, float],
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]


class Page(View, Generic[T]):
    """One page of a list.

    Attributes:
        next_cursor: pass it as `cursor` to get the next page; None on the last one.
    """

    items: list[T]
    next_cursor: str | None = None


class Best(View):
    """The incumbent, or one trial of the Pareto set."""

    trial: int
    # Not the union of what a value can be: trying its members for every value costs most of a page's time.
    config: dict[str, Any]
    resource: float
    metrics: dict[str, float]


class StudySummary(View):
    """A study as lists show it.

    Attributes:
        project: the name space in which it is.
        wanted: `run`, `pause` or `cancel`: what a person asked for last; `state` follows it.
        reason: why the study is in its state, when that is not obvious.
        counts: number of trials in each state; states without trials are left out.
        priority: its share of the cluster beside other studies, and who starts first.
        tags: words to find it by.
        revision: how often its name, priority, tags or notes were changed.
        objectives: what its metrics are measured by.
        progress: done share of the budget, 0 to 1.
        seconds_left: estimate from the progress so far; None while there is none.
        active_seconds: wall time during which the study ran.
        cluster_seconds: time that trials ran, summed over those that ran side by side.
    """

    id: str
    name: str
    project: str = DEFAULT_PROJECT
    workload: str
    optimizer: str
    state: StudyState
    wanted: str
    reason: str | None = None
    priority: Priority = Priority.NORMAL
    tags: list[str] = Field(default_factory=list)
    revision: int = 0
    objectives: list[Objective] = Field(default_factory=list)
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    active_seconds: float = 0.0
    cluster_seconds: float = 0.0
    counts: dict[TrialState, int] = Field(default_factory=dict)
    progress: float = 0.0
    seconds_left: float | None = None
    best: list[Best] = Field(default_factory=list)

    @property
    def trials(self) -> int:
        """Number of trials started."""
        return sum(self.counts.values())


class Study(StudySummary):
    """A study with everything that was said at submission, completed from its workload."""

    spec: StudySpec


class Trial(View):
    """One configuration and where it stands.

    Attributes:
        id: `<study>-<number>`.
        resource: largest resource reported.
        metrics: those of the report at `resource`.
        seconds: time spent running, over all its jobs.
        problem: why it failed, in one line.
        retry_of: number of the failed trial whose configuration it tries again.
    """

    id: str
    study: str
    number: int
    state: TrialState
    config: dict[str, Any]
    resource: float = 0.0
    metrics: dict[str, float] = Field(default_factory=dict)
    rung: int | None = None
    bracket: int | None = None
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float = 0.0
    problem: str | None = None
    retry_of: int | None = None


class Job(View):
    """One leg of a trial, with how it went.

    Attributes:
        parent: number of the trial from whose state at `start` this trial begins; None: it goes on from its own.
        state: `running`, or how it ended: completed, failed, cancelled, lost.
        attempts: how often it was started; above 1 after a worker was lost or the study was paused.
        why: the optimizer's reasons.
        worker: `host:pid` of the last attempt.
    """

    number: int
    trial: int
    start: float
    end: float
    rung: int | None = None
    bracket: int | None = None
    parent: int | None = None
    state: str
    attempts: int
    why: dict[str, Any] = Field(default_factory=dict)
    worker: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    problem: str | None = None
    traceback: str | None = None


class PlotInfo(View):
    """A plot that can be asked for.

    Attributes:
        choose: which of `parameter` and `second` it takes; both have defaults.
        parameters: from which they are chosen.
    """

    name: str
    title: str
    choose: list[str] = Field(default_factory=list)
    parameters: list[str] = Field(default_factory=list)


class Plot(View):
    """A plot as data for Plotly.

    Attributes:
        summary: the plot in one sentence.
        note: what is not shown, or why nothing is.
        data: traces.
        x, y: the axes, with their titles as text.
    """

    name: str
    title: str
    summary: str = ""
    note: str = ""
    data: list[dict[str, Any]] = Field(default_factory=list)
    x: dict[str, Any] = Field(default_factory=dict)
    y: dict[str, Any] = Field(default_factory=dict)


class TrialDetail(Trial):
    """A trial with its jobs, and the end of its log (`GET /v1/trials/{id}/log` has all that is kept of it).

    Attributes:
        notes: what somebody noted about it.
    """

    jobs: list[Job]
    notes: str = ""
    log: str = ""


class AskedJob(View):
    """A job that was asked for from outside: train under `config` from resource `start` to resource `end`.

    Attributes:
        id: names this attempt at the job; to be told with.
        trial, parent: ids of trials; the state to go on from, where `start` is above 0, is the parent's if it has one.
        seed: the trial's seed, the same in all its jobs.
        lease_seconds: say something at least this often, or the job may be given to somebody else.
    """

    id: str
    study: str
    trial: str
    config: dict[str, Any]
    start: float
    end: float
    parent: str | None = None
    seed: int
    lease_seconds: float


class AskedJobs(View):
    """The answer to an ask.

    Attributes:
        jobs: none while there is nothing to do; ask again, unless the study is over.
        state: of the study.
        over: there will be no more jobs.
        reason: why there is none.
    """

    jobs: list[AskedJob]
    state: StudyState
    over: bool = False
    reason: str | None = None


class Told(View):
    """The answer to reports and heartbeats.

    Attributes:
        answer: `continue`; `stop`: the trial is to end now, finish the job; `abandon`: somebody else has it, or it has
            ended, and nothing more is wanted of it.
    """

    answer: str


class FinishedJob(View):
    """The answer to the end of a job.

    Attributes:
        ended: this has ended the job; otherwise `reason` says what had become of it before, and its reports are kept.
        next: the answer to what was asked for beside.
    """

    ended: bool
    reason: str | None = None
    next: AskedJobs | None = None


class QueuedConfig(View):
    """A configuration that somebody wants to be tried.

    Attributes:
        number: its place in the study's queue, counted from 0.
        config: whole: what was left out when it was enqueued is the default.
        trial: id of the trial that it became; None while it waits.
        retry_of: id of the failed trial that it repeats, if it does.
    """

    study: str
    number: int
    config: dict[str, Any]
    created_at: datetime
    trial: str | None = None
    retry_of: str | None = None


class LogPage(View):
    """A part of what a trial has printed; positions count characters from the beginning of its log.

    Attributes:
        start: position of the text's first character.
        left_out: so many characters before `start`, from the position asked for, were not kept.
        next_position: where to read on.
        more: there is more of it already.
        end: of the log so far.
        over: the trial is over; otherwise more may come.
    """

    start: int
    text: str
    left_out: int = 0
    next_position: int
    more: bool = False
    end: int = 0
    over: bool = False

    @property
    def whole_text(self) -> str:
        """The text, after a line about what was left out before it."""
        return f"\n[{self.left_out:,} characters left out]\n{self.text}" if self.left_out else self.text


class Measurement(View):
    """One report as stored.

    Attributes:
        late: it came after its job had ended; shown, but the optimizer did not see it.
    """

    resource: float
    metrics: dict[str, float]
    job: int
    attempt: int
    at: datetime
    late: bool = False


class Curve(View):
    """A learning curve, thinned for drawing.

    Attributes:
        points: [resource, value] pairs, by resource.
    """

    trial: int
    state: TrialState
    points: list[Point]


class Curves(View):
    """Learning curves of a study, the best and the newest trials first.

    Attributes:
        total: trials that have a curve; `curves` may show fewer.
    """

    metric: str
    direction: str
    resource: str
    curves: list[Curve]
    total: int


class Improvement(View):
    """A moment at which the best known trial changed (or got better).

    Attributes:
        seconds: active seconds of the study until then.
        trials: trials started until then.
    """

    at: datetime
    seconds: float
    trials: int
    best: Best


class OptimizerInfo(View):
    """An optimizer that studies can choose, with the JSON schema of its settings."""

    name: str
    description: str
    settings: dict[str, Any]


class Workloads(View):
    """Registered workloads; `problems` says of the others why they cannot be loaded."""

    items: list[WorkloadInfo]
    problems: dict[str, str] = Field(default_factory=dict)


class Severity(StrEnum):
    """How bad a finding is: `problem`: nothing goes on until somebody acts; `warning`: something may be wrong; `note`:
    all is well, and this is why it looks as it does."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


class Finding(View):
    """Something that explains why a service or a study is not getting on.

    Attributes:
        code: names the kind of finding, for programs.
        seen: what there is to see, with numbers.
        why: what that means.
        remedy: what to do about it.
        study: id of the study that it is about; None when it is about the service.
    """

    severity: Severity
    code: str
    seen: str
    why: str
    remedy: str
    study: str | None = None


class Diagnosis(View):
    """Why nothing is running, or why all is well: findings, the worst first.

    Attributes:
        study: id of the study that was looked at; None: the service as a whole.
        well: nothing is wrong: there are notes at most.
    """

    at: datetime
    study: str | None = None
    well: bool
    findings: list[Finding]


# The kind of event that says that others were missed.
MISSED = "missed"


class Event(View):
    """Something that happened, as `/v1/events` sends it.

    `study`: the study's state changed. `progress`: jobs started or ended, or reports came in. `missed`: what happened
    before was too long ago to be kept; fetch anew what you show.

    Of a tuning session: `session`: what it is, or what is wanted of it, changed. `interval`: one has ended. `notice`:
    people should know something. `settings`: others stand on the server.

    Attributes:
        id: pass it as Last-Event-ID to go on after this event.
        study: id of the study, or of the tuning session.
        body: for `study`: state, reason; for `progress`: jobs, reports, ended, counts, progress, seconds_left, best;
            for `session`: state, reason, and totals; for `interval`: an `IntervalView` without its longest parts, and
            under `session` the totals; for `notice`: a `NoticeView`; for `settings`: under `settings` what stands.
    """

    id: int
    kind: str
    study: str
    project: str = DEFAULT_PROJECT
    at: datetime
    body: dict[str, Any]


class AuditEntry(View):
    """Something that was done or refused.

    Attributes:
        token: id of the token that was used; None without one.
        name: the token's name; `local` where none is asked for, `unknown` where it was not valid.
        verb: the request's method, or the command that was given on the server's machine.
        resource: the path, or what the command was about.
        outcome: the answer's status code; `done` for a command.
        address: where the request came from.
        count: how often, where the same came again and again within a minute.
    """

    id: int
    at: datetime
    token: str | None = None
    name: str
    verb: str
    resource: str
    outcome: str
    address: str = ""
    count: int = 1

"""What the service shows of everything at once: the JSON of `GET /v1/overview`, as Python types."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tunewright._view import View
from tunewright.session import SessionState
from tunewright.session_views import SessionSummary
from tunewright.study import StudyState
from tunewright.views import Finding, StudySummary


class ClusterView(View):
    """The Ray cluster as the conductor saw it last.

    Attributes:
        nodes: that are alive.
        cpus, gpus: that there are; `free_cpus`, `free_gpus` those that nothing occupies.
        seconds_ago: when that was.
    """

    nodes: int
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    seconds_ago: float


class Failure(View):
    """Something that went wrong of late and is worth a look.

    Attributes:
        kind: a `study` that failed; `trials` of a study that failed while it goes on or has come through; a `session`
            that was ended by a fault, or by somebody else's changes.
        id: of the study or session.
        problem: what went wrong, in a line.
        trial: id of the newest trial that failed, if one did.
        failed, trials: how many trials failed, of how many; 0 for sessions.
    """

    kind: Literal["study", "trials", "session"]
    id: str
    name: str
    at: datetime
    problem: str = ""
    trial: str | None = None
    failed: int = 0
    trials: int = 0


class Overview(View):
    """What is under way, on which cluster, and what went wrong of late; of one project, for a token of one.

    Attributes:
        places: studies that may run at once.
        studies, sessions: number in each state; states without any are left out.
        running_trials: of all studies.
        running, waiting: studies that run, and that wait for a place, newest first; the counts tell of more.
        tuning: sessions that are not over, newest first.
        cluster: None before it was seen, or where another service sees to it.
        failures: of the last seven days, newest first.
        findings: problems and warnings of the service as a whole, the worst first.
    """

    at: datetime
    places: int
    studies: dict[StudyState, int] = Field(default_factory=dict)
    sessions: dict[SessionState, int] = Field(default_factory=dict)
    running_trials: int = 0
    running: list[StudySummary] = Field(default_factory=list)
    waiting: list[StudySummary] = Field(default_factory=list)
    tuning: list[SessionSummary] = Field(default_factory=list)
    cluster: ClusterView | None = None
    failures: list[Failure] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)

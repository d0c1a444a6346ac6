"""What the service tells of how a trial and a study went: the JSON of its REST API, as Python types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewright._view import View
from tunewright.study import TrialState
from tunewright.views import Point


class TrialCurve(View):
    """A trial's learning curve beside what is usual in its study, both thinned for drawing.

    Attributes:
        direction: `minimize` or `maximize`; None for a metric that is no objective.
        resource: name of the resource.
        points: [resource, value] pairs, by resource.
        median: the same of the median over the newest completed trials of the study, this one left out; between two
            reports of a trial its value is interpolated, and only resources that half of them reached are told.
        finished: how many trials that median is of.
    """

    metric: str
    direction: str | None = None
    resource: str
    points: list[Point] = Field(default_factory=list)
    median: list[Point] = Field(default_factory=list)
    finished: int = 0


class Kin(View):
    """A trial from which another one came.

    Attributes:
        id: of the trial.
        how: the other one is a `copy` with changed settings that went on from its state, or a `retry` of the same
            settings after it failed.
        resource: that of the state which was copied; 0 for a retry.
    """

    id: str
    number: int
    state: TrialState
    how: Literal["copy", "retry"]
    resource: float = 0.0


class Lineage(View):
    """Where a trial came from, what came of it, and which of its states are kept.

    Attributes:
        ancestors: the trial that it came from, the one that that came from, and so on; 100 at most.
        descendants: trials that came from this one directly, by number; 100 at most.
        states: resources of the saved states that are kept, the newest first; None where they cannot be looked at now.
    """

    ancestors: list[Kin] = Field(default_factory=list)
    descendants: list[Kin] = Field(default_factory=list)
    states: list[float] | None = Field(default_factory=list)


class Spent(View):
    """What a study had used at some moment.

    Attributes:
        trials: that were started.
        seconds: during which the study ran.
        resource: that its trials had been trained for, together; within a leg it is taken to grow evenly.
    """

    trials: int
    seconds: float
    resource: float


class Step(Spent):
    """A moment at which the incumbent got better, and how good it was; None: no number, or a bound was missed."""

    trial: int
    value: float | None = None


class Progression(View):
    """How the incumbent got better by what had been spent: trials, time and resource.

    Attributes:
        metric: the first objective without a bound.
        resource: name of the resource.
        steps: oldest first, thinned.
        now: what has been spent until now, or until the study ended.
    """

    metric: str
    resource: str
    steps: list[Step] = Field(default_factory=list)
    now: Spent

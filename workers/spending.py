"""What a study has used of its budget, and when that is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optimizers.protocol import Incumbent, violation
from tunewright.study import StudySpec, first_goal
from workers.standing import Standing


@dataclass(frozen=True)
class Spent:
    """What was used until some moment.

    Attributes:
        active_seconds: wall time during which the study ran.
        cluster_seconds: time that legs ran, summed over those that ran side by side.
        improved_at: trials that were started until the best known trial changed last.
    """

    active_seconds: float = 0.0
    cluster_seconds: float = 0.0
    improved_at: int = 0


class Spending:
    """Counts on from what an earlier runner had counted."""

    def __init__(self, spec: StudySpec, before: Spent, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._spec = spec
        self._before = before
        self._monotonic = monotonic
        self._since = self._counted_at = monotonic()
        self.cluster_seconds = before.cluster_seconds
        self.improved_at = before.improved_at

    @property
    def active_seconds(self) -> float:
        return self._before.active_seconds + self._monotonic() - self._since

    def pass_time(self, running: int) -> None:
        """So many legs ran since the last call."""
        now = self._monotonic()
        self.cluster_seconds += running * (now - self._counted_at)
        self._counted_at = now

    def enough(self, standing: Standing, incumbents: Sequence[Incumbent]) -> str | None:
        """Why the study is to end now; None while its budget lasts. The optimizer counts trials by itself."""
        budget = self._spec.budget
        if budget.seconds is not None and self.active_seconds >= budget.seconds:
            return f"the budget of {budget.seconds:g} seconds is used up"
        if budget.cluster_seconds is not None and self.cluster_seconds >= budget.cluster_seconds:
            return f"the budget of {budget.cluster_seconds:g} cluster seconds is used up"
        if budget.target is not None and reached(self._spec, budget.target, incumbents):
            return f"the target of {budget.target:g} is reached"
        if budget.patience is not None and self._tried_in_vain(standing) >= budget.patience:
            return f"the last {budget.patience} trials brought nothing better"
        return None

    def progress(self, standing: Standing) -> float:
        """Done share of the budget, below 1."""
        budget = self._spec.budget
        used = (
            (standing.resting, budget.trials),
            (self.active_seconds, budget.seconds),
            (self.cluster_seconds, budget.cluster_seconds),
        )
        return min(max((spent / limit for spent, limit in used if limit is not None), default=0.0), 0.999)

    def _tried_in_vain(self, standing: Standing) -> int:
        """Trials that have run since the best one was found; those that run now may still be better."""
        return standing.resting - self.improved_at


def reached(spec: StudySpec, target: float, incumbents: Sequence[Incumbent]) -> bool:
    """Whether a trial that was trained whole is within all bounds and as good as the target."""
    assert spec.fidelity is not None
    objective, whole = first_goal(spec.objectives), spec.fidelity.max
    return any(
        incumbent.resource >= whole
        and not violation(incumbent.metrics, spec.objectives)
        and objective.sign * incumbent.metrics[objective.metric] <= objective.sign * target
        for incumbent in incumbents
    )

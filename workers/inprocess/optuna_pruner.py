"""A pruner for Optuna: asynchronous successive halving in its stopping form, on the rungs of Tunewright."""

from __future__ import annotations

import math
from collections.abc import Mapping

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from optimizers.errors import OptimizerError
from optimizers.hyperband import asha_continues, rung_levels
from tunewright.study import Fidelity


class TunewrightPruner(BasePruner):  # type: ignore[misc]
    """Stops a trial at a rung unless it is in the best 1/eta of those that came there before it.

    What may be relied on:
        - it keeps nothing: what it decides follows from the intermediate values in the study's storage, so that
          several processes can share one, and a study can be gone on with;
        - it decides when a trial's step reaches a rung, and never between two; a trial that reports rarely is judged
          by its first value from the rung on;
        - nan is never good enough, and the first at a rung always is; failed trials count as worse than any.

    Args:
        max_resource: step at which a trial is whole.
        min_resource: the least step at which one is judged.
        eta: one in so many goes on.
    Raises:
        OptimizerError: the three do not fit together.
    """

    def __init__(self, max_resource: int, min_resource: int = 1, eta: float = 3) -> None:
        try:
            fidelity = Fidelity(name="step", min=min_resource, max=max_resource)
        except ValidationError as error:
            problem = error.errors()[0]
            field = f"{problem['loc'][0]}_resource: " if problem["loc"] else ""
            raise OptimizerError(f"{field}{problem['msg']}") from None
        # Who has come to the last rung has nothing left to be stopped from.
        self._levels = rung_levels(fidelity, eta)[:-1]
        self._eta = eta

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        steps = sorted(trial.intermediate_values)
        if not steps:
            return False
        before = steps[-2] if len(steps) > 1 else -math.inf
        reached = [k for k, level in enumerate(self._levels) if before < level <= steps[-1]]
        if not reached:
            return False
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        return not all(self._continues(study, trial, k, sign) for k in reached)

    def _continues(self, study: Study, trial: FrozenTrial, rung: int, sign: float) -> bool:
        own = sign * trial.intermediate_values[trial.last_step]
        if math.isnan(own):
            return False
        rank = measured = 0
        for other in study.get_trials(deepcopy=False):
            loss = _loss(other.intermediate_values, self._levels[rung], sign)
            if other.number == trial.number or (loss is None and not self._failed_on_the_way(other, rung)):
                continue
            measured += 1
            rank += loss is not None and loss < own
        return asha_continues(rank, measured + 1, self._eta)

    def _failed_on_the_way(self, trial: FrozenTrial, rung: int) -> bool:
        """Whether a trial failed after the rung below this one."""
        if trial.state is not TrialState.FAIL:
            return False
        return rung == 0 or any(step >= self._levels[rung - 1] for step in trial.intermediate_values)


def _loss(values: Mapping[int, float], level: float, sign: float) -> float | None:
    """What a trial was worth at a rung; nan is worth nothing, None: it did not come there."""
    step = min((step for step in values if step >= level), default=None)
    if step is None:
        return None
    return math.inf if math.isnan(values[step]) else sign * values[step]

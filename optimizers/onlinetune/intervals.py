"""The facts of a tuning session: what is tuned, what was suggested, what came of it.

They are Pydantic models because they pass through a journal as JSON: what comes back equals what went in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from optimizers.errors import OptimizerError
from tunewright.errors import SpaceError
from tunewright.space import Config, SearchSpace, Value
from tunewright.study import Objective

Kind: TypeAlias = Literal["reference", "centre", "safe", "expander", "advice"]
Shape: TypeAlias = Literal["region", "line"]


@dataclass(frozen=True)
class Target:
    """What a session tunes.

    Attributes:
        space: the knobs; conditions are not supported, since a server always has all of its settings.
        reference: the settings against which safety is measured: the server's when the session began, or the DBA's.
        objective: one number per interval, positive; a weighted combination is combined by whoever measures it.
        features: names of the context's numbers, in their order.
        seconds: nominal length of an interval.
        seed: of every random draw.
    """

    space: SearchSpace
    reference: Config
    objective: Objective
    features: Sequence[str]
    seconds: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", self.space.validate_config(self.reference))
        conditional = next((p.name for p in self.space.parameters if p.when), None)
        if conditional is not None:
            raise OptimizerError(f'target.space: knob "{conditional}" has a condition; knobs of a server have none')
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise OptimizerError(f"target.seconds: {self.seconds} must be positive")
        if not self.features:
            raise OptimizerError("target.features: name at least one number of the context, such as the arrival rate")
        if self.objective.bound is not None:
            raise OptimizerError(f'target.objective: "{self.objective.metric}" has a bound; the reference is the bound')

    def gain(self, performance: float) -> float:
        """Logarithm of a performance, with the sign with which more is better."""
        return -self.objective.sign * math.log(performance)

    def performance(self, gain: float) -> float:
        """The performance of which `gain` is the logarithm."""
        return math.exp(min(max(-self.objective.sign * gain, -600.0), 600.0))

    def context(self, context: Sequence[float]) -> tuple[float, ...]:
        """The context, checked.

        Raises:
            OptimizerError: it has another length than `features`, or a number that is not finite.
        """
        if len(context) != len(self.features):
            raise OptimizerError(
                f"context: {len(context)} numbers, but this session's contexts have {len(self.features)}"
                f" ({', '.join(self.features)}); a session that measures others must be a new one"
            )
        for name, value in zip(self.features, context, strict=True):
            if not math.isfinite(value):
                raise OptimizerError(f'context: "{name}" is {value}; measure again, or suggest nothing this interval')
        return tuple(float(value) for value in context)


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Suggestion(_Fact):
    """Settings for the next interval, and why.

    Gains and bounds are relative to the reference's performance in the same context: 0.1 is a tenth better, whichever
    direction better is.

    Attributes:
        number: of the interval, from 0.
        kind: `reference`; `centre`: the best settings known to be safe; `safe`: the most promising safe ones;
            `expander`: at the border of the safe set; `advice`: a rule's, which the model cannot vouch for.
        config, point: the settings, and their (d,) point in the unit cube.
        cluster: of contexts, whose model decided.
        shape: the subspace that was searched; None for `reference`, and before there is a model.
        direction: (d,) of the line.
        centre, centre_gain: of the subspace: its (d,) point and expected gain.
        reference_performance: expected of the reference in this context, in the objective's unit.
        doubt: deviation of the logarithm of that expectation.
        gain, lower: expected, and the pessimistic bound.
        abort_below: performance (above it where less is better) that a sequential test should defend; see `sequential`.
        precision: to which the reference is to be known, as a deviation of its logarithm; 0: as precisely as an
            interval allows. See `reference_seconds`.
        testing: id of the rule that these settings test.
        contradicted: ids of rules that stood in the way of what the model likes best.
        advised: id of the rule whose advice these settings are.
        why: reasons in words and numbers, for people (JSON values).
    """

    number: int
    kind: Kind
    config: dict[str, Value]
    point: tuple[float, ...]
    cluster: int = 0
    shape: Shape | None = None
    direction: tuple[float, ...] | None = None
    centre: tuple[float, ...]
    centre_gain: float = 0.0
    reference_performance: float | None = None
    doubt: float | None = None
    gain: float = 0.0
    lower: float = 0.0
    abort_below: float | None = None
    precision: float = 0.0
    testing: str | None = None
    contradicted: tuple[str, ...] = ()
    advised: str | None = None
    why: Mapping[str, Any] = Field(default_factory=dict)


class Expected(_Fact):
    """What was expected of an interval in the context that it turned out to have, before it was learnt from.

    Attributes:
        reference: performance of the reference, in the objective's unit.
        doubt: deviation of the logarithm of that.
        gain: of the settings over the reference.
    """

    reference: float
    doubt: float
    gain: float


class Interval(_Fact):
    """What one interval came to.

    Attributes:
        suggestion: that it ran under; None where somebody else's settings were measured.
        config: what was really set; servers clamp and round.
        context: measured over the interval.
        performance: of these settings, over `seconds`; None where they could not be measured (the server rejected
            them or died of them), which counts as unsafe.
        seconds: over which it was measured.
        aborted: a sequential test ended it early.
        expected: see `OnlineTune.expecting`; a runner keeps it, so that who learns again need not work it out again.
    """

    suggestion: Suggestion | None = None
    config: dict[str, Value]
    context: tuple[float, ...]
    performance: float | None
    seconds: float
    aborted: bool = False
    expected: Expected | None = None


def checked(interval: Interval, target: Target, number: int) -> Interval:
    """An interval that a session may learn from, as its `number`-th.

    Raises:
        OptimizerError: it does not fit the session, its performance has no logarithm, or a setting has no place on its
            knob's scale.
    """
    if interval.suggestion is not None and interval.suggestion.number != number:
        raise OptimizerError(f"interval.suggestion: number {interval.suggestion.number}, but {number} comes next")
    target.context(interval.context)
    missing = next((name for name in target.space.names if name not in interval.config), None)
    if missing is not None:
        raise OptimizerError(f'interval.config: "{missing}" is missing; give what the server reports for every knob')
    for name in target.space.names:
        _placed(target.space, name, interval.config[name])
    if not (math.isfinite(interval.seconds) and interval.seconds > 0):
        raise OptimizerError(f"interval.seconds: {interval.seconds} must be positive; leave out an empty interval")
    value = interval.performance
    if value is not None and not (math.isfinite(value) and value > 0):
        raise OptimizerError(
            f"interval.performance: {value} has no logarithm; give a positive number, or None where these settings"
            " made measuring impossible"
        )
    return interval


def _placed(space: SearchSpace, name: str, value: Value) -> None:
    """Raise unless a value has a place on its knob's scale."""
    try:
        place = float(space[name].encode(value))
    except (SpaceError, TypeError, ValueError) as error:
        raise OptimizerError(f'interval.config: "{name}" cannot be {value!r}: {error}') from error
    if not math.isfinite(place):
        raise OptimizerError(f'interval.config: "{name}" cannot be {value!r}')

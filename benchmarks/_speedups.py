"""From simulated runs to regret, ranks and speed-ups: pure functions.

An outcome's value at a time is the smallest loss that was measured at the full resource until then. Partly trained
models do not count: their losses are not what a study is after, and on a curve that turns upwards they flatter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Regrets below this count as this in geometric means; the best recorded configuration has regret 0.
FLOOR = 1e-3
REPLICATES = 2000


@dataclass(frozen=True)
class Outcome:
    """What one run of one method reached.

    Attributes:
        steps: (seconds, loss) whenever the value improved, in order.
        horizon: seconds after which nothing counts.
        trials: configurations started.
        utilisation: share of the workers' time spent in training.
        thinking: real seconds of the whole simulation, peers' processes included.
    """

    steps: Sequence[tuple[float, float]]
    horizon: float
    trials: int
    utilisation: float
    thinking: float

    @property
    def final(self) -> float:
        """The value at the horizon; infinite if nothing was trained whole."""
        return self.steps[-1][1] if self.steps else math.inf

    def reaches(self, value: float) -> float:
        """When the value was at most this; infinite if never."""
        return next((seconds for seconds, loss in self.steps if loss <= value), math.inf)


def improvements(measured: Sequence[tuple[float, float]], horizon: float) -> list[tuple[float, float]]:
    """The (seconds, loss) at which the smallest loss so far fell, up to the horizon."""
    steps: list[tuple[float, float]] = []
    for seconds, loss in measured:
        if seconds <= horizon and (not steps or loss < steps[-1][1]):
            steps.append((seconds, loss))
    return steps


def regret(outcome: Outcome, shares: NDArray[np.float64], best: float, reference: float) -> NDArray[np.float64]:
    """(loss - best) / (reference - best) at shares of the horizon, cut to [0, 1]; 1 before the first value.

    Args:
        shares: (n,) in [0, 1].
        best: smallest loss there is.
        reference: loss of a training at random: the median of the table.
    Returns:
        (n,)
    """
    seconds = np.array([0.0, *(step[0] for step in outcome.steps)])
    values = np.array([1.0, *((step[1] - best) / (reference - best) for step in outcome.steps)])
    at = np.searchsorted(seconds, shares * outcome.horizon, side="right") - 1
    return np.asarray(np.clip(values[at], 0.0, 1.0))


def anytime_regret(outcome: Outcome, best: float, reference: float) -> float:
    """Mean regret over the time until the horizon."""
    times = np.array([0.0, *(step[0] for step in outcome.steps), outcome.horizon])
    levels = np.array([1.0, *((step[1] - best) / (reference - best) for step in outcome.steps)])
    return float(np.clip(levels, 0.0, 1.0) @ np.diff(times)) / outcome.horizon


@dataclass(frozen=True)
class Speedup:
    """How much sooner we were where a rival ended, in one run of each with the same seed.

    Attributes:
        ratio: the rival's time to its own final value, over ours to that value. Who never gets there is given the
            horizon as its time, which is less than it needs: against us if it is us, and the other way round.
        ours_censored, rival_censored: whether that happened.
    """

    ratio: float
    ours_censored: bool
    rival_censored: bool


def speedup(ours: Outcome, rival: Outcome) -> Speedup | None:
    """Compare two runs; None where neither trained anything whole.

    A rival that trained nothing whole has no final value: then any value of ours is where it did not get.
    """
    target = rival.final
    theirs, own = rival.reaches(target), ours.reaches(target)
    if math.isinf(theirs) and math.isinf(own):
        return None
    return Speedup(min(theirs, rival.horizon) / min(own, ours.horizon), math.isinf(own), math.isinf(theirs))


def geometric_mean(values: Sequence[float]) -> float:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("geometric mean of nothing")
    return math.exp(sum(math.log(value) for value in values) / len(values))


def interval(ratios: Mapping[str, Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """95% bootstrap interval of the geometric mean over tasks of the geometric mean over seeds.

    Tasks are drawn with replacement, then seeds within each: what other tasks and other seeds would have given.

    Args:
        ratios: task -> ratio per seed, not empty.
    """
    rng = np.random.default_rng(seed)
    logs = [np.log(np.asarray(values)) for values in ratios.values()]
    means = np.empty(REPLICATES)
    for replicate in range(REPLICATES):
        tasks = rng.integers(len(logs), size=len(logs))
        means[replicate] = np.mean([rng.choice(logs[task], len(logs[task])).mean() for task in tasks])
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    return float(low), float(high)


def ranks(values: Sequence[float]) -> list[float]:
    """Rank of each value, 1 the smallest; equal values share the mean of their ranks."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]

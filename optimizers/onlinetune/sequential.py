"""When to stop an interval early: a sequential test of "not below the reference", second by second.

Logarithms of per-second performance are taken for an autoregressive process of order one around a mean. What each
second adds to what the last one foretold is independent noise with a known mean, so that a mixture likelihood ratio
against all lower means is a supermartingale as long as the settings are not below the bound: it may be looked at every
second, and the probability that it ever passes 1 / alpha is at most alpha (Robbins, 1970; Johari et al., 2022).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from optimizers.errors import OptimizerError

# Beyond it the estimate itself is too uncertain to whiten with.
_MOST_CORRELATED = 0.9
# A second in which nothing was finished counts as this part of the bound.
_STALL = 0.05
# What anything is measured for at least, of an interval and in seconds.
LEAST_SHARE, _LEAST_SECONDS = 1.0 / 3.0, 2.0
# Intervals whose seconds tell their noise.
_STRETCHES = 8
# Deviations that one second may speak for at most: servers have checkpoints and hiccups, and logarithms have no
# normal tails. Cut off on both sides, the mean at the bound stays what it is.
_SURPRISE = 3.0


@dataclass(frozen=True)
class SecondNoise:
    """How the logarithm of performance varies from second to second under settings that do not change.

    Attributes:
        deviation: over many seconds.
        correlation: of neighbouring seconds, in [0, 0.9].
    """

    deviation: float
    correlation: float

    @classmethod
    def of(cls, stretches: Sequence[Sequence[float]]) -> SecondNoise:
        """From stretches of seconds, each under one setting and load: the reference's intervals.

        Each stretch has a mean of its own. An estimate of the correlation from few seconds is too low on average by
        about (1 + 4 r) / n (Kendall, 1954); that is put back, so that alarms are not raised by smooth noise.

        Raises:
            OptimizerError: fewer than eight seconds in all, or a performance that is not positive.
        """
        logs = [_logs(stretch) for stretch in stretches if len(stretch) >= 2]
        n = sum(len(each) for each in logs)
        if n < 8:
            raise OptimizerError(f"second noise: {n} seconds are too few; measure the reference for 8 at least")
        centred = [each - each.mean() for each in logs]
        # Each stretch gave away one degree of freedom for its mean.
        variance = sum(float(each @ each) for each in centred) / max(1, n - len(centred))
        if variance <= 1e-12:
            return cls(1e-6, 0.0)
        pairs = sum(len(each) - 1 for each in centred)
        raw = sum(float(each[1:] @ each[:-1]) for each in centred) / pairs / variance
        correlation = min(max(raw + len(centred) * (1.0 + 4.0 * raw) / n, 0.0), _MOST_CORRELATED)
        return cls(math.sqrt(variance), correlation)

    def seconds(self, precision: float) -> float:
        """After so many, the logarithm of their mean is known to `precision` (one deviation); infinite for 0."""
        spread = self.deviation**2 * (1.0 + self.correlation) / (1.0 - self.correlation)
        return spread / precision**2 if precision > 0 else math.inf


class NoiseMeter:
    """What is known of the noise of seconds, from the newest intervals that were not ended early.

    Older ones were perhaps under another load.

    Args:
        noise: known before, until enough was heard.
    """

    def __init__(self, noise: SecondNoise | None = None) -> None:
        self.noise = noise
        self._stretches: deque[Sequence[float]] = deque(maxlen=_STRETCHES)

    def hear(self, samples: Sequence[float]) -> None:
        """Take in the seconds of one interval, under one setting; those in which nothing was finished are left out."""
        self._stretches.append([value for value in samples if math.isfinite(value) and value > 0])
        try:
            self.noise = SecondNoise.of(self._stretches)
        except OptimizerError:
            # Too few seconds yet.
            pass


def reference_seconds(noise: SecondNoise | None, precision: float, interval: float, left: float | None = None) -> float:
    """How long the reference is measured, of an interval or of what is left of one: not longer than it tells anything.

    While it is, nothing is gained; so it is measured until it is known well enough, and the next settings follow at
    once. Not for less than a third of an interval or two seconds, since there is slower noise than that of seconds;
    and to the end where less than that would remain for what follows.

    Args:
        noise: of seconds; None while it is not known.
        precision: deviation of the logarithm to which it is to be known.
        interval: its nominal seconds.
        left: seconds; None means all of it.
    """
    left = interval if left is None else left
    least = max(interval * LEAST_SHARE, _LEAST_SECONDS)
    wanted = interval if noise is None else max(least, noise.seconds(precision))
    return left if left - wanted < 0.99 * least else wanted


class SequentialTest:
    """Watches one interval.

    Args:
        bound: performance that is to be defended, in the objective's unit, above 0.
        maximize: whether more is better.
        noise: of seconds.
        alpha: probability of ever raising an alarm while the settings are exactly at the bound; less if better.
        effect: size of the shortfalls that are looked for, as a logarithm; the test finds larger and smaller ones too.
        warmup: first seconds that are not judged, while new settings take hold.
    """

    def __init__(
        self,
        bound: float,
        *,
        maximize: bool,
        noise: SecondNoise,
        alpha: float = 0.01,
        effect: float = 0.2,
        warmup: int = 2,
    ) -> None:
        if not (math.isfinite(bound) and bound > 0):
            raise OptimizerError(f"sequential test: bound {bound} must be positive")
        if not 0 < alpha < 1:
            raise OptimizerError(f"sequential test: alpha {alpha} must lie between 0 and 1")
        self._bound, self._sign = math.log(bound), 1.0 if maximize else -1.0
        self._noise, self._left = noise, warmup
        self._limit = -math.log(alpha)
        r = noise.correlation
        self._shift = 1.0 - r
        self._variance = max(noise.deviation**2 * (1.0 - r * r), 1e-12)
        # Spread of the mixture over the mean of an innovation.
        self._spread = (effect * self._shift) ** 2
        self._last: float | None = None
        self._sum, self._seen = 0.0, 0

    def observe(self, performance: float) -> bool:
        """Take in the next second; whether the interval should end now.

        Args:
            performance: of this second; 0, NaN or infinity: nothing was finished in it.
        """
        if self._left > 0:
            self._left -= 1
            return False
        value = self._margin(performance)
        if self._last is None:
            self._last = value
            return False
        foretold = self._noise.correlation * self._last
        most = _SURPRISE * math.sqrt(self._variance)
        surprise = min(max(value - foretold, -most), most)
        self._sum += surprise
        self._seen += 1
        # What was cut off is taken for no part of the noise, or the second after a stall would outweigh it.
        self._last = foretold + surprise
        return self.evidence >= self._limit

    @property
    def evidence(self) -> float:
        """Logarithm of the likelihood ratio: half-normal mixture over lower means, against the bound itself."""
        total = self._variance + self._seen * self._spread
        z = -self._sum * math.sqrt(self._spread / (self._variance * total))
        shrink = 0.5 * math.log(self._variance / total)
        return math.log(2.0) + shrink + 0.5 * z * z + float(log_ndtr(z))

    def _margin(self, performance: float) -> float:
        """How far a second was above the bound, as a logarithm; a stall counts as a bad second, not as the end."""
        floor = math.log(_STALL)
        if not (math.isfinite(performance) and performance > 0):
            return floor
        return max(self._sign * (math.log(performance) - self._bound), floor)


def _logs(stretch: Sequence[float]) -> NDArray[np.float64]:
    values = np.array(stretch, dtype=np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise OptimizerError("second noise: every second's performance must be positive; leave stalled seconds out")
    return np.log(values)

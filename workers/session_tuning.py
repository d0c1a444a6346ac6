"""What a session knows: the tuner, the noise of seconds, and the best settings so far; all from what was measured."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from db_knobs.knob import Applies, to_space
from optimizers.onlinetune import (
    Interval,
    NoiseMeter,
    OnlineTune,
    OnlineTuneSettings,
    Rule,
    SecondNoise,
    SequentialTest,
    Suggestion,
    Target,
    reference_seconds,
)
from tunewright.session import SessionSpec
from tunewright.space import Config, Value, config_key
from tunewright.study import Objective
from workers.session_journal import Began, Measured, SessionStatus
from workers.session_knobs import from_plain, outside, placed

# Until the reference has told how much seconds differ: they differ much, so that only a disaster raises an alarm.
_UNKNOWN_NOISE = SecondNoise(0.5, 0.5)


class Tuning:
    """Decides for one session and learns from its intervals.

    Intervals that are learnt again, in their order, from a journal bring the same knowledge back; what is not in them
    (the noise of seconds) is in `state`.

    Args:
        before: where the session stood when an earlier runner left it.
        guard: as `OnlineTune`'s.
    """

    def __init__(
        self,
        spec: SessionSpec,
        began: Began,
        before: SessionStatus,
        guard: Callable[[Config], str | None],
        settings: OnlineTuneSettings | None = None,
    ) -> None:
        self._spec = spec
        knobs = [from_plain(fields) for fields in began.knobs.values()]
        # What needs a restart is not turned from one interval to the next.
        self.space = to_space(knob for knob in knobs if knob.applies is not Applies.RESTART)
        self.reference: Config = {name: began.reference[name] for name in self.space.names}
        target = Target(
            self.space,
            self.reference,
            Objective(metric="performance", direction="maximize" if spec.maximize else "minimize"),
            list(began.features),
            spec.interval,
            spec.seed,
        )

        def guarded(config: Config) -> str | None:
            return outside(spec.bounds, self.reference, config) or guard(config)

        settings = settings or OnlineTuneSettings(margin=spec.margin)
        if spec.mode == "advice":
            # Where nothing is applied no advice is ever taken, and the same would be shown for ever. Who has followed
            # what was shown would be told to go back, for ever too: the reference is not measured any more.
            settings = settings.model_copy(update={"advice": False, "recheck": sys.maxsize})
        self._tuner = OnlineTune(target, settings, guarded)
        noise = before.tuner.get("noise")
        self._meter = NoiseMeter(SecondNoise(**noise) if noise else None)
        self.best: Mapping[str, Any] | None = before.best

    def suggest(self, context: Sequence[float], rules: Sequence[Rule]) -> Suggestion:
        """Settings for the next interval."""
        suggestion = self._tuner.suggest(context, rules)
        if suggestion.reference_performance is not None:
            config = self.space.decode(np.array(suggestion.centre))
            self.best = {"config": config, "gain": suggestion.centre_gain}
        return suggestion

    def learn(self, interval: Interval, samples: Sequence[float] = ()) -> None:
        """Take in the next interval.

        Args:
            samples: performance of its seconds.
        """
        # What was only advised did not run: its settings are not to blame, nor to praise.
        if self._spec.mode == "advice":
            interval = interval.model_copy(update={"suggestion": None, "expected": None})
        self._tuner.tell(interval)
        if not interval.aborted:
            # In the first second the settings were taking hold.
            self._meter.hear(samples[1:])

    def expecting(self, interval: Interval) -> Interval:
        """The next interval, with what was to be expected of it in the load that it turned out to have."""
        return self._tuner.expecting(interval)

    def unsafe(self, interval: Interval) -> bool:
        """Whether settings of ours ran below the margin; what the server refused never ran.

        The reference is what others are measured by: where it does less than was expected of it, the load has changed.
        """
        ran = interval.aborted or interval.performance is not None
        ours = self._applied(interval) and not self._at_reference(interval)
        return ran and ours and self._tuner.unsafe(interval)

    def ratio(self, interval: Interval) -> float | None:
        """Performance against what the reference is expected to have done, above 1 where better; None: not known."""
        if interval.expected is None or interval.performance is None or not self._applied(interval):
            return None
        expected = interval.expected.reference
        return interval.performance / expected if self._spec.maximize else expected / interval.performance

    def lost(self, interval: Interval, expected: float | None = None) -> float:
        """Work of the interval that was not done because it was below the reference, as a share.

        Args:
            expected: performance of the reference; None: what was expected of it.
        """
        if expected is None and self._at_reference(interval):
            return 0.0
        ratio = self.ratio(interval)
        if expected is not None and interval.performance is not None:
            ratio = math.exp(self._spec.gain(interval.performance) - self._spec.gain(expected))
        if ratio is None:
            # Nothing was finished, as far as anybody could see.
            ratio = 0.0 if interval.aborted else 1.0
        return max(0.0, 1.0 - ratio) * min(1.0, interval.seconds / self._spec.interval)

    def seconds(self, suggestion: Suggestion) -> float:
        """How long its interval is: one that is spent on the reference ends once that is known well enough."""
        if suggestion.kind == "reference" and self._spec.mode == "apply":
            return reference_seconds(self._meter.noise, suggestion.precision, self._spec.interval)
        return self._spec.interval

    def test(self, suggestion: Suggestion) -> SequentialTest | None:
        """Watches the interval of a suggestion; None where it runs on the reference."""
        if suggestion.abort_below is None or suggestion.kind == "reference":
            return None
        return self.defend(suggestion.abort_below)

    def defend(self, bound: float) -> SequentialTest:
        """A test of whether performance is surely below a bound."""
        return SequentialTest(bound, maximize=self._spec.maximize, noise=self._meter.noise or _UNKNOWN_NOISE)

    def placed(self, config: Mapping[str, Value]) -> Config:
        """What stands, of the knobs that are tuned, on their scales."""
        return placed(self.space, config)

    def state(self) -> dict[str, Any]:
        """For people, and for the runner that follows (JSON values)."""
        noise = None if self._meter.noise is None else asdict(self._meter.noise)
        return {**self._tuner.state(), "noise": noise}

    def _applied(self, interval: Interval) -> bool:
        return self._spec.mode == "apply" and interval.suggestion is not None

    def _at_reference(self, interval: Interval) -> bool:
        return config_key(interval.config) == config_key(self.reference)

    def replay(self, measured: Measured) -> None:
        """Learn again what an earlier runner measured."""
        self.learn(measured.interval)

"""OnlineTune: safe tuning of a live database, interval by interval (SIGMOD 2022, arXiv 2203.14473).

A state machine without I/O, clock or global randomness. `OnlineTune.suggest` decides, `OnlineTune.tell` learns;
`SequentialTest` watches an interval second by second; `simulated` is a database with known truth to try it on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optimizers.onlinetune.intervals import Interval, Suggestion, Target
from optimizers.onlinetune.rules import Rule

if TYPE_CHECKING:
    from optimizers.onlinetune.sequential import NoiseMeter, SecondNoise, SequentialTest, reference_seconds
    from optimizers.onlinetune.tuner import OnlineTune, OnlineTuneSettings

__all__ = [
    "Interval",
    "NoiseMeter",
    "OnlineTune",
    "OnlineTuneSettings",
    "Rule",
    "SecondNoise",
    "SequentialTest",
    "Suggestion",
    "Target",
    "reference_seconds",
]


def __getattr__(name: str) -> Any:
    # The service keeps what sessions decide, and should not wait for the libraries with which they decide it.
    if name in ("OnlineTune", "OnlineTuneSettings"):
        from optimizers.onlinetune import tuner

        return getattr(tuner, name)
    if name in ("NoiseMeter", "SecondNoise", "SequentialTest", "reference_seconds"):
        from optimizers.onlinetune import sequential

        return getattr(sequential, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

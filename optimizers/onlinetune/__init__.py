"""OnlineTune: safe tuning of a live database, interval by interval (SIGMOD 2022, arXiv 2203.14473).

A state machine without I/O, clock or global randomness. `OnlineTune.suggest` decides, `OnlineTune.tell` learns;
`SequentialTest` watches an interval second by second; `simulated` is a database with known truth to try it on.
"""

from optimizers.onlinetune.intervals import Interval, Suggestion, Target
from optimizers.onlinetune.rules import Rule
from optimizers.onlinetune.sequential import SecondNoise, SequentialTest
from optimizers.onlinetune.tuner import OnlineTune, OnlineTuneSettings

__all__ = [
    "Interval",
    "OnlineTune",
    "OnlineTuneSettings",
    "Rule",
    "SecondNoise",
    "SequentialTest",
    "Suggestion",
    "Target",
]

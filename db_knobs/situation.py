"""What white-box rules look at, and what they say; in bytes, seconds and plain numbers, whatever a knob's unit is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from db_knobs.catalog import Host
from db_knobs.knob import Knob
from db_knobs.statistics import Metrics
from tunewright.space import Value

MB, GB = 1024.0**2, 1024.0**3
ANY_LOW, ANY_HIGH = -math.inf, math.inf

Risk: TypeAlias = Literal["low", "high"]


@dataclass(frozen=True)
class Situation:
    """A server at one moment.

    Attributes:
        knobs: that may be turned, by name.
        connections: that have been seen.
        metrics: of the last interval; None before there is one.
    """

    knobs: Mapping[str, Knob]
    host: Host
    max_connections: int
    connections: int
    metrics: Metrics | None = None

    def now(self, name: str) -> float | None:
        """What a numeric knob stood at when the session began; None where it is not tuned, or stands at a special
        value."""
        knob = self.knobs.get(name)
        if knob is None or knob.low is None or (knob.special is not None and knob.current == knob.special.value):
            return None
        return knob.quantity(knob.current)

    def measured(self, name: str) -> float | None:
        """One of the metrics; None where it is not known."""
        value = None if self.metrics is None else getattr(self.metrics, name)
        return None if value is None else float(value)


@dataclass(frozen=True)
class Said:
    """What one rule says in one situation.

    Attributes:
        text: why, for a DBA.
        within: knob -> smallest and largest value. A special value counts as lying beyond its end of the scale, so it
            is allowed where that end is open.
        among: knob -> values, the preferred one first.
        risk: `high` where breaking it endangers the server.
        hard: it is never put in doubt.
    """

    text: str
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    among: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    risk: Risk = "low"
    hard: bool = False


# None: it has nothing to say.
Heuristic: TypeAlias = Callable[[Situation], Said | None]


@dataclass(frozen=True)
class Machine:
    """What settings for a new server are made of.

    Attributes:
        ram: bytes; None where nobody said.
        cores: at least 1.
    """

    ram: float | None
    cores: int
    max_connections: int


# A value in bytes, seconds or plain numbers, a switch or a choice; None where the machine is not known well enough.
Recipe: TypeAlias = Callable[[Machine], Value | None]


def raised(now: float | None, least: float) -> float:
    """At least `least`, and twice what it stands at."""
    return max(least, 2.0 * (now or 0.0))

"""What a tuning session is: one attachment to one live database, what is asked of it, and where it stands.

The same models are the Python API, the YAML file and the JSON body of `POST /v1/sessions`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunewright.access import ProjectName
from tunewright.errors import SpecError

# What an objective can be made of: name -> unit, and whether more is better.
MEASURES: Mapping[str, tuple[str, bool]] = {
    "throughput": ("requests/s", True),
    "latency_mean": ("ms", False),
    "latency_p95": ("ms", False),
    "latency_p99": ("ms", False),
}
# Shorter intervals measure the server's noise.
LEAST_INTERVAL = 1.0
_DAY = 86_400.0
# A trial of what needs a restart takes so many intervals each time that it measures, and measures so often.
TRIAL_INTERVALS = 4
TRIAL_MEASUREMENTS = 3


class SessionState(StrEnum):
    """Where a session stands.

    `waiting`: there is too little traffic to measure. `restoring`: it is over, and the former settings are not back
    yet, because the database cannot be reached; it goes on trying. `yielded`: somebody else changes what it tunes.
    """

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    RESTORING = "restoring"
    FINISHED = "finished"
    STOPPED = "stopped"
    YIELDED = "yielded"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether it stays as it is: nothing of ours changes the database any more."""
        return self in _FINAL


_FINAL = frozenset({SessionState.FINISHED, SessionState.STOPPED, SessionState.YIELDED, SessionState.FAILED})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Frozen):
    """Bounds of a DBA for one knob, in the knob's own unit, within those of the catalogue."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Range:
        if self.low >= self.high:
            raise SpecError(f"bounds: low ({self.low}) must be below high ({self.high})")
        return self


class SessionBudget(_Frozen):
    """When a session ends by itself; whichever limit is met first. None of both: when somebody stops it.

    Attributes:
        intervals: that were measured.
        seconds: during which it ran, pauses not counted.
    """

    intervals: int | None = Field(default=None, ge=1, le=1_000_000)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Restarts(_Frozen):
    """When a session may restart its server, to turn knobs that need it.

    Attributes:
        command: name of a restart command of the service (its setting `restart_commands`).
        window: hours of every day, in UTC, as "22:30-04:00"; "00:00-24:00" is always.
        most: settings that are tried in one window; each takes two restarts, and a third where it is kept.
        settle: seconds after a restart in which caches fill and nothing is judged.
    """

    command: str = Field(min_length=1, max_length=100)
    window: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$")
    most: int = Field(default=3, ge=1, le=100)
    settle: float = Field(default=120.0, ge=0, le=3600, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Restarts:
        begin, end = self._minutes()
        if begin == end:
            raise SpecError(f'restarts.window: {self.window} is no time at all; "00:00-24:00" is always')
        return self

    def opened(self, at: float) -> tuple[float, float] | None:
        """Beginning and end of the window that is open at a moment; None where none is.

        Args:
            at: wall clock, seconds since the epoch, as are the answers.
        """
        began = at - (at - 60.0 * self._minutes()[0]) % _DAY
        return (began, began + self.seconds) if at < began + self.seconds else None

    @property
    def seconds(self) -> float:
        """How long the window is open every day."""
        begin, end = self._minutes()
        return (60.0 * (end - begin)) % _DAY or _DAY

    def trial_seconds(self, interval: float, command: float) -> float:
        """What a trial takes that is kept: each time it measures, its intervals, a restart, and what settles after it.

        Args:
            interval: of the session, in seconds.
            command: seconds that the command may take.
        """
        return TRIAL_MEASUREMENTS * (TRIAL_INTERVALS * 1.2 * interval + 2.0 * command + self.settle)

    def _minutes(self) -> tuple[int, int]:
        begin, end = (60 * int(text[:2]) + int(text[3:]) for text in self.window.split("-"))
        return begin, end


class SessionSpec(_Frozen):
    """A tuning session as it is asked for.

    Attributes:
        database: id or name of an attached database.
        mode: `apply` changes settings; `advice` only says what it would change.
        objective: measure -> weight. One measure is optimised as it is; several are combined as the weighted geometric
            mean of their improvements, so that units do not matter.
        knobs: that may be changed; None means those that the catalogue offers. Nothing else is ever touched.
        accepted: knob that may lose data -> what it may lose, in the catalogue's words.
        bounds: tighter ones than the catalogue's.
        interval: seconds between decisions.
        margin: loss against the reference that counts as none, as a share.
        restarts: when the server may be restarted for knobs that need it, which `knobs` must name; None: never.
        keep: leave the best safe settings in place at the end of the budget; False puts the former ones back. A session
            that is stopped, yields or fails puts them back in any case.
        least_traffic: transactions a second below which an interval is not judged; the session waits.
        seed: of every random draw.
    """

    database: str = Field(min_length=1, max_length=200)
    project: ProjectName | None = None
    mode: Literal["apply", "advice"] = "apply"
    objective: dict[str, float] = Field(default_factory=lambda: {"throughput": 1.0})
    knobs: list[str] | None = Field(default=None, min_length=1, max_length=200)
    accepted: dict[str, str] = Field(default_factory=dict)
    bounds: dict[str, Range] = Field(default_factory=dict)
    interval: float = Field(default=60.0, ge=LEAST_INTERVAL, le=86_400, allow_inf_nan=False)
    margin: float = Field(default=0.05, ge=0, lt=1, allow_inf_nan=False)
    budget: SessionBudget = SessionBudget()
    restarts: Restarts | None = None
    keep: bool = False
    least_traffic: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _check(self) -> SessionSpec:
        if not self.objective:
            raise SpecError(f"objective: name a measure, one of {', '.join(MEASURES)}")
        for measure, weight in self.objective.items():
            if measure not in MEASURES:
                raise SpecError(f'objective: "{measure}" is none of {", ".join(MEASURES)}')
            if not 0 < weight <= 1_000:
                raise SpecError(f"objective.{measure}: its weight ({weight}) must be above 0, and at most 1000")
        if self.restarts is not None and self.mode == "advice":
            raise SpecError("restarts: a session that only advises restarts nothing; leave it out, or apply")
        if self.restarts is not None and self.knobs is None:
            raise SpecError("restarts: name the knobs to turn in `knobs`; none that needs a restart is taken unnamed")
        return self

    def keeps(self, state: SessionState) -> bool:
        """Whether a session in this state is over and has left its best settings in place; stopping takes them back."""
        return self.keep and self.mode == "apply" and state is SessionState.FINISHED

    @property
    def maximize(self) -> bool:
        """Whether more of what is measured is better; see `performance`."""
        return len(self.objective) > 1 or MEASURES[next(iter(self.objective))][1]

    @property
    def unit(self) -> str:
        """Unit of `performance`; empty where measures are combined."""
        return MEASURES[next(iter(self.objective))][0] if len(self.objective) == 1 else ""

    def gain(self, performance: float) -> float:
        """Logarithm of a performance, with the sign with which more is better."""
        return math.log(performance) if self.maximize else -math.log(performance)

    def performed(self, gain: float) -> float:
        """The performance of which `gain` is the logarithm."""
        return math.exp(gain if self.maximize else -gain)

    def bound(self, gain: float) -> float:
        """The performance that is worse than that of a gain by the margin."""
        return self.performed(gain + math.log1p(-self.margin))

    def performance(self, measured: Mapping[str, float | None]) -> float | None:
        """One positive number for what was measured; None where a measure of it is missing or not positive.

        Args:
            measured: measure -> value, of those in `MEASURES`.
        """
        values = {name: measured.get(name) for name in self.objective}
        if any(value is None or value <= 0 for value in values.values()):
            return None
        if len(values) == 1:
            return next(iter(values.values()))
        total, product = sum(self.objective.values()), 1.0
        for name, value in values.items():
            assert value is not None
            product *= value ** ((1.0 if MEASURES[name][1] else -1.0) * self.objective[name] / total)
        return product

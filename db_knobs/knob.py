"""A knob: one setting of one server, as far as it is worth turning, and knobs as a search space.

Values are the server's own, in its own unit (PostgreSQL's work_mem 4096 means 4096 kB): what stands in a configuration
is what is applied and read back. A switch is a bool, whatever the server calls it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from db_knobs.errors import ValueRefused
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, Value

# Values that a numeric knob with a special one is tried at, beside the special one and the current one.
GRID = 24
# Servers write real numbers with so many digits.
DIGITS = 6

KnobType = Literal["real", "integer", "enum", "bool"]
# Numbers on a nominal scale are names: one says nothing of the next.
Scale = Literal["linear", "log", "nominal"]


class Applies(StrEnum):
    """When a change is felt."""

    ONLINE = "online"
    NEW_CONNECTIONS = "new connections only"
    RESTART = "restart"


class Danger(StrEnum):
    """What a wrong value may cost beyond speed."""

    NONE = "none"
    MEMORY = "memory"
    RISKY = "risky"
    DURABILITY = "durability"


@dataclass(frozen=True)
class Special:
    """A value outside the scale of the others, such as 0 or -1.

    Attributes:
        meaning: "off", "automatic".
        end: the end of the scale that it continues: what switches something off when too costly lies above all costs.
    """

    value: int | float
    meaning: str
    end: Literal["low", "high"]


@dataclass(frozen=True)
class Knob:
    """One setting of one server.

    Attributes:
        doc: what it does and may break, in a sentence.
        unit: of all its values, as the server names it; empty where there is none.
        factor: bytes or seconds in one unit; None where it is neither.
        low, high: what may be tried: the catalogue's range within the server's, widened to the current value. None for
            enum and bool.
        choices: of an enum, as the server spells them.
        default: the vendor's; None where the server does not tell.
        current: what it stands at.
        source: where the current value comes from, in the server's words.
        rules: ids of the white-box rules that speak of it (see `rules`).
        loses: what may be lost by turning it; a DBA must say it in these words to allow it. Empty where nothing is.
        moves: knobs that the server may move along when this one is set.
    """

    name: str
    type: KnobType
    doc: str
    current: Value
    unit: str = ""
    factor: float | None = None
    low: int | float | None = None
    high: int | float | None = None
    scale: Scale = "linear"
    special: Special | None = None
    choices: tuple[str, ...] = ()
    default: Value | None = None
    source: str = ""
    applies: Applies = Applies.ONLINE
    danger: Danger = Danger.NONE
    rules: tuple[str, ...] = ()
    loses: str = ""
    moves: tuple[str, ...] = ()

    def quantity(self, value: Value) -> float:
        """A value in bytes, seconds or plain numbers."""
        return float(value) * (self.factor or 1.0)

    def checked(self, value: Any) -> Value:
        """The value in the knob's own type, as the server will write it.

        Raises:
            ValueRefused: it has another type, or lies outside of what may be tried.
        """
        if self.type == "bool":
            if not isinstance(value, (bool, np.bool_)):
                raise ValueRefused(self.name, f"{value!r} is neither true nor false")
            return bool(value)
        if self.type == "enum":
            if value not in self.choices:
                raise ValueRefused(self.name, f"{value!r} is none of {', '.join(self.choices)}")
            return str(value)
        return self._checked_number(value)

    def _checked_number(self, value: Any) -> int | float:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise ValueRefused(self.name, f"{value!r} is not a number")
        if not math.isfinite(value) or (self.type == "integer" and value != int(value)):
            raise ValueRefused(self.name, f"{value!r} is not {'an integer' if self.type == 'integer' else 'finite'}")
        number = int(value) if self.type == "integer" else rounded(float(value))
        assert self.low is not None
        assert self.high is not None
        special = self.special is not None and number == self.special.value
        if not special and not self.low <= number <= self.high:
            or_special = f" or {self.special.value} ({self.special.meaning})" if self.special else ""
            raise ValueRefused(
                self.name, f"{number} lies outside {self.low} to {self.high}{_spaced(self.unit)}{or_special}"
            )
        return number

    def parameter(self) -> Float | Int | Categorical | Ordinal:
        """The knob as a parameter, whose default is the current value.

        A numeric knob with a special value becomes ordered choices with the special one at its end, so that it has one
        coordinate and its neighbours are its neighbours.

        Raises:
            ValueRefused: it has one value only, or its current value is none of its own.
        """
        if self.type == "bool":
            return Categorical(self.name, [False, True], default=bool(self.current))
        if self.type == "enum":
            return Categorical(self.name, list(self.choices), default=self.current)
        assert self.low is not None
        assert self.high is not None
        current = self._checked_number(self.current)
        if self.low == self.high and self.special is None:
            raise ValueRefused(self.name, f"there is nothing to choose: it can only be {self.low}{_spaced(self.unit)}")
        if self.scale == "nominal":
            return Categorical(self.name, list(range(int(self.low), int(self.high) + 1)), default=current)
        if self.special is not None:
            return Ordinal(self.name, self._grid(current), default=current)
        log = self.scale == "log"
        if self.type == "integer":
            return Int(self.name, int(self.low), int(self.high), log=log, default=int(current))
        return Float(self.name, self.low, self.high, log=log, default=current)

    def _grid(self, current: int | float) -> list[Value]:
        assert self.low is not None
        assert self.high is not None
        assert self.special is not None
        space = np.geomspace if self.scale == "log" else np.linspace
        points = {float(point) for point in space(self.low, self.high, GRID)} | {float(self.low), float(self.high)}
        numbers = {round(point) if self.type == "integer" else rounded(point) for point in points}
        ordered: list[Value] = sorted((numbers | {current}) - {self.special.value})
        return [self.special.value, *ordered] if self.special.end == "low" else [*ordered, self.special.value]


def to_space(knobs: Iterable[Knob]) -> SearchSpace:
    """Knobs as a search space, a parameter each; its default configuration is what the server stands at.

    Raises:
        SpaceError: there is no knob.
        ValueRefused: as `Knob.parameter`.
    """
    return SearchSpace([knob.parameter() for knob in knobs])


def checked(knobs: Iterable[Knob], settings: Mapping[str, Any]) -> Config:
    """Settings of some of these knobs in their own types.

    Raises:
        ValueRefused: a value does not fit its knob, or the knob is none of these.
    """
    known = {knob.name: knob for knob in knobs}
    for name in settings:
        if name not in known:
            raise ValueRefused(name, "it is none of the knobs that may be turned here")
    return {name: known[name].checked(value) for name, value in settings.items()}


def rounded(value: float) -> float:
    """A real number as servers write it."""
    return float(f"{value:.{DIGITS}g}")


def same(a: Value | None, b: Value | None) -> bool:
    """Whether two values of one knob are the same to a server."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool | np.bool_):
        return math.isclose(a, b, rel_tol=10.0**-DIGITS * 5, abs_tol=1e-12)
    return a == b


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""

"""What is worth turning, how far, and what it may break: one YAML file per family of servers.

The catalogue says what people know; what a server says of itself (type, unit, bounds, current value) is joined to it at
attach time by `join`. A knob that the server lacks drops out; bounds are the intersection of both.

A bound is a number, a quantity with a unit (64MB, 200ms) or a share of the host (`{ram: 0.25, at_most: 4GB}`,
`{cores: 2}`): data, never code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from db_knobs.errors import CatalogError
from db_knobs.knob import Applies, Danger, Knob, KnobType, Scale, Special, rounded
from tunewright.space import MAX_INT, MAX_LOG_INT, Value

KINDS = ("postgresql", "mysql", "mariadb")
_FILES = {"postgresql": "postgresql.yaml", "mysql": "mysql.yaml", "mariadb": "mysql.yaml"}
UNITS = {
    "B": 1.0,
    "kB": 1024.0,
    "8kB": 8192.0,
    "MB": 1024.0**2,
    "GB": 1024.0**3,
    "TB": 1024.0**4,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
}
_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Host:
    """What the server's machine has; None where nobody said and the server is not on this one."""

    ram_bytes: int | None = None
    cores: int | None = None


class Share(BaseModel):
    """A bound relative to the host."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ram: float | None = Field(default=None, gt=0)
    cores: float | None = Field(default=None, gt=0)
    at_least: float | str | None = None
    at_most: float | str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Share:
        if (self.ram is None) == (self.cores is None):
            raise ValueError("give a share of ram or of cores")
        return self

    def of(self, host: Host) -> float | None:
        """In bytes or cores; None while the host is not known."""
        whole = host.ram_bytes if self.ram is not None else host.cores
        if whole is None:
            return None
        share = whole * (self.ram or self.cores or 0.0)
        at_least = 0.0 if self.at_least is None else quantity(self.at_least)
        at_most = float("inf") if self.at_most is None else quantity(self.at_most)
        return min(max(share, at_least), at_most)


class SpecialEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    value: int | float
    meaning: str
    end: Literal["low", "high"]


class Entry(BaseModel):
    """What the catalogue says of one knob.

    Attributes:
        type, unit: needed where the server does not tell (MySQL; units, MariaDB too).
        offered: whether sessions turn it unless told otherwise.
        versions: kind of server -> first and last version that has it; absent kinds never do, absent altogether means
            all. The server has the last word; tests hold the catalogue to it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    doc: str = Field(min_length=10)
    type: KnobType | None = None
    unit: str = ""
    low: float | str | Share | None = None
    high: float | str | Share | None = None
    scale: Scale = "linear"
    special: SpecialEntry | None = None
    choices: tuple[str, ...] = ()
    danger: Danger = Danger.NONE
    loses: str = ""
    offered: bool = True
    restart: bool = False
    moves: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    versions: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @field_validator("choices", mode="before")
    @classmethod
    def _spelled(cls, choices: Any) -> Any:
        # YAML reads `on` and `off` as booleans.
        spelled = {True: "on", False: "off"}
        return tuple(spelled[choice] if isinstance(choice, bool) else str(choice) for choice in choices)

    @model_validator(mode="after")
    def _whole(self) -> Entry:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together")
        if (self.danger is Danger.DURABILITY) != bool(self.loses):
            raise ValueError("a durability knob, and no other, says what it loses")
        if self.scale == "nominal" and (self.low is None or self.special is not None):
            raise ValueError("a nominal scale has low and high, and no special value")
        if self.danger is Danger.DURABILITY and self.offered:
            raise ValueError("a durability knob is never offered")
        return self

    def has(self, kind: str, version: tuple[int, int]) -> bool:
        """Whether such a server should have the knob."""
        if not self.versions:
            return True
        if kind not in self.versions:
            return False
        first, last = (_version(number) for number in self.versions[kind])
        return first <= version and (last[1] == 0 or version <= last) and version[0] <= last[0]


@dataclass(frozen=True)
class Reported:
    """What a server says of one of its settings, in its own unit."""

    name: str
    current: Value
    type: KnobType | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    default: Value | None = None
    source: str = ""
    applies: Applies = Applies.ONLINE


@cache
def entries(kind: str) -> Mapping[str, Entry]:
    """The catalogue of a kind of server, by knob.

    Raises:
        CatalogError: the file is wrong.
    """
    file = _FILES[kind]
    raw = yaml.safe_load((resources.files(__package__) / file).read_text())
    found: dict[str, Entry] = {}
    for name, fields in raw.items():
        try:
            entry = Entry.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CatalogError(f"{file}: {name}: {where}: {first['msg']}") from None
        if not entry.versions or kind in entry.versions:
            found[name] = entry
    return found


def join(entry: Entry, reported: Reported, host: Host) -> Knob | None:
    """A knob of one server; None when its range depends on a host that nobody described.

    Raises:
        CatalogError: the server tells no type, and neither does the catalogue.
    """
    kind = reported.type or entry.type
    if kind is None:
        raise CatalogError(f"{reported.name}: neither catalogue nor server tell its type")
    common: dict[str, Any] = {
        "name": reported.name,
        "type": kind,
        "doc": entry.doc,
        "unit": reported.unit or entry.unit,
        "factor": UNITS.get(reported.unit or entry.unit),
        "default": reported.default,
        "current": reported.current,
        "source": reported.source,
        "applies": Applies.RESTART if entry.restart else reported.applies,
        "danger": entry.danger,
        "rules": entry.rules,
        "loses": entry.loses,
        "moves": entry.moves,
    }
    if kind == "bool":
        return Knob(**common)
    if kind == "enum":
        known = {choice.lower() for choice in entry.choices} | {str(reported.current).lower()}
        choices = reported.choices or entry.choices
        kept = tuple(choice for choice in choices if not entry.choices or choice.lower() in known)
        return Knob(**common, choices=kept)
    bounds = _bounds(entry, reported, host, integer=kind == "integer")
    if bounds is None:
        return None
    special = None if entry.special is None else Special(**entry.special.model_dump())
    if special is not None and not _allows(reported, special.value):
        special = None
    # Nothing has a logarithm that a DBA set to 0.
    scale: Scale = "linear" if entry.scale == "log" and bounds[0] <= 0 else entry.scale
    return Knob(**common, low=bounds[0], high=bounds[1], scale=scale, special=special)


def quantity(text: float | str) -> float:
    """A number, or a text with a unit, in bytes, seconds or plain.

    Raises:
        CatalogError: it is neither.
    """
    if not isinstance(text, str):
        return float(text)
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or (match[2] and match[2] not in UNITS):
        raise CatalogError(f"{text!r} is no quantity; write a number, or one with a unit of {', '.join(UNITS)}")
    return float(match[1]) * (UNITS[match[2]] if match[2] else 1.0)


def _bounds(
    entry: Entry, reported: Reported, host: Host, *, integer: bool
) -> tuple[int, int] | tuple[float, float] | None:
    factor = UNITS.get(reported.unit or entry.unit, 1.0)
    ends = []
    for bound in (entry.low, entry.high):
        found = bound.of(host) if isinstance(bound, Share) else None if bound is None else quantity(bound)
        if found is None:
            return None
        ends.append(found / factor)
    low, high = ends
    if reported.low is not None:
        low, high = max(low, reported.low), max(high, reported.low)
    if reported.high is not None:
        low, high = min(low, reported.high), min(high, reported.high)
    low, high = min(low, high), max(low, high)
    current = reported.current
    # The reference is part of every space; a special one has its own place.
    if entry.special is None or current != entry.special.value:
        low, high = min(low, float(current)), max(high, float(current))
    if integer:
        most = MAX_LOG_INT if entry.scale == "log" else MAX_INT
        return round(low), min(round(high), most)
    return rounded(low), rounded(high)


def _allows(reported: Reported, value: float) -> bool:
    return (reported.low is None or value >= reported.low) and (reported.high is None or value <= reported.high)


def _version(number: float) -> tuple[int, int]:
    """10.11 as (10, 11); a whole number's minor part is 0."""
    major, _, minor = str(number).partition(".")
    return int(major), int(minor or 0)

"""White-box rules: what experienced administrators would not go beyond, given what the server goes through.

`advice` says, in each knob's own unit, where knobs should lie; whoever tunes may put a rule in doubt unless it is hard.
`recommended` is what such people would set on a new server of this size, once and for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from db_knobs import rules_mysql, rules_postgres
from db_knobs.address import Kind
from db_knobs.catalog import Host
from db_knobs.database import Probe
from db_knobs.knob import Knob, rounded
from db_knobs.situation import Heuristic, Machine, Recipe, Risk, Said, Situation
from db_knobs.statistics import Metrics
from tunewright.space import Config, Ordinal, Value

RULES: Mapping[Kind, Mapping[str, Heuristic]] = {
    "postgresql": rules_postgres.RULES,
    "mysql": rules_mysql.RULES,
    "mariadb": rules_mysql.RULES,
}
_RECIPES: Mapping[Kind, Mapping[str, Recipe]] = {
    "postgresql": rules_postgres.RECIPES,
    "mysql": rules_mysql.RECIPES,
    "mariadb": rules_mysql.RECIPES,
}


@dataclass(frozen=True)
class Advice:
    """What a rule says of some knobs, as plain data.

    Attributes:
        id: as in the catalogue.
        low, high: knob -> smallest and largest value, in the knob's own unit and within its range.
        among: knob -> values, the preferred one first; of every knob whose parameter has choices.
        risk: `high` where breaking it endangers the server.
        hard: never put in doubt.
        text: a sentence for a DBA.
    """

    id: str
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    among: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    risk: Risk = "low"
    hard: bool = False
    text: str = ""


def advice(kind: Kind, knobs: Sequence[Knob], host: Host, probe: Probe, metrics: Metrics | None) -> list[Advice]:
    """What the rules say now, of these knobs alone.

    Args:
        knobs: the session's, with its bounds: what is advised can be encoded by their parameters.
        metrics: of the last interval; None before there is one, when rules that need it say less.
    """
    known = {knob.name: knob for knob in knobs}
    seen = max(probe.connections, 0 if metrics is None else round(metrics.connections or 0))
    situation = Situation(known, host, probe.max_connections, seen, metrics)
    found = []
    for name, heuristic in RULES[kind].items():
        said = heuristic(situation)
        told = None if said is None else _told(name, said, known)
        if told is not None:
            found.append(told)
    return found


def recommended(kind: Kind, knobs: Sequence[Knob], host: Host, max_connections: int) -> Config:
    """Settings that suit most servers of this size: of the knobs that the rules know, within their ranges."""
    machine = Machine(host.ram_bytes, max(1, host.cores or 1), max(1, max_connections))
    found: Config = {}
    for knob in knobs:
        recipe = _RECIPES[kind].get(knob.name)
        value = None if recipe is None else recipe(machine)
        if value is not None:
            found[knob.name] = _nearest(knob, value)
    return found


def _told(name: str, said: Said, knobs: Mapping[str, Knob]) -> Advice | None:
    """A rule's words in the knobs' own units; None where it speaks of none of them."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    among: dict[str, Sequence[Value]] = {}
    for knob in _those(knobs, said.within):
        least, most = said.within[knob.name]
        if knob.special is not None:
            among[knob.name] = _choices_within(knob, least, most)
            continue
        if not math.isinf(least):
            low[knob.name] = _inside(knob, least)
        if not math.isinf(most):
            high[knob.name] = _inside(knob, most)
    for knob in _those(knobs, said.among):
        values = [value for value in said.among[knob.name] if _takes(knob, value)]
        if values:
            among[knob.name] = values
    if not (low or high or among):
        return None
    return Advice(name, low, high, among, said.risk, said.hard, said.text)


def _those(knobs: Mapping[str, Knob], names: Iterable[str]) -> list[Knob]:
    return [knobs[name] for name in names if name in knobs]


def _inside(knob: Knob, quantity: float) -> int | float:
    """The value of a numeric knob that is nearest to a quantity."""
    assert knob.low is not None
    assert knob.high is not None
    value = min(max(quantity / (knob.factor or 1.0), knob.low), knob.high)
    return round(value) if knob.type == "integer" else rounded(value)


def _choices_within(knob: Knob, least: float, most: float) -> list[Value]:
    """Values of a knob with a special one that lie between two quantities, those in the middle first.

    Where none does, the nearest one.
    """
    assert knob.special is not None
    places = [(_place(knob, value), value) for value in _choices(knob)]
    inside = [(place, value) for place, value in places if least <= place <= most]
    if not inside:
        end = least if all(place < least for place, _ in places) else most
        return [min(places, key=lambda each: abs(each[0] - end))[1]]
    middle = (len(inside) - 1) / 2
    order = sorted(range(len(inside)), key=lambda i: (abs(i - middle), i))
    return [inside[i][1] for i in order]


def _takes(knob: Knob, value: Value) -> bool:
    """Whether it is one of the knob's choices; a number on a scale has none."""
    if knob.scale == "nominal":
        assert knob.low is not None
        assert knob.high is not None
        return knob.low <= float(value) <= knob.high
    return knob.type == "bool" or value in knob.choices


def _choices(knob: Knob) -> Sequence[Value]:
    parameter = knob.parameter()
    assert isinstance(parameter, Ordinal)
    return parameter.choices


def _place(knob: Knob, value: Value) -> float:
    """Where a value stands in bytes, seconds or plain numbers; the special one beyond its end."""
    assert knob.special is not None
    if value == knob.special.value:
        return -math.inf if knob.special.end == "low" else math.inf
    return knob.quantity(value)


def _nearest(knob: Knob, value: Value) -> Value:
    """The knob's own value that is nearest to what a recipe says."""
    if knob.type == "bool":
        return bool(value)
    if knob.type == "enum":
        return value if value in knob.choices else knob.current
    if knob.special is None:
        return _inside(knob, float(value))
    if math.isinf(float(value)):
        return knob.special.value
    usual = [choice for choice in _choices(knob) if choice != knob.special.value]
    return min(usual, key=lambda choice: abs(knob.quantity(choice) - float(value)))

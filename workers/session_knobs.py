"""The knobs of a session: chosen once, kept in its journal, and the same space for every runner that follows.

What a server says of itself changes while a session changes it (a current value, and with it a range), so only the
first runner asks; those after it read the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from db_knobs.database import Allowed, Database, Probe
from db_knobs.errors import KnobError, KnobRefused
from db_knobs.knob import Applies, Danger, Knob, Special
from tunewright.errors import SpecError
from tunewright.session import Range, SessionSpec
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, Value


def allowed_by(spec: SessionSpec) -> Allowed:
    """What a session asks to turn."""
    return Allowed(spec.knobs, spec.accepted, restart=spec.restarts is not None)


def needs_restart(knobs: Iterable[Knob]) -> list[str]:
    """Names of the knobs that need a restart."""
    return [knob.name for knob in knobs if knob.applies is Applies.RESTART]


# Measure of an objective -> the server's capability that it takes.
_TAKES = {"latency_mean": "latency", "latency_p95": "percentiles", "latency_p99": "percentiles"}


def check_objective(spec: SessionSpec, probe: Probe) -> None:
    """See that the server tells what is to be improved.

    Raises:
        SpecError: names the measure, and the remedy.
    """
    for measure in spec.objective:
        lacking = [each for each in probe.capabilities if each.name == _TAKES.get(measure) and not each.works]
        if lacking:
            remedy = next((each.remedy for each in probe.capabilities if not each.works and each.remedy), "")
            raise SpecError(f"objective.{measure}: this server does not tell it; " + (remedy or "choose throughput"))


def choose(database: Database, spec: SessionSpec, probe: Probe) -> list[Knob]:
    """Knobs that a session tunes, within the DBA's bounds.

    What the catalogue offers and cannot be tuned here (one value only, a restart pending) is left out; what was named
    is refused.

    Raises:
        KnobError: of a named knob, or there is none left.
        SpecError: `bounds` names a knob that is not tuned, has no range, or lies outside of it.
    """
    knobs = []
    for knob in database.knobs(allowed_by(spec)):
        try:
            if knob.name in _UNTRIED:
                raise KnobRefused(knob.name, _UNTRIED[knob.name])
            if knob.name in probe.pending_restart:
                raise KnobRefused(knob.name, "somebody changed it and has not restarted the server yet")
            knob.parameter()
        except KnobError:
            if spec.knobs is not None:
                raise
            continue
        knobs.append(knob)
    if not knobs:
        raise KnobRefused("*", "this server has no knob that may be turned; name some, or see what the probe says")
    _check_restarts(database, spec, needs_restart(knobs))
    known = {knob.name for knob in knobs}
    for name in spec.bounds:
        if name not in known:
            raise SpecError(f'bounds.{name}: the session does not tune "{name}"; tuned are {", ".join(sorted(known))}')
    return [_bounded(knob, spec.bounds.get(knob.name)) for knob in knobs]


# Knobs that are never tried, and why.
_UNTRIED = {
    "max_connections": "fewer turn users away, which no measurement of those that are let in shows; set it by hand",
}


def _check_restarts(database: Database, spec: SessionSpec, names: Sequence[str]) -> None:
    if spec.restarts is None:
        return
    if not names:
        raise SpecError("restarts: none of `knobs` needs a restart; leave it out, or name one that does")
    if len(names) == len(spec.knobs or ()):
        raise SpecError("restarts: name at least one knob that needs no restart as well, to tune between restarts")
    if not database.files_settings:
        raise SpecError("restarts: this server keeps nothing over a restart that is set through a connection")


def _bounded(knob: Knob, bounds: Range | None) -> Knob:
    """A knob with the DBA's range, widened to what it stands at; `outside` keeps the tuner out of what was added."""
    if bounds is None:
        return knob
    if knob.low is None or knob.high is None:
        raise SpecError(f"bounds.{knob.name}: it has no range; leave it out of `bounds`, or of `knobs`")
    low, high = max(float(knob.low), bounds.low), min(float(knob.high), bounds.high)
    if low > high:
        raise SpecError(
            f"bounds.{knob.name}: {bounds.low:g} to {bounds.high:g} lies outside of {knob.low} to {knob.high}"
        )
    if knob.special is None or knob.current != knob.special.value:
        low, high = min(low, float(knob.current)), max(high, float(knob.current))
    if knob.type == "integer":
        return replace(knob, low=round(low), high=round(high))
    return replace(knob, low=low, high=high)


def outside(bounds: Mapping[str, Range], reference: Config, config: Mapping[str, Value]) -> str | None:
    """Why settings are not within the DBA's bounds, in words; the reference's own values always are."""
    for name, given in bounds.items():
        value = config.get(name)
        if value is None or isinstance(value, str) or value == reference.get(name):
            continue
        if not given.low <= value <= given.high:
            return f"{name}: {value} lies outside of the bounds {given.low:g} to {given.high:g}"
    return None


def plain(knob: Knob) -> dict[str, Any]:
    """A knob as plain data, for a journal."""
    return {**asdict(knob), "applies": knob.applies.value, "danger": knob.danger.value}


def from_plain(fields: Mapping[str, Any]) -> Knob:
    """The knob that `plain` gave."""
    special = fields.get("special")

    def own(value: Any) -> Any:
        # A store may give 64.0 back for 64.
        if value is None or fields["type"] not in ("integer", "real"):
            return value
        return int(value) if fields["type"] == "integer" else float(value)

    return Knob(
        **{
            **fields,
            **{name: own(fields.get(name)) for name in ("current", "low", "high", "default")},
            "special": None if special is None else Special(**{**special, "value": own(special["value"])}),
            "applies": Applies(fields["applies"]),
            "danger": Danger(fields["danger"]),
            **{name: tuple(fields.get(name) or ()) for name in ("choices", "rules", "moves")},
        }
    )


def placed(space: SearchSpace, config: Mapping[str, Value]) -> Config:
    """What stands on a server, moved onto the scales of a session where it lies beside them: rounded, clamped, odd."""
    return {p.name: _nearest(p, config[p.name]) for p in space.parameters}


def _nearest(parameter: Float | Int | Categorical | Ordinal, value: Value) -> Value:
    if parameter.contains(value):
        return value
    if isinstance(parameter, (Float, Int)):
        number = min(max(float(value), parameter.low), parameter.high)
        return round(number) if isinstance(parameter, Int) else number
    return _closest(parameter.choices, value)


def _closest(choices: Sequence[Value], value: Value) -> Value:
    """The choice nearest to a number; the first one for what is no number."""
    numbers = [choice for choice in choices if not isinstance(choice, str)]
    if isinstance(value, str) or not numbers:
        return choices[0]
    wanted = float(value)
    return min(numbers, key=lambda choice: abs(float(choice) - wanted))


def moved_along(knobs: Iterable[Knob]) -> dict[str, tuple[str, ...]]:
    """Knob -> those that the server may move when it is set."""
    return {knob.name: knob.moves for knob in knobs if knob.moves}

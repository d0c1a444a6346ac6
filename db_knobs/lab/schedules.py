"""How a load changes over a session: mix, rate, clients and the part of the data in use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from db_knobs.address import Kind
from db_knobs.errors import LabError
from db_knobs.lab.phase import Phase

Shape: TypeAlias = Literal["steady", "gradual", "sudden", "periodic"]
SHAPES: Sequence[Shape] = ("steady", "gradual", "sudden", "periodic")
# Intervals of one turn of a periodic schedule, while that is no longer than the whole.
PERIOD = 24
# Shares of a mix vary by so much from one interval to the next, as a logarithm's deviation.
JITTER = 0.05

# What a shop goes through: a day, a rush of orders, an evening of reports. Most of the time goes into statements that
# online settings can help, or harm: on MariaDB joins by hash are a blessing to `match` and `report`, a curse to
# `status` and `wide`.
PHASES: Mapping[Kind, Sequence[Phase]] = {
    "postgresql": (
        Phase({"lookup": 8, "read": 4, "payment": 4}, clients=4),
        Phase({"lookup": 2, "order": 4, "status": 8, "wide": 8}, clients=4),
        Phase({"ranking": 1, "report": 1, "lookup": 10}, clients=3, span=0.5),
    ),
    "mariadb": (
        Phase({"match": 4, "read": 4, "payment": 4}, clients=4),
        Phase({"order": 2, "status": 8, "wide": 4, "payment": 4}, clients=4),
        Phase({"report": 2, "match": 4, "lookup": 2}, clients=3, span=0.5),
    ),
}


def schedule(shape: Shape, phases: Sequence[Phase], length: int, seed: int = 0) -> list[Phase]:
    """The phase of each of `length` intervals; equal arguments give equal schedules.

    steady: the first phase; gradual: from the first to the last, passing the others; sudden: from one to the next at
    once, after equal times; periodic: to the last and back, again and again. Shares of the mix jitter a little.

    Raises:
        LabError: no phases, or no intervals.
    """
    if not phases or length < 1:
        raise LabError(f"schedule: {len(phases)} phases, {length} intervals; give at least one of each")
    rng = np.random.default_rng([seed, 0x5C4ED])
    return [_jittered(_at(phases, place), rng) for place in places(shape, len(phases) - 1, length)]


def blend(one: Phase, other: Phase, share: float) -> Phase:
    """A phase between two: `share` 0 is the first, 1 the second. A rate needs both to have one."""
    names = list(dict.fromkeys([*one.mix, *other.mix]))
    totals = sum(one.mix.values()), sum(other.mix.values())
    mix = {
        name: (1 - share) * one.mix.get(name, 0) / totals[0] + share * other.mix.get(name, 0) / totals[1]
        for name in names
    }
    rate = None if one.rate is None or other.rate is None else _geometric(one.rate, other.rate, share)
    return Phase(
        mix={name: part for name, part in mix.items() if part > 0},
        clients=round((1 - share) * one.clients + share * other.clients),
        rate=rate,
        span=_geometric(one.span, other.span, share),
    )


def places(shape: Shape, last: int, length: int) -> list[float]:
    """Where on the way through the phases each interval stands: 0 at the first, `last` at the last."""
    if shape == "steady":
        return [0.0] * length
    if shape == "gradual":
        return [last * i / max(1, length - 1) for i in range(length)]
    if shape == "sudden":
        return [float(min((last + 1) * i // length, last)) for i in range(length)]
    turn = min(PERIOD, length)
    return [last * (1 - math.cos(2 * math.pi * i / turn)) / 2 for i in range(length)]


def _at(phases: Sequence[Phase], place: float) -> Phase:
    before = min(int(place), len(phases) - 1)
    after = min(before + 1, len(phases) - 1)
    return blend(phases[before], phases[after], place - before)


def _jittered(phase: Phase, rng: np.random.Generator) -> Phase:
    factors = np.exp(rng.normal(0.0, JITTER, len(phase.mix)))
    mix = {name: share * float(factor) for (name, share), factor in zip(phase.mix.items(), factors, strict=True)}
    return Phase(mix, phase.clients, phase.rate, phase.span)


def _geometric(one: float, other: float, share: float) -> float:
    return float(math.exp((1 - share) * math.log(one) + share * math.log(other)))

"""What a live database is going through, as about ten numbers: how much is asked of it, what, and how much data that
touches (OnlineTune, section 4).

Contexts must not follow from the settings that are being tried, or a gain would look like another workload. So a
statement always weighs what it took when it was first seen, and plans are estimated under the vendor's planner costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from db_knobs import embedding
from db_knobs.address import Kind
from db_knobs.database import Estimate, Probe
from db_knobs.embedding import Projection, words
from db_knobs.statistics import Metrics, Statement, Workload

MIX = tuple(f"mix {number}" for number in range(1, embedding.SIZE + 1))
DATA = ("examined", "filtered", "indexed")
# Statements that are remembered; those first seen longest ago go first.
KNOWN = 2_000
# Share of the connections that wait for no answer, at least: what is measured is never so exact.
_LEAST_FREE = 0.05
_WRITES = {"insert", "update", "delete", "merge", "replace", "copy", "load", "truncate"}
_READS = {"select", "with", "values", "table"}


@dataclass(frozen=True)
class _Seen:
    """A statement as it was when it was first seen.

    Attributes:
        cost: seconds a call.
        kind: 1 for a write, 0 for a read, -1 for neither.
        mix: (SIZE,) of its text; empty where that was not told.
    """

    cost: float
    kind: int
    mix: tuple[float, ...]


class ContextReader:
    """Makes contexts from what was measured; equal readings in equal order give equal contexts, bit for bit.

    It learns once what statements there are: from `learn`, or else from the first reading that has any. Texts are
    needed when a statement is first seen, and not again.

    Args:
        statements: whether the server tells statements, with texts.
        estimates: whether its planner can be asked; MySQL and MariaDB count what was examined themselves.

    Attributes:
        features: names of the numbers, in their order.
    """

    def __init__(self, kind: Kind, *, statements: bool, estimates: bool) -> None:
        self._kind, self._statements = kind, statements
        self._data = statements and (estimates or kind != "postgresql")
        self.features: tuple[str, ...] = (
            *("demand", "writes"),
            *(MIX if statements else ()),
            *(DATA if self._data else ()),
        )
        self._projection: Projection | None = None
        self._seen: dict[str, _Seen] = {}
        self._last_data = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, probe: Probe) -> ContextReader:
        """For a server as it was probed."""
        return cls(probe.kind, statements=probe.can("statements"), estimates=probe.can("estimates"))

    def learn(self, workload: Workload) -> None:
        """Learn the axes from all that was counted so far, unless they are learnt; remember statements that are new."""
        told = {name: statement for name, statement in workload.items() if statement.text}
        if self._projection is None and told and self._statements:
            self._projection = Projection.learn(
                [(words(statement.text, self._kind), statement.seconds) for statement in told.values()]
            )
        for name, statement in told.items():
            self._meet(name, statement)

    def read(
        self, metrics: Metrics, ran: Mapping[str, Statement], estimates: Mapping[str, Estimate]
    ) -> tuple[float, ...]:
        """The context of one interval.

        Args:
            ran: what ran in it (`statistics.workload_between`), with texts of statements that were not seen before.
            estimates: of some of them; an interval without any keeps the last one's.
        Returns:
            Finite numbers, one for each of `features`.
        """
        self.learn(ran)
        weighed = [
            (name, statement, self._seen[name])
            for name, statement in sorted(ran.items())
            if name in self._seen and statement.calls > 0
        ]
        found = [_demand(metrics, weighed), _writes(weighed)]
        if self._statements:
            found += _mix(weighed)
        if self._data:
            self._last_data = _data(weighed, estimates) or self._last_data
            found += self._last_data
        return tuple(float(value) if math.isfinite(value) else 0.0 for value in found)

    def state(self) -> dict[str, Any]:
        """Everything that later contexts depend on, as plain data for JSON."""
        return {
            "projection": None if self._projection is None else self._projection.state(),
            "seen": {name: [seen.cost, seen.kind, *seen.mix] for name, seen in self._seen.items()},
            "data": list(self._last_data),
        }

    @classmethod
    def from_state(cls, kind: Kind, features: Sequence[str], state: Mapping[str, Any]) -> ContextReader:
        """The reader that wrote `state`, which reads on as if it had never been away.

        Args:
            features: of that reader.
        """
        reader = cls(kind, statements=MIX[0] in features, estimates=DATA[0] in features)
        if state["projection"] is not None:
            reader._projection = Projection.from_state(state["projection"])
        for name, (cost, of_kind, *mix) in state["seen"].items():
            reader._seen[name] = _Seen(cost, int(of_kind), tuple(mix))
        first, second, third = state["data"]
        reader._last_data = (first, second, third)
        return reader

    def _meet(self, name: str, statement: Statement) -> None:
        """Remember a statement as it is now, unless it is known."""
        if name in self._seen or statement.calls <= 0:
            return
        found = words(statement.text, self._kind)
        mix = () if self._projection is None else tuple(float(x) for x in self._projection(found))
        self._seen[name] = _Seen(statement.seconds / statement.calls, _kind_of(found), mix)
        while len(self._seen) > KNOWN:
            del self._seen[next(iter(self._seen))]


_Weighed = Sequence[tuple[str, Statement, _Seen]]


def _demand(metrics: Metrics, weighed: _Weighed) -> float:
    """Logarithm of the connections that would be busy, had every statement taken what it took at first, and had all
    connections asked all the time as those that wait for no answer do.

    A client that waits for its answers asks more often when they come faster. What it asks in the time that it does not
    wait hardly depends on the settings, and no more can be busy than are connected. Where no statements are told, these
    are the connections that are busy.
    """
    most = metrics.connections
    busy = sum(statement.calls * seen.cost for _, statement, seen in weighed) / metrics.seconds
    waiting = sum(statement.seconds for _, statement, _ in weighed) / metrics.seconds
    if busy <= 0:
        rate = metrics.throughput if metrics.statements_per_second is None else metrics.statements_per_second
        busy = rate if metrics.latency_mean_ms is None else rate * metrics.latency_mean_ms / 1000
    if not most:
        return math.log1p(busy)
    free = max(1.0 - waiting / most, _LEAST_FREE)
    return math.log1p(min(busy / free, most))


def _writes(weighed: _Weighed) -> float:
    """Share of writes among calls that read or write."""
    writes = sum(statement.calls for _, statement, seen in weighed if seen.kind == 1)
    reads = sum(statement.calls for _, statement, seen in weighed if seen.kind == 0)
    return writes / (writes + reads) if writes + reads > 0 else 0.0


def _mix(weighed: _Weighed) -> list[float]:
    """(SIZE,) of the statements, weighted by the time that they would have taken."""
    total, sums = 0.0, np.zeros(embedding.SIZE)
    for _, statement, seen in weighed:
        if seen.mix:
            weight = statement.calls * seen.cost
            total += weight
            sums += weight * np.array(seen.mix)
    return [float(value) for value in sums / total] if total > 0 else [0.0] * embedding.SIZE


def _data(weighed: _Weighed, estimates: Mapping[str, Estimate]) -> tuple[float, float, float] | None:
    """Rows examined a call (logarithm), share of them thrown away, share of accesses through an index; weighted by
    time as the mix is. None where nothing is known."""
    total = rows = filtered = indexed = 0.0
    for name, statement, seen in weighed:
        estimate = estimates.get(name) or _counted(statement)
        if estimate is not None:
            weight = statement.calls * seen.cost
            total += weight
            rows += weight * estimate.rows
            filtered += weight * estimate.filtered
            indexed += weight * estimate.indexed
    return (math.log1p(rows / total), filtered / total, indexed / total) if total > 0 else None


def _counted(statement: Statement) -> Estimate | None:
    """What a server that counts rows examined says itself."""
    if statement.examined is None:
        return None
    examined = statement.examined / statement.calls
    kept = min(statement.rows, statement.examined) / statement.examined if statement.examined > 0 else 1.0
    unindexed = 0.0 if statement.unindexed is None else min(statement.unindexed / statement.calls, 1.0)
    return Estimate(rows=examined, filtered=1.0 - kept, indexed=1.0 - unindexed)


def _kind_of(found: Sequence[str]) -> int:
    """1 for a write, 0 for a read, -1 for neither."""
    if not found:
        return -1
    if found[0] in _WRITES or (found[0] == "with" and _WRITES & set(found)):
        return 1
    return 0 if found[0] in _READS else -1

"""What is known of a server beyond its knobs: its context in numbers, the rules of its kind, what would break it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

from db_knobs import memory, noise, rules
from db_knobs.context import ContextReader
from db_knobs.database import Database, Estimate, Probe
from db_knobs.errors import ConnectionLost, DatabaseError, ServerBusy, UnknownKnob
from db_knobs.knob import Knob
from db_knobs.statistics import Metrics, Statement, Workload, workload_between
from optimizers.onlinetune import Rule
from tunewright.space import Config

# Statements are estimated once, while a session's process lives: plans of the settings that are tried would otherwise
# become part of the context that they are judged in.
MOST_ESTIMATES = 2_000


class Insight(Protocol):
    """What a session asks about its server."""

    features: Sequence[str]

    def context(self, metrics: Metrics, ran: Workload) -> tuple[float, ...]:
        """The context of an interval, as many numbers as `features`.

        Args:
            ran: statements that ran in it, without their texts.
        Raises:
            ConnectionLost: texts or plans could not be read.
        """

    def rules(self, metrics: Metrics | None) -> list[Rule]:
        """Rules that hold now."""

    def guard(self, config: Config) -> str | None:
        """Why settings would endanger the server; None where they would not."""

    def noise(self, interval: float) -> str | None:
        """Why intervals of so many seconds are unlike each other, whatever the settings; None where they are not.

        Raises:
            ConnectionLost: the server could not be asked.
        """

    def state(self) -> dict[str, Any]:
        """What makes the same context of the same interval in another process (JSON values)."""


def as_rules(advice: Sequence[rules.Advice]) -> list[Rule]:
    """Rules as the tuner takes them."""
    known = {field.name for field in fields(Rule)}
    return [Rule(**{name: value for name, value in vars(each).items() if name in known}) for each in advice]


def broken(rule: Rule, standing: Config) -> bool:
    """Whether settings are not as a rule would have them."""

    def number(name: str) -> float:
        return float(standing[name])

    return (
        any(number(name) < low for name, low in rule.low.items())
        or any(number(name) > high for name, high in rule.high.items())
        or any(standing[name] not in values for name, values in rule.among.items())
    )


class ServerInsight:
    """`Insight` of a live database.

    Args:
        knobs: that are tuned, at the reference.
        features, state: of an earlier one; None where there is none.
    """

    def __init__(
        self,
        database: Database,
        probe: Probe,
        knobs: Sequence[Knob],
        features: Sequence[str] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._database, self._probe, self._knobs = database, probe, list(knobs)
        tuned = {knob.name for knob in self._knobs}
        others = _standing(database, [name for name in memory.needed(probe.kind) if name not in tuned])
        self._guard = memory.guard(probe.kind, self._knobs, probe.host, probe.max_connections, others)
        self._workload = database.workload()
        self._estimates: dict[str, Estimate | None] = {}
        self._reader = ContextReader.of(probe)
        if features is not None and state is not None:
            self._reader = ContextReader.from_state(probe.kind, features, state)
        self._reader.learn(self._workload)
        self.features: Sequence[str] = self._reader.features

    def context(self, metrics: Metrics, ran: Workload) -> tuple[float, ...]:
        before, self._workload = self._workload, self._database.workload()
        told = workload_between(before, self._workload)
        if ran:
            # What ran within the interval, rather than since anybody looked.
            told = {n: replace(statement, text=told[n].text) for n, statement in ran.items() if n in told}
        return self._reader.read(metrics, told, self._estimated(told))

    def rules(self, metrics: Metrics | None) -> list[Rule]:
        return as_rules(rules.advice(self._probe.kind, self._knobs, self._probe.host, self._probe, metrics))

    def guard(self, config: Config) -> str | None:
        return self._guard(config)

    def noise(self, interval: float) -> str | None:
        return noise.of_checkpoints(_standing(self._database, noise.needed(self._probe.kind)), interval)

    def state(self) -> dict[str, Any]:
        return self._reader.state()

    def _estimated(self, told: Mapping[str, Statement]) -> dict[str, Estimate]:
        if len(self._estimates) > MOST_ESTIMATES:
            self._estimates.clear()
        new = {name: statement for name, statement in told.items() if name not in self._estimates}
        if new and self._probe.can("estimates"):
            try:
                found = self._database.estimate(new)
            except ServerBusy:
                # It lets nobody in just now; the connection that there is is worth more than a plan.
                new, found = {}, {}
            except ConnectionLost:
                raise
            except DatabaseError:
                found = {}
            self._estimates |= {name: found.get(name) for name in new}
        return {name: known for name in told if (known := self._estimates.get(name)) is not None}


def _standing(database: Database, names: Sequence[str]) -> Config:
    """What settings stand at, of those that this server has."""
    found: Config = {}
    for name in names:
        try:
            found |= database.read([name])
        except UnknownKnob:
            continue
    return found

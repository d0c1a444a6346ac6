"""White-box rules: experts' bounds on knobs, tested and relaxed where the model keeps contradicting them (section 6.2).

A rule never forbids the reference: its bounds reach as far as the reference's own value. What it forbids is to go
further out than that. So a rule that the reference breaks is advice to move, and `advice` says where to.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import OptimizerError
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace, Value

T = TypeVar("T")
# The authors' values.
_CONFLICTS: Mapping[str, int] = {"low": 3, "high": 6}
_TEST_PROBABILITY = 0.3
_SAFE_TESTS = 3
# Pieces of advice that may do harm before no more is taken.
_HARMFUL = 2
_BEYOND = (0.5, 1.5)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """Bounds that an expert's heuristic gives to some knobs, as plain data.

    Attributes:
        id: under which it is remembered when its bounds change with the context.
        low, high: knob -> smallest and largest value, in the knob's own unit.
        among: knob -> values, of knobs that have choices.
        risk: `high` where breaking it endangers the server; it takes longer to be put in doubt.
        hard: never put in doubt.
        text: for people.
    """

    id: str
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    among: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    risk: Literal["low", "high"] = "low"
    hard: bool = False
    text: str = ""


def about(rules: Sequence[Rule], names: Collection[str]) -> list[Rule]:
    """Rules as far as they speak of these knobs; without those that speak of none of them."""

    def those(bounds: Mapping[str, T]) -> dict[str, T]:
        return {name: bound for name, bound in bounds.items() if name in names}

    found = (replace(rule, low=those(rule.low), high=those(rule.high), among=those(rule.among)) for rule in rules)
    return [rule for rule in found if rule.low or rule.high or rule.among]


@dataclass(frozen=True)
class _Between:
    """A stretch of a knob's scale."""

    low: float
    high: float

    def holds(self, u: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (u >= self.low - _ROUNDING) & (u <= self.high + _ROUNDING)

    def reaching(self, u: float) -> _Between:
        return _Between(min(self.low, u), max(self.high, u))

    @property
    def middle(self) -> float:
        return 0.5 * (self.low + self.high)


@dataclass(frozen=True)
class _Among:
    """Some of a knob's choices, the preferred one first.

    Attributes:
        ordered: all of them, in ascending order; empty where they have none.
    """

    places: tuple[float, ...]
    ordered: tuple[float, ...] = ()

    def holds(self, u: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((np.abs(u[:, None] - np.array(self.places)) <= _ROUNDING).any(axis=1))

    def reaching(self, u: float) -> _Among:
        nearest = min(self.places, key=lambda place: abs(place - u), default=u)
        low, high = min(u, nearest), max(u, nearest)
        return _Among((*self.places, *(place for place in self.ordered if low < place < high), u), self.ordered)

    def wider(self, out: int) -> _Among:
        """With as many more steps of the order on every side."""
        near = [
            place
            for i, place in enumerate(self.ordered)
            if any(other in self.places for other in self.ordered[max(0, i - out) : i + out + 1])
        ]
        return _Among((*self.places, *near), self.ordered)

    @property
    def middle(self) -> float:
        return self.places[0]


_Inside: TypeAlias = _Between | _Among


@dataclass
class _Record:
    """What became of a rule.

    Attributes:
        conflicts: how often the model preferred what only this rule forbids.
        factor: by which its threshold has grown.
        passed: tests that were safe.
        relaxed: how often its bounds have been moved out.
        advised: how often its advice was taken; harmed: how often that was unsafe; cut: how often that was a false
            alarm.
    """

    conflicts: int = 0
    factor: int = 1
    passed: int = 0
    relaxed: int = 0
    advised: int = 0
    harmed: int = 0
    cut: int = 0


class RuleBook:
    """Rules as a box in the unit cube, and the record of each."""

    def __init__(self, space: SearchSpace, reference: Config) -> None:
        self._space = space
        self._reference = space.encode(reference)
        self._columns = {name: column for column, name in enumerate(space.names)}
        self._records: dict[str, _Record] = {}

    def check(self, rules: Sequence[Rule]) -> None:
        """Raise on rules that do not fit the space.

        Raises:
            OptimizerError: names the rule, and what is wrong with it.
        """
        seen: set[str] = set()
        for rule in rules:
            if rule.id in seen:
                raise OptimizerError(f'rule "{rule.id}" stands twice; give each an id of its own')
            seen.add(rule.id)
            for name in (*rule.low, *rule.high, *rule.among):
                if name not in self._columns:
                    raise OptimizerError(f'rule "{rule.id}": knob "{name}" is not one of the session\'s')
            for name in (*rule.low, *rule.high):
                if isinstance(self._space[name], (Categorical, Ordinal)):
                    raise OptimizerError(f'rule "{rule.id}": "{name}" has choices; list them in `among`')
                if rule.low.get(name, -math.inf) > rule.high.get(name, math.inf):
                    raise OptimizerError(f'rule "{rule.id}": low of "{name}" lies above its high')
            for name in rule.among:
                if not isinstance(self._space[name], (Categorical, Ordinal)):
                    raise OptimizerError(f'rule "{rule.id}": "{name}" is a number; give low or high')

    def forbidden(self, rules: Sequence[Rule], x: NDArray[np.float64], testing: str | None = None) -> NDArray[np.bool_]:
        """(rules, n) whether a rule forbids a point; the one that is tested has its bounds moved out once more."""
        return np.array([~self._holds(rule, x, rule.id == testing) for rule in rules], dtype=bool).reshape(-1, len(x))

    def followed(self, rules: Sequence[Rule], x: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) how many of the rules a point lies within, as far as they were relaxed; a reference may lie outside."""
        within = np.zeros(len(x), dtype=np.int64)
        for rule in rules:
            bounds = self._bounds(rule, self._out(rule)).items()
            within += np.all([inside.holds(x[:, column]) for column, inside in bounds], axis=0)
        return within

    def advice(self, rules: Sequence[Rule], point: NDArray[np.float64]) -> NDArray[np.float64]:
        """The (d,) point with every ruled knob moved into the middle of its bounds, if it lies outside of them."""
        moved = point.copy()
        for rule in rules:
            for column, inside in self._bounds(rule, 0).items():
                if not inside.holds(moved[column : column + 1])[0]:
                    moved[column] = inside.middle
        return moved

    def testable(self, rules: Sequence[Rule], rng: np.random.Generator) -> str | None:
        """The rule to test in this interval: one that was contradicted often enough, and not every time."""
        open_ = [rule for rule in rules if not rule.hard and self._doubted(rule)]
        if not open_ or rng.random() >= _TEST_PROBABILITY:
            return None
        return open_[int(rng.integers(len(open_)))].id

    def untaken(self, rules: Sequence[Rule]) -> list[Rule]:
        """Rules whose advice was not taken yet and may be: of low risk, and none once advice has done harm twice.

        What a false alarm ended has one more chance.
        """
        if sum(record.harmed for record in self._records.values()) >= _HARMFUL:
            return []
        records = [self._records.get(rule.id, _Record()) for rule in rules]
        taken = [record.advised > min(record.cut, 1) for record in records]
        return [rule for rule, was in zip(rules, taken, strict=True) if rule.risk == "low" and not was]

    def absolve(self, rule: str, unsafe: bool) -> None:
        """A false alarm had ended its advice, which may have been taken for unsafe."""
        record = self._records[rule]
        record.cut += 1
        record.harmed -= unsafe

    def learn(self, contradicted: Sequence[str], testing: str | None, unsafe: bool, advised: str | None = None) -> None:
        """An interval ended.

        Args:
            contradicted: rules that stood in the way when it was decided.
            testing: the rule that it tested.
            advised: the rule whose advice it took.
        """
        for name in contradicted:
            self._records.setdefault(name, _Record()).conflicts += 1
        if advised is not None:
            record = self._records.setdefault(advised, _Record())
            record.advised += 1
            record.harmed += unsafe
        if testing is None:
            return
        record = self._records.setdefault(testing, _Record())
        if unsafe:
            record.relaxed = record.passed = record.conflicts = 0
            record.factor *= 2
        else:
            record.passed += 1
            if record.passed > _SAFE_TESTS:
                record.relaxed += 1
                record.passed = record.conflicts = 0

    def state(self) -> dict[str, dict[str, int]]:
        """Rule -> its record, for people."""
        return {name: dict(vars(record)) for name, record in sorted(self._records.items())}

    def _doubted(self, rule: Rule) -> bool:
        record = self._records.get(rule.id)
        return record is not None and record.conflicts >= _CONFLICTS[rule.risk] * record.factor

    def _holds(self, rule: Rule, x: NDArray[np.float64], tested: bool) -> NDArray[np.bool_]:
        holds = np.ones(len(x), dtype=bool)
        for column, inside in self._bounds(rule, self._out(rule, tested)).items():
            # Further out than the reference, but never forbidding the reference itself.
            holds &= inside.reaching(self._reference[column]).holds(x[:, column])
        return holds

    def _out(self, rule: Rule, tested: bool = False) -> int:
        """How often the rule's bounds are moved out."""
        record = self._records.get(rule.id)
        return 0 if rule.hard else (record.relaxed if record else 0) + tested

    def _bounds(self, rule: Rule, out: int) -> dict[int, _Inside]:
        """Column -> what the rule allows there, its bounds moved out so many times."""
        found: dict[int, _Inside] = {}
        for name in dict.fromkeys((*rule.low, *rule.high)):
            parameter, column = self._space[name], self._columns[name]
            assert isinstance(parameter, (Float, Int))
            low, high = rule.low.get(name, parameter.low), rule.high.get(name, parameter.high)
            shrink, grow = _BEYOND
            low, high = (low * (shrink if low > 0 else grow) ** out, high * (grow if high > 0 else shrink) ** out)
            low, high = (min(max(value, parameter.low), parameter.high) for value in (low, high))
            found[column] = _Between(parameter.encode(low), parameter.encode(high))
        for name, values in rule.among.items():
            parameter = self._space[name]
            assert isinstance(parameter, (Categorical, Ordinal))
            every, told = (tuple(parameter.encode(value) for value in some) for some in (parameter.choices, values))
            if isinstance(parameter, Ordinal):
                found[self._columns[name]] = _Among(told, every).wider(out)
            else:
                found[self._columns[name]] = _Among(every if out else told)
        return found

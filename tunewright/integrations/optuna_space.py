"""The search space of an Optuna study, which is nowhere declared: what its trials drew their parameters from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tunewright.errors import SpecError
from tunewright.space import Categorical, Float, Int, SearchSpace, Value

# Distributions of earlier releases and what they were called afterwards.
_OLD_FLOATS = ("UniformDistribution", "LogUniformDistribution", "DiscreteUniformDistribution")
_OLD_INTS = ("IntUniformDistribution", "IntLogUniformDistribution")
# A number that takes more values than this is no condition of another parameter.
MAX_REASONS = 50


class ObservedSpace:
    """Parameters as trials had them, in the order in which they came up.

    A parameter that only some trials have depends on an earlier one if its values tell which trials those are.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Parameter] = {}
        self._conditions: dict[str, dict[str, list[Value]]] = {}

    @classmethod
    def of(
        cls, distributions: Iterable[tuple[str, str]], trials: Iterable[Mapping[str, tuple[str, float]]]
    ) -> ObservedSpace:
        """From all distributions of each parameter, and each trial's parameters.

        Raises:
            SpecError: a parameter cannot be expressed; names it.
        """
        space = cls()
        for name, distribution in distributions:
            if name not in space._seen:
                space._seen[name] = _Parameter(name)
            space._seen[name].widen(json.loads(distribution))
        if not space._seen:
            raise SpecError("optuna: no trial of the study has a parameter")
        space._find_conditions(trials)
        return space

    def space(self) -> SearchSpace:
        """The space as Tunewright has it.

        Raises:
            SpaceError: a range cannot be searched here; names the parameter.
        """
        return SearchSpace([seen.parameter(self._conditions.get(name, {})) for name, seen in self._seen.items()])

    def values(self, parameters: Mapping[str, tuple[str, float]]) -> dict[str, Value]:
        """A trial's values from what is stored of them."""
        return {
            name: self._seen[name].value(json.loads(distribution), stored)
            for name, (distribution, stored) in parameters.items()
        }

    def _find_conditions(self, trials: Iterable[Mapping[str, tuple[str, float]]]) -> None:
        """Give each parameter that some trials lack the first earlier one whose values tell which trials those are."""
        reasons = {name for name, seen in self._seen.items() if seen.few}
        evidence = [
            _Evidence(earlier, later)
            for place, later in enumerate(self._seen)
            for earlier in list(self._seen)[:place]
            if earlier in reasons
        ]
        missing: set[str] = set()
        for trial in trials:
            config = self.values(trial)
            missing.update(self._seen.keys() - config.keys())
            for each in evidence:
                each.take(config)
        for each in evidence:
            # An earlier one that some trials lack must be accounted for itself.
            explained = each.earlier not in missing or each.earlier in self._conditions
            if each.later in missing and each.later not in self._conditions and each.tells and explained:
                values = [value for value in self._seen[each.earlier].values() if _key(value) in each.there]
                self._conditions[each.later] = {each.earlier: values}


class _Evidence:
    """Whether the values of an earlier parameter tell if a later one is there.

    Attributes:
        there, gone: keys of the earlier one's values in trials that have the later one, and that lack it.
    """

    def __init__(self, earlier: str, later: str) -> None:
        self.earlier = earlier
        self.later = later
        self.there: set[Any] = set()
        self.gone: set[Any] = set()
        self._always_with = True

    def take(self, config: Mapping[str, Value]) -> None:
        if self.earlier in config:
            (self.there if self.later in config else self.gone).add(_key(config[self.earlier]))
        elif self.later in config:
            self._always_with = False

    @property
    def tells(self) -> bool:
        return self._always_with and bool(self.there) and not self.there & self.gone


class _Parameter:
    """All that was seen of a parameter."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kind = ""
        self._low = math.inf
        self._high = -math.inf
        self._log = True
        self._grids: set[tuple[float, float | None]] = set()
        self._choices: list[Value] = []

    def widen(self, distribution: Mapping[str, Any]) -> None:
        kind, fields = _known(self._name, distribution)
        if self._kind and kind != self._kind:
            raise SpecError(f'optuna: parameter "{self._name}" is {self._kind} in some trials and {kind} in others')
        self._kind = kind
        if kind == "categorical":
            self._choices.extend(
                choice for choice in map(_choice, fields["choices"]) if _key(choice) not in map(_key, self._choices)
            )
            return
        self._low, self._high = min(self._low, fields["low"]), max(self._high, fields["high"])
        self._log = self._log and bool(fields.get("log"))
        self._grids.add((fields["low"], fields.get("step")))

    def value(self, distribution: Mapping[str, Any], stored: float) -> Value:
        if self._kind == "categorical":
            return _choice(_known(self._name, distribution)[1]["choices"][int(stored)])
        return round(stored) if self._kind == "int" else float(stored)

    @property
    def few(self) -> bool:
        """Whether it has so few values that they may be conditions of other parameters."""
        return self._kind == "categorical" or (self._kind == "int" and self._high - self._low < MAX_REASONS)

    def values(self) -> list[Value]:
        """All of its values, of one that has few."""
        return self._choices if self._kind == "categorical" else list(range(int(self._low), int(self._high) + 1))

    def parameter(self, when: Mapping[str, list[Value]]) -> Float | Int | Categorical:
        if self._kind == "categorical":
            return Categorical(self._name, self._choices, when=dict(when))
        if self._low == self._high:
            only = int(self._low) if self._kind == "int" else float(self._low)
            return Categorical(self._name, [only], when=dict(when))
        step = self._step()
        if self._kind == "int":
            whole = None if step in (None, 1) else int(step or 1)
            return Int(self._name, int(self._low), int(self._high), log=self._log, step=whole, when=dict(when))
        return Float(self._name, self._low, self._high, log=self._log, step=step, when=dict(when))

    def _step(self) -> float | None:
        """The step, if it was always the same, from starts that lie on one grid; on a log scale there is none."""
        steps = {step for _, step in self._grids}
        step = None if self._log or len(steps) != 1 else steps.pop()
        if step is None:
            return None
        cells = [(low - self._low) / step for low, _ in self._grids]
        return step if all(abs(cell - round(cell)) < 1e-6 for cell in cells) else None


def _known(name: str, distribution: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of a distribution, and its fields as the newest release names them."""
    kind, fields = distribution.get("name"), dict(distribution.get("attributes") or {})
    if kind in ("FloatDistribution", *_OLD_FLOATS):
        log = fields.get("log", kind == "LogUniformDistribution")
        return "float", {**fields, "log": log, "step": fields.get("step", fields.get("q"))}
    if kind in ("IntDistribution", *_OLD_INTS):
        return "int", {**fields, "log": fields.get("log", kind == "IntLogUniformDistribution")}
    if kind == "CategoricalDistribution":
        return "categorical", fields
    raise SpecError(f'optuna: parameter "{name}" has a distribution that is not known here: {kind}')


def _choice(value: Any) -> Value:
    """A choice as Tunewright can have it; others are named by their text."""
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite or isinstance(value, (bool, int, str)) else str(value)


def _key(value: Any) -> Any:
    """Tells True from 1."""
    return (isinstance(value, bool), value)

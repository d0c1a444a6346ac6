"""Search spaces: parameters, conditions, and their map to and from the unit cube.

A space is data: frozen, comparable, and the same as YAML, JSON or Python.

    space = SearchSpace(
        Float("learning_rate", 1e-3, 0.5, log=True, default=0.1),
        Int("max_depth", 2, 12),
        Categorical("booster", ["gbtree", "dart"]),
        Float("rate_drop", 0.0, 0.5, when={"booster": "dart"}),
    )

A configuration maps the names of *active* parameters to values: a parameter whose condition does not
hold is absent. In the unit cube every parameter has one coordinate; an inactive one holds its default's,
so that one configuration has one point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    RootModel,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tunewright.errors import SpaceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value: TypeAlias = bool | int | float | str
Config: TypeAlias = dict[str, Value]

MAX_PARAMETERS = 1_000
MAX_CHOICES = 10_000
# Up to here every integer of a range has a float64 coordinate of its own, and is exact as a number in JavaScript.
MAX_INT = 2**50
# On a log scale the upper integers of a range lie closer together in the unit cube.
MAX_LOG_INT = 2**44


class _Parameter(BaseModel):
    """What all parameters share: a name, and the condition under which it is active.

    Attributes:
        name: unique in its space.
        when: parent parameter -> the values for which this one is active; all must hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    when: dict[str, list[Value]] = Field(default_factory=dict)

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, when: Any) -> Any:
        if isinstance(when, Mapping):
            return {k: [*map(_plain, v)] if isinstance(v, (list, tuple)) else [_plain(v)] for k, v in when.items()}
        return when

    @model_serializer(mode="wrap")
    def _type_stands_first(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        # Dumps that leave defaults out must still say which kind of parameter this is. Were it said here that the
        # dump is a dict, the JSON schema would say no more than that.
        fields: dict[str, Any] = handler(self)
        return {"name": self.name, "type": type(self).__name__.lower(), **fields}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        # Python knows the kind of a parameter by its class; in JSON nothing else tells them apart.
        schema["required"] = sorted({*schema.get("required", ()), "type"})
        return schema

    def _fail(self, problem: str) -> SpaceError:
        return SpaceError(f'parameter "{self.name}": {problem}')

    def _check_default(self, default: Value | None) -> None:
        if default is not None and not self.contains(default):
            raise self._fail(f"default ({default!r}) is not one of its own values")

    def active(self, config: Mapping[str, Value]) -> bool:
        """Whether the condition holds; a parent that is itself inactive (absent) makes it false."""
        return all(
            parent in config and any(_same(config[parent], value) for value in values)
            for parent, values in self.when.items()
        )

    @property
    def size(self) -> float:
        """Number of distinct values; `inf` for a continuous parameter."""
        raise NotImplementedError

    def contains(self, value: Any) -> bool:
        """Whether `value` has the right type and lies on the parameter's grid."""
        raise NotImplementedError

    def encode(self, value: Any) -> float:
        """Coordinate in [0, 1]; discrete values sit in the middle of equal bins."""
        raise NotImplementedError

    def decode(self, u: float) -> Value:
        """The value whose bin or scale position holds `u`; `u` is clipped to [0, 1]."""
        raise NotImplementedError

    def default_value(self) -> Value:
        """The declared default, else the middle of the range, else the first choice."""
        raise NotImplementedError


class _Numeric(_Parameter):
    """Bounds, scale and grid shared by Float and Int."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    default: float | None = None

    @model_validator(mode="after")
    def _check(self) -> _Numeric:
        low, high, step = self.low, self.high, self.step
        if not (math.isfinite(low) and math.isfinite(high)):
            raise self._fail(f"bounds must be finite, not {low} and {high}")
        if low >= high:
            raise self._fail(f"low ({low}) must be below high ({high})")
        if self.log and low <= 0:
            raise self._fail(f"a log scale needs low > 0, not {low}; raise low or drop log")
        if not math.isfinite(high / low if self.log else high - low):
            raise self._fail(f"[{low}, {high}] is wider than a float can measure; narrow it")
        if step is not None and not 0 < step <= high - low:
            raise self._fail(f"step ({step}) must be positive and at most high - low ({high - low})")
        if step is not None and self.log:
            raise self._fail("step and log exclude each other; drop one")
        if step is not None and (high - low) / step > MAX_INT:
            raise self._fail(f"step ({step}) divides the range into more than {MAX_INT} values; widen it or drop it")
        self._check_default(self.default)
        return self

    def _cells(self) -> int:
        """Grid points; only meaningful where the parameter has a step."""
        assert self.step is not None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def _scale(self, value: float, low: float, high: float) -> float:
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def _unscale(self, u: float, low: float, high: float) -> float:
        if self.log:
            return float(low * (high / low) ** u)
        return low + u * (high - low)


class Float(_Numeric):
    """A real number between `low` and `high`, both included.

    Attributes:
        log: search evenly in the logarithm.
        step: restrict to low, low + step, ...; excludes `log`.
        default: value to try first and to stand for the parameter while it is inactive.
    """

    type: Literal["float"] = "float"

    def __init__(
        self, name: str | None = None, low: float | None = None, high: float | None = None, **fields: Any
    ) -> None:
        super().__init__(**_given(name=name, low=low, high=high), **fields)

    @model_validator(mode="after")
    def _check_grid(self) -> Float:
        low, high, step = self.low, self.high, self.step
        if step is not None and step < 8 * math.ulp(max(abs(low), abs(high))):
            raise self._fail(f"step ({step}) is finer than floats between {low} and {high}; widen it or drop it")
        return self

    @property
    def size(self) -> float:
        return math.inf if self.step is None else self._cells()

    def contains(self, value: Any) -> bool:
        if not _is_number(value):
            return False
        if self.step is None:
            return bool(self.low <= value <= self.high)
        cell = (float(value) - self.low) / self.step
        # 0.1 * 3 lies on a grid that ends at 0.3. Far from 0 the spacing of floats is a larger part of a small step.
        dust = 1e-6 + 2 * math.ulp(max(abs(self.low), abs(self.high))) / self.step
        return -1 < cell < self._cells() and abs(cell - round(cell)) < dust and 0 <= round(cell) < self._cells()

    def snap(self, value: float) -> float:
        """The one number for a grid point, of all that `contains` takes for it."""
        return value if self.step is None else self._at(round((value - self.low) / self.step))

    def encode(self, value: Any) -> float:
        if self.step is None:
            return min(max(self._scale(float(value), self.low, self.high), 0.0), 1.0)
        return (round((float(value) - self.low) / self.step) + 0.5) / self._cells()

    def decode(self, u: float) -> float:
        u = min(max(float(u), 0.0), 1.0)
        if self.step is None:
            return min(max(self._unscale(u, self.low, self.high), self.low), self.high)
        return self._at(_bin(u, self._cells()))

    def _at(self, cell: int) -> float:
        assert self.step is not None
        value = self.low + cell * self.step
        # Twelve digits drop the dust of binary multiples: 0.1 + 2 * 0.1 is 0.3. A fine grid far from 0 needs them all.
        short = float(f"{value:.12g}")
        return min(max(short if abs(short - value) < 1e-7 * self.step else value, self.low), self.high)

    def default_value(self) -> float:
        return self.decode(0.5) if self.default is None else self.snap(self.default)


class Int(_Numeric):
    """An integer between `low` and `high`, both included.

    Attributes:
        log: search evenly in the logarithm.
        step: restrict to low, low + step, ...; excludes `log`.
        default: value to try first and to stand for the parameter while it is inactive.
    """

    type: Literal["int"] = "int"
    low: int = Field(ge=-MAX_INT, le=MAX_INT)
    high: int = Field(ge=-MAX_INT, le=MAX_INT)
    step: int | None = None
    default: int | None = None

    def __init__(self, name: str | None = None, low: int | None = None, high: int | None = None, **fields: Any) -> None:
        super().__init__(**_given(name=name, low=low, high=high), **fields)

    @model_validator(mode="after")
    def _check_log_range(self) -> Int:
        if self.log and self.high > MAX_LOG_INT:
            raise self._fail(f"high ({self.high}) must be at most {MAX_LOG_INT} on a log scale; use a larger unit")
        return self

    @property
    def size(self) -> float:
        return self.high - self.low + 1 if self.step is None else self._cells()

    def contains(self, value: Any) -> bool:
        if not _is_integer(value):
            return False
        return bool(self.low <= value <= self.high) and (int(value) - self.low) % (self.step or 1) == 0

    def encode(self, value: Any) -> float:
        if self.log:
            # Half a unit on both sides, so that the first and the last integer get whole bins.
            return self._scale(float(value), self.low - 0.5, self.high + 0.5)
        step = self.step or 1
        return ((int(value) - self.low) // step + 0.5) / int(self.size)

    def decode(self, u: float) -> int:
        u = min(max(float(u), 0.0), 1.0)
        if self.log:
            value = math.floor(self._unscale(u, self.low - 0.5, self.high + 0.5) + 0.5)
            return min(max(value, self.low), self.high)
        return self.low + _bin(u, int(self.size)) * (self.step or 1)

    def default_value(self) -> int:
        return self.decode(0.5) if self.default is None else self.default


class _Choice(_Parameter):
    """Choices, in the order given; shared by Categorical and Ordinal."""

    choices: list[Value] = Field(max_length=MAX_CHOICES)
    default: Value | None = None

    @field_validator("choices", "default", mode="before")
    @classmethod
    def _of_python(cls, given: Any) -> Any:
        return [_plain(value) for value in given] if isinstance(given, (list, tuple)) else _plain(given)

    @model_validator(mode="after")
    def _check(self) -> _Choice:
        if not self.choices:
            raise self._fail("choices is empty; give at least one value")
        for choice in self.choices:
            if isinstance(choice, float) and not math.isfinite(choice):
                raise self._fail(f"choice {choice!r} is not finite; name it with a string")
        seen: set[tuple[bool, Value]] = set()
        for choice in self.choices:
            # The same equality as `_same`, without comparing every pair.
            if (isinstance(choice, bool), choice) in seen:
                raise self._fail(f"choice {choice!r} stands twice; remove one")
            seen.add((isinstance(choice, bool), choice))
        self._check_default(self.default)
        return self

    @property
    def size(self) -> float:
        return len(self.choices)

    def contains(self, value: Any) -> bool:
        return any(_same(value, choice) for choice in self.choices)

    def index(self, value: Any) -> int:
        """Position of `value` among the choices.

        Raises:
            SpaceError: it is none of them.
        """
        for i, choice in enumerate(self.choices):
            if _same(value, choice):
                return i
        raise self._fail(f"{value!r} is none of {self.choices}")

    def encode(self, value: Any) -> float:
        return (self.index(value) + 0.5) / len(self.choices)

    def decode(self, u: float) -> Value:
        return self.choices[_bin(min(max(float(u), 0.0), 1.0), len(self.choices))]

    def default_value(self) -> Value:
        return self.choices[0] if self.default is None else self.default


class Categorical(_Choice):
    """One of several values without an order."""

    type: Literal["categorical"] = "categorical"

    def __init__(self, name: str | None = None, choices: Sequence[Value] | None = None, **fields: Any) -> None:
        super().__init__(**_given(name=name, choices=choices), **fields)


class Ordinal(_Choice):
    """One of several values, given in a meaningful order (small to large)."""

    type: Literal["ordinal"] = "ordinal"

    def __init__(self, name: str | None = None, choices: Sequence[Value] | None = None, **fields: Any) -> None:
        super().__init__(**_given(name=name, choices=choices), **fields)


Parameter: TypeAlias = Annotated[Float | Int | Categorical | Ordinal, Field(discriminator="type")]


class SearchSpace(RootModel[list[Parameter]]):
    """An ordered set of parameters.

    Promises:
        - `decode(encode(config)) == config` for every valid configuration (to rounding for continuous values);
        - `encode(decode(u))` is one canonical point for all `u` that mean the same configuration;
        - a parent stands before the parameters that depend on it, so conditions cannot form a circle.
    """

    model_config = ConfigDict(frozen=True)

    root: list[Parameter] = Field(max_length=MAX_PARAMETERS)

    @model_validator(mode="before")
    @classmethod
    def _mapping_is_a_list(cls, data: Any) -> Any:
        # `lr: {type: float, ...}` reads better in YAML than a list of parameters with names.
        if isinstance(data, Mapping):
            for name, fields in data.items():
                if not isinstance(fields, Mapping):
                    raise SpaceError(f'parameter "{name}": expected its fields (type, low, high, ...), not {fields!r}')
            return [{"name": name, **fields} for name, fields in data.items()]
        return data

    def __init__(self, *parameters: Any, **fields: Any) -> None:
        if fields:
            super().__init__(**fields)
        elif len(parameters) == 1 and isinstance(parameters[0], (list, tuple)):
            super().__init__(list(parameters[0]))
        elif len(parameters) == 1 and isinstance(parameters[0], Mapping) and "type" not in parameters[0]:
            super().__init__(parameters[0])
        else:
            super().__init__(list(parameters))

    @model_validator(mode="after")
    def _check(self) -> SearchSpace:
        if not self.root:
            raise SpaceError("the search space is empty; give at least one parameter")
        seen: dict[str, Float | Int | Categorical | Ordinal] = {}
        for place, parameter in enumerate(self.root):
            if parameter.name in seen:
                raise SpaceError(f'parameter "{parameter.name}" stands twice; rename one')
            for parent, values in parameter.when.items():
                _check_condition(parameter.name, parent, values, seen)
            # Conditions compare with what configurations hold: a parent's own values.
            when = {name: [_own_type(seen[name], value) for value in values] for name, values in parameter.when.items()}
            if when != parameter.when:
                self.root[place] = parameter.model_copy(update={"when": when})
            seen[parameter.name] = parameter
        return self

    @property
    def parameters(self) -> Sequence[Float | Int | Categorical | Ordinal]:
        return self.root

    @property
    def names(self) -> list[str]:
        return [parameter.name for parameter in self.root]

    @property
    def searched(self) -> list[str]:
        """Names of the parameters that can be more than one value; of all, where none can."""
        return [parameter.name for parameter in self.root if parameter.size > 1] or self.names

    @property
    def dimension(self) -> int:
        """Number of coordinates in the unit cube: one per parameter."""
        return len(self.root)

    @property
    def size(self) -> float:
        """Upper bound on the number of distinct configurations; `inf` with a continuous parameter."""
        return math.prod(parameter.size for parameter in self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, name: str) -> Float | Int | Categorical | Ordinal:
        for parameter in self.root:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def encode(self, config: Mapping[str, Any]) -> NDArray[np.float64]:
        """Point of a configuration in the unit cube.

        Returns:
            (dimension,) float64 in [0, 1]; inactive parameters hold the coordinate of their default.
        """
        import numpy as np

        return np.array(
            [
                parameter.encode(config[parameter.name] if parameter.name in config else parameter.default_value())
                for parameter in self.root
            ]
        )

    def decode(self, u: NDArray[np.float64]) -> Config:
        """Configuration at a point of the unit cube, without its inactive parameters.

        Args:
            u: (dimension,) numbers; clipped to [0, 1].
        """
        config: Config = {}
        for parameter, coordinate in zip(self.root, u, strict=True):
            if parameter.active(config):
                config[parameter.name] = parameter.decode(float(coordinate))
        return config

    def default(self) -> Config:
        """The configuration of all defaults."""
        config: Config = {}
        for parameter in self.root:
            if parameter.active(config):
                config[parameter.name] = parameter.default_value()
        return config

    def complete(self, config: Mapping[str, Any]) -> Config:
        """A configuration of which only some values are given, with the defaults of the others.

        Raises:
            SpaceError: as `validate_config`.
        """
        whole = dict(config)
        for parameter in self.root:
            if parameter.name not in whole and parameter.active(whole):
                whole[parameter.name] = parameter.default_value()
            elif parameter.name in whole and parameter.contains(whole[parameter.name]):
                whole[parameter.name] = _own_type(parameter, whole[parameter.name])
        return self.validate_config(whole)

    def over(self, declared: SearchSpace) -> SearchSpace:
        """This space, and what it leaves out of a declared one, which stays at its default.

        What depends on values that are not searched here is left out.
        """
        found = {parameter.name: parameter for parameter in self.root}
        for parameter in declared.root:
            if parameter.name in found:
                continue
            when = {
                parent: [value for value in values if parent in found and found[parent].contains(value)]
                for parent, values in parameter.when.items()
            }
            if all(when.values()):
                found[parameter.name] = Categorical(parameter.name, [parameter.default_value()], when=when)
        return SearchSpace(*found.values()) if len(found) > len(self.root) else self

    def validate_config(self, config: Mapping[str, Any]) -> Config:
        """The configuration with values of their parameters' own types.

        Raises:
            SpaceError: a value is missing, unknown, inactive or outside its parameter; names which.
        """
        known = set(self.names)
        unknown = [name for name in config if name not in known]
        if unknown:
            raise SpaceError(f'configuration: unknown parameter "{unknown[0]}"; known are {", ".join(self.names)}')
        checked: Config = {}
        for parameter in self.root:
            if not parameter.active(checked):
                if parameter.name in config:
                    raise SpaceError(f'parameter "{parameter.name}" is inactive here ({parameter.when}); leave it out')
                continue
            if parameter.name not in config:
                raise SpaceError(f'configuration: parameter "{parameter.name}" is missing')
            value = config[parameter.name]
            if not parameter.contains(value):
                raise SpaceError(f'parameter "{parameter.name}": {value!r} lies outside {_describe(parameter)}')
            checked[parameter.name] = _own_type(parameter, value)
        return checked

    def canonical_json(self) -> str:
        """JSON text that is equal for equal spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def config_key(config: Mapping[str, Any]) -> str:
    """Text that is equal for equal configurations, whatever their order."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def _given(**fields: Any) -> dict[str, Any]:
    """Positional arguments as fields; one left out is missing, for pydantic to say so."""
    return {name: value for name, value in fields.items() if value is not None}


def _is_number(value: Any) -> bool:
    """Whether it is a number, of Python or of NumPy; a bool is none."""
    if isinstance(value, (bool, int, float)):
        return not isinstance(value, bool)
    # Commands and many trials never meet one of NumPy's, and should not wait for it.
    import numpy as np

    return isinstance(value, (np.floating, np.integer))


def _is_integer(value: Any) -> bool:
    """Whether it is an integer, of Python or of NumPy; a bool is none."""
    if isinstance(value, (bool, int)):
        return not isinstance(value, bool)
    import numpy as np

    return isinstance(value, np.integer)


def _bin(u: float, bins: int) -> int:
    return min(int(u * bins), bins - 1)


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's values and lists, of the same kind; all else as it is."""
    return value.tolist() if hasattr(value, "dtype") and hasattr(value, "tolist") else value


def _same(a: Any, b: Any) -> bool:
    """Equality that keeps True and 1 apart, as JSON does."""
    a, b = _plain(a), _plain(b)
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _own_type(parameter: Float | Int | Categorical | Ordinal, value: Any) -> Value:
    if isinstance(parameter, Float):
        return parameter.snap(float(value))
    if isinstance(parameter, Int):
        return int(value)
    return parameter.choices[parameter.index(value)]


def _describe(parameter: Float | Int | Categorical | Ordinal) -> str:
    if isinstance(parameter, (Categorical, Ordinal)):
        return str(parameter.choices)
    step = f" in steps of {parameter.step}" if parameter.step is not None else ""
    kind = "integers " if isinstance(parameter, Int) else ""
    return f"{kind}[{parameter.low}, {parameter.high}]{step}"


def _check_condition(
    child: str,
    parent: str,
    values: Sequence[Value],
    earlier: Mapping[str, Float | Int | Categorical | Ordinal],
) -> None:
    if parent not in earlier:
        raise SpaceError(f'parameter "{child}": when names "{parent}", which must be declared before it')
    if not values:
        raise SpaceError(f'parameter "{child}": when "{parent}" lists no value, so it could never be active')
    for value in values:
        if not earlier[parent].contains(value):
            raise SpaceError(f'parameter "{child}": when "{parent}" is {value!r}, which "{parent}" can never be')

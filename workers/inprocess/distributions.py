"""What scikit-learn's searches take as `param_distributions`, as a search space and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import ValidationError

from tunewright.errors import SpaceError
from tunewright.space import Categorical, Config, Float, Int, Ordinal, Parameter, SearchSpace, Value
from tunewright.study import finite

# Distributions without a range of their own are searched between these quantiles.
_QUANTILES = (0.001, 0.999)


class Distributions:
    """A search space, and what its values stand for.

    Attributes:
        space: the parameters.
    """

    def __init__(self, space: SearchSpace, meanings: Mapping[str, Callable[[Value], Any]]) -> None:
        self.space = space
        self._meanings = meanings

    @classmethod
    def of(cls, given: Any) -> Distributions:
        """From a `SearchSpace`, or a mapping of each parameter to one of

        - a list of values: in their order where it is one of numbers that grow, else without order;
        - a frozen distribution of `scipy.stats`: `uniform`, `loguniform` and `randint` over their range, any other by
          its quantiles;
        - the fields of a parameter as in a study's YAML, such as `{"type": "float", "low": 0.1, "high": 1.0}`.

        Raises:
            SpaceError: something else; names the parameter.
        """
        if isinstance(given, SearchSpace):
            return cls(given, {})
        if not isinstance(given, Mapping):
            raise SpaceError(
                f"param_distributions: expected a SearchSpace or a dict, not {type(given).__name__}; several "
                'alternatives are one space with conditions ("when")'
            )
        parameters: list[Parameter] = []
        meanings: dict[str, Callable[[Value], Any]] = {}
        for name, distribution in given.items():
            parameter, meaning = _parameter(name, distribution)
            parameters.append(parameter)
            if meaning is not None:
                meanings[name] = meaning
        return cls(SearchSpace(parameters), meanings)

    def params(self, config: Config) -> dict[str, Any]:
        """A configuration as an estimator's parameters."""
        return {
            name: self._meanings[name](value) if name in self._meanings else value for name, value in config.items()
        }


def _parameter(name: str, distribution: Any) -> tuple[Parameter, Callable[[Value], Any] | None]:
    if isinstance(distribution, Mapping):
        return _declared(name, distribution), None
    if hasattr(distribution, "ppf") and hasattr(distribution, "support"):
        return _drawn(name, distribution)
    if isinstance(distribution, Iterable) and not isinstance(distribution, (str, bytes)):
        return _listed(name, list(distribution))
    raise SpaceError(
        f'parameter "{name}": {distribution!r} is no list of values, no frozen distribution of scipy.stats and no '
        "mapping with a type"
    )


def _declared(name: str, fields: Mapping[str, Any]) -> Parameter:
    try:
        return SearchSpace({name: fields})[name]
    except ValidationError as error:
        raise SpaceError(f'parameter "{name}": {error.errors()[0]["msg"]}') from None


def _listed(name: str, values: list[Any]) -> tuple[Parameter, Callable[[Value], Any] | None]:
    if not values:
        raise SpaceError(f'parameter "{name}": its list is empty; give at least one value')
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    simple = all(isinstance(value, (bool, str)) or finite(value) for value in plain)
    # 1 and 1.0 may mean different things to an estimator, and are one choice to a space; so are two that are equal.
    if simple and len(set(plain)) == len(plain):
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in plain)
        if numbers and all(a < b for a, b in pairwise(plain)):
            return Ordinal(name, plain), None
        return Categorical(name, plain), None
    # Whatever else an estimator takes (None, functions, other estimators) is chosen by its place in the list.
    return Categorical(name, list(range(len(plain)))), lambda place: plain[int(place)]


def _drawn(name: str, distribution: Any) -> tuple[Parameter, Callable[[Value], Any] | None]:
    kind = getattr(getattr(distribution, "dist", None), "name", "")
    low, high = (end.item() for end in map(np.asarray, distribution.support()))
    if kind == "randint":
        return _single(name, int(low)) if low == high else Int(name, int(low), int(high)), None
    if kind in ("uniform", "loguniform", "reciprocal"):
        return Float(name, low, high, log=kind != "uniform"), None
    whole = not hasattr(distribution, "pdf")

    def value(quantile: Value) -> Any:
        drawn = distribution.ppf(quantile).item()
        return int(drawn) if whole else drawn

    return Float(name, *_QUANTILES), value


def _single(name: str, value: int) -> Parameter:
    return Categorical(name, [value])

"""What Ray Tune takes as `param_space`, as a search space and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ray._private.dict import unflatten_dict
from ray.tune.search import sample
from ray.tune.search.variant_generator import parse_spec_vars

from tunewright.errors import SpaceError
from tunewright.space import Categorical, Config, Float, Int, Parameter, SearchSpace, Value


class TuneSpace:
    """A search space, and what its values stand for.

    Attributes:
        space: the parameters; those within nested dicts are named by their path, with slashes.
    """

    def __init__(self, space: SearchSpace, meanings: Mapping[str, Callable[[Value], Any]] | None = None) -> None:
        self.space = space
        self._meanings = meanings or {}

    @classmethod
    def of(cls, param_space: Mapping[str, Any]) -> TuneSpace:
        """From Ray Tune's distributions; constants beside them are left to Tune.

        Raises:
            SpaceError: nothing is searched, or something that has no range; names the parameter.
        """
        _, domains, grids = parse_spec_vars(dict(param_space))
        for path, _ in grids:
            raise SpaceError(
                f'parameter "{_name(path)}": grid_search is Tune\'s own to carry out; give tune.choice with its values'
            )
        if not domains:
            raise SpaceError("param_space: there is nothing to search; give at least one of tune.uniform, choice, ...")
        found = [(_name(path), *_parameter(_name(path), domain)) for path, domain in domains]
        return cls(
            SearchSpace([parameter for _, parameter, _ in found]),
            {name: meaning for name, _, meaning in found if meaning is not None},
        )

    def params(self, config: Config) -> dict[str, Any]:
        """A configuration as Tune has it, nested as `param_space` was."""
        meant = {
            name: self._meanings[name](value) if name in self._meanings else value for name, value in config.items()
        }
        nested: dict[str, Any] = unflatten_dict(meant)
        return nested


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in path)


def _parameter(name: str, domain: Any) -> tuple[Parameter, Callable[[Value], Any] | None]:
    drawn: Any = domain.get_sampler()
    if isinstance(domain, sample.Categorical):
        # Choices may be anything, so one is searched by its place.
        choices = list(domain.categories)
        return Categorical(name, list(range(len(choices)))), lambda place: choices[int(place)]
    quantized = isinstance(drawn, sample.Quantized)
    sampler, grain = (drawn.get_sampler(), drawn.q) if quantized else (drawn, 1)
    if not isinstance(sampler, (sample.Uniform, sample.LogUniform)) or isinstance(domain, sample.Function):
        raise SpaceError(
            f'parameter "{name}": {domain} has no range that could be searched; give tune.uniform, loguniform, '
            "randint or choice"
        )
    log = isinstance(sampler, sample.LogUniform)
    if isinstance(domain, sample.Integer):
        return _integer(name, domain, log, int(grain))
    if not quantized:
        return Float(name, domain.lower, domain.upper, log=log), None
    return _rounded(name, domain, log, float(grain))


def _integer(name: str, domain: Any, log: bool, grain: int) -> tuple[Parameter, Callable[[Value], Any] | None]:
    # Tune leaves the upper end out, but for those with a grain above 1.
    low, high = int(domain.lower), int(domain.upper) - (grain == 1)
    low, high = grain * math.ceil(low / grain), grain * math.floor(high / grain)
    if low == high:
        return Categorical(name, [low]), None
    if grain == 1 or not log:
        return Int(name, low, high, log=log, step=None if grain == 1 else grain), None
    return Int(name, low, high, log=True), lambda value: grain * round(int(value) / grain)


def _rounded(name: str, domain: Any, log: bool, grain: float) -> tuple[Parameter, Callable[[Value], Any] | None]:
    first, last = math.ceil(domain.lower / grain - 1e-9), math.floor(domain.upper / grain + 1e-9)
    if first == last:
        return Categorical(name, [first * grain]), None
    if log:
        return Float(name, first * grain, last * grain, log=True), lambda value: grain * round(float(value) / grain)
    # Places of the grid rather than its values, which floats miss by a little.
    return Int(name, first, last), lambda place: grain * int(place)

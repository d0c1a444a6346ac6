"""Where configurations come from while nothing is known: a design over the unit cube, then uniform draws.

A configuration is started once. In a space that can be used up, the last one left is found exactly, and
after it there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunewright.space import Categorical, Config, Float, Int, Ordinal, Parameter, SearchSpace, Value, config_key

Design: TypeAlias = Literal["sobol", "halton", "lhs", "random"]

# Latin hypercubes that are drawn, of which the one with its points furthest apart is taken.
_HYPERCUBES = 20
# Draws before the exact search for what is left: in all but nearly used-up spaces one of them is new.
_DRAWS = 32


def design_points(design: Design, size: int, dimension: int, seed: int) -> NDArray[np.float64]:
    """The points of a design, shifted or shuffled by the seed; the same arguments give the same points.

    Sobol' and Halton sequences get a Cranley-Patterson shift: without one, every study would start alike and
    Halton's at a corner.

    Returns:
        (size, dimension) float64 in [0, 1); not to be written to.
    """
    return _design_points(design, size, dimension, seed)


@lru_cache(maxsize=16)
def _design_points(design: Design, size: int, dimension: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, 0xD5])
    if design == "random":
        return rng.random((size, dimension))
    # It takes a second to import.
    from scipy.stats import qmc

    if design == "lhs":
        return _hypercube(size, dimension, rng)
    if design == "halton":
        points = qmc.Halton(dimension, scramble=False).random(size)
    else:
        # Whole powers of two are what Sobol' points are balanced for.
        points = qmc.Sobol(dimension, scramble=False).random_base2(max(size - 1, 0).bit_length())[:size]
    shifted: NDArray[np.float64] = (points + rng.random(dimension)) % 1.0
    return shifted


def _hypercube(size: int, dimension: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A Latin hypercube whose two closest points are far apart, as such go."""
    from scipy.spatial.distance import pdist
    from scipy.stats import qmc

    drawn = qmc.LatinHypercube(dimension, rng=rng)
    hypercubes = [drawn.random(size) for _ in range(_HYPERCUBES)]
    return max(hypercubes, key=lambda points: pdist(points).min(initial=np.inf))


class Starts:
    """New configurations of one study: its declared defaults first, then a design, then uniform draws.

    Keeps what has been tried; `propose` changes nothing.
    """

    def __init__(self, space: SearchSpace, design: Design, size: int, seed: int) -> None:
        self._space = space
        self._design: Design = design
        self._size = size
        self._seed = seed
        self._default = declared_default(space)
        self._used_up = False
        self.tried: set[str] = set()
        self._default_known = False

    @property
    def default_waits(self) -> bool:
        """Whether defaults are declared that neither this study nor an earlier one has tried.

        They are to be tried also where earlier or enqueued trials stand in for the whole design.
        """
        return self._default is not None and not self._default_known and config_key(self._default) not in self.tried

    def learn(self, earlier: Iterable[Config]) -> None:
        """Another study has tried these."""
        if self._default is not None and config_key(self._default) in map(config_key, earlier):
            self._default_known = True

    def record(self, config: Config) -> None:
        """A configuration was started."""
        self.tried.add(config_key(config))

    def propose(self, index: int, rng: np.random.Generator) -> Config | None:
        """The study's `index`-th configuration, or None when every one has been tried.

        Should the design's point be taken already, `rng` draws another.
        """
        # Others may have come before it: what was enqueued.
        if self._default is not None and config_key(self._default) not in self.tried:
            return self._default
        place = index - (self._default is not None)
        if place < self._size:
            points = design_points(self._design, self._size, self._space.dimension, self._seed)
            config = self._space.decode(points[place])
            if config_key(config) not in self.tried:
                return config
        return self.draw(rng)

    def draw(self, rng: np.random.Generator) -> Config | None:
        """A uniform draw that has not been tried, or None when there is none left."""
        if self._used_up:
            return None
        for _ in range(_DRAWS):
            config = self._space.decode(rng.random(self._space.dimension))
            if config_key(config) not in self.tried:
                return config
        left = untried(self._space, self.tried, rng)
        # Tried configurations only grow in number, so this stays true once it is.
        self._used_up = left is None
        return left


def declared_default(space: SearchSpace) -> Config | None:
    """The configuration of all defaults; None where no parameter declares one."""
    return space.default() if any(parameter.default is not None for parameter in space.parameters) else None


def untried(space: SearchSpace, tried: Set[str], rng: np.random.Generator) -> Config | None:
    """A configuration whose key is not in `tried`, or None when there is none; visits at most len(tried) + 1."""
    # Depth first from a random place; a continuous parameter shows one random value.
    walk = configurations(space, lambda parameter: _values(parameter, rng))
    return next((config for config in walk if config_key(config) not in tried), None)


def configurations(space: SearchSpace, values: Callable[[Parameter], Iterable[Value]]) -> Iterator[Config]:
    """Every configuration of the values given for each parameter, once, depth first; the last one changes fastest."""
    parameters = space.parameters

    def branches(config: Config, depth: int) -> Iterator[Config]:
        parameter = parameters[depth]
        if not parameter.active(config):
            yield config
            return
        for value in values(parameter):
            yield {**config, parameter.name: value}

    path = [branches({}, 0)]
    while path:
        config = next(path[-1], None)
        if config is None:
            path.pop()
        elif len(path) == len(parameters):
            yield config
        else:
            path.append(branches(config, len(path)))


def _values(parameter: Float | Int | Categorical | Ordinal, rng: np.random.Generator) -> Iterator[Value]:
    if not np.isfinite(parameter.size):
        yield parameter.decode(rng.random())
        return
    size = int(parameter.size)
    offset = int(rng.integers(size))
    for i in range(size):
        place = (offset + i) % size
        # Bins of a logarithmic integer are unequal: count instead.
        if isinstance(parameter, Int):
            yield parameter.low + place * (parameter.step or 1)
        else:
            yield parameter.decode((place + 0.5) / size)

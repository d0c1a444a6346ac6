"""Learning curves by formula, with a known optimum: for tests and benchmarks of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizers.protocol import Problem
from optimizers.simulate import Curve
from tunewright.space import Config, Float, SearchSpace
from tunewright.study import Fidelity, Objective

METRIC = "loss"


@dataclass(frozen=True)
class SyntheticTable:
    """A function of the unit cube that is seen through a bias which shrinks as the resource grows.

        loss(x, r) = f(x) + bias * scale * (r / R)^-1/2 * g(x)  -  the same at r = R

    g is a wave that ripples across the cube, so that with a large bias early ranks say little about late ones.

    Attributes:
        function: (d,) point of the unit cube -> loss at full resource.
        optimum: its smallest value.
        scale: typical spread of its values, the unit of `bias`.
        bias: 0: early results rank as late ones do; 1: they are mostly ripple.
        seconds_per_unit: simulated time of one resource unit; up to twice as long where g is large.
    """

    name: str
    dimension: int
    function: Callable[[NDArray[np.float64]], float]
    optimum: float
    scale: float
    bias: float = 0.3
    max_resource: int = 81
    seconds_per_unit: float = 1.0

    @property
    def space(self) -> SearchSpace:
        return SearchSpace([Float(f"x{i}", 0.0, 1.0) for i in range(self.dimension)])

    def problem(self, *, max_trials: int | None = None, seed: int = 0) -> Problem:
        """The table's function as a problem for an optimizer."""
        fidelity = Fidelity(name="steps", min=1, max=self.max_resource)
        return Problem(self.space, [Objective(metric=METRIC)], fidelity, max_trials, seed)

    def curve(self, config: Config) -> Curve:
        """See `CurveTable.curve`."""
        x = np.array([float(config[f"x{i}"]) for i in range(self.dimension)])
        ripple = float(np.mean(np.sin(7.0 * np.pi * x + np.arange(self.dimension))))
        resources = np.arange(1, self.max_resource + 1, dtype=np.float64)
        early = (resources / self.max_resource) ** -0.5 - 1.0
        metric = self.function(x) + self.bias * self.scale * early * ripple
        return Curve(resources, resources * self.seconds_per_unit * (1.5 + 0.5 * ripple), {METRIC: metric})


def branin(*, bias: float = 0.3, max_resource: int = 81) -> SyntheticTable:
    """Branin's function of two parameters, with three optima of 0.397887."""
    return SyntheticTable("branin", 2, _branin, 0.39788735772973816, 50.0, bias, max_resource)


def hartmann6(*, bias: float = 0.3, max_resource: int = 81) -> SyntheticTable:
    """Hartmann's function of six parameters, with one optimum of -3.32237."""
    return SyntheticTable("hartmann6", 6, _hartmann6, -3.322368011415511, 0.4, bias, max_resource)


def _branin(u: NDArray[np.float64]) -> float:
    x, y = 15 * u[0] - 5, 15 * u[1]
    valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return float(valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann6(u: NDArray[np.float64]) -> float:
    return float(-_ALPHA @ np.exp(-(_A * (u - _P) ** 2).sum(axis=1)))

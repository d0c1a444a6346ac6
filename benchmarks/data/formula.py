"""Learning curves by formula, beside the recorded ones: smooth, and with a known optimum.

They show what recorded tables cannot, how a method does where fine search near the optimum pays, and carry no claim: a
formula is nobody's workload. `bias` turns early ranks into ripple; see `optimizers.synthetic`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizers.protocol import Problem
from optimizers.simulate import Curve
from optimizers.synthetic import METRIC, SyntheticTable, branin, hartmann6
from tunewright.space import Config, SearchSpace
from tunewright.study import Fidelity

MAX_RESOURCE = 27
SAMPLE = 1000


@dataclass(frozen=True)
class FormulaTable:
    """A synthetic table with the figures that a benchmark asks of a table.

    Attributes:
        median: loss at full resource of a random configuration.
        training_seconds: mean time of a whole training.
    """

    name: str
    formula: SyntheticTable
    median: float
    training_seconds: float

    @property
    def space(self) -> SearchSpace:
        return self.formula.space

    @property
    def fidelity(self) -> Fidelity:
        return self.problem().fidelity

    @property
    def best(self) -> float:
        return self.formula.optimum

    def problem(self, *, max_trials: int | None = None, seed: int = 0) -> Problem:
        """The function as a problem for an optimizer."""
        return self.formula.problem(max_trials=max_trials, seed=seed)

    def curve(self, config: Config) -> Curve:
        """See `CurveTable.curve`."""
        return self.formula.curve(config)


def formulas() -> list[FormulaTable]:
    """Branin and Hartmann-6, where early ranks say much and where they say little."""
    return [
        _table(f"{make.__name__}_bias_{bias:g}", make(bias=bias, max_resource=MAX_RESOURCE))
        for make in (branin, hartmann6)
        for bias in (0.1, 1.0)
    ]


def _table(name: str, formula: SyntheticTable) -> FormulaTable:
    rng = np.random.default_rng(0)
    curves = [formula.curve(formula.space.decode(rng.random(formula.dimension))) for _ in range(SAMPLE)]
    return FormulaTable(
        name,
        formula,
        median=float(np.median([curve.metrics[METRIC][-1] for curve in curves])),
        training_seconds=float(np.mean([curve.seconds[-1] for curve in curves])),
    )

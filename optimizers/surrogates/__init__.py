"""Models of a loss over the unit cube: fit on measured points, predict mean and variance anywhere.

One protocol, so that acquisition and ensembles never know which model answers. Heavy libraries are imported
when a model is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunewright.space import Categorical, SearchSpace
from tunewright.study import Objective

SurrogateName: TypeAlias = Literal["forest", "gp"]
SurrogateChoice: TypeAlias = Literal["auto", "gp", "forest"]
CHOICE = (
    "Gaussian processes or random forests. Auto: processes, or forests where there are constraints, which may jump."
)


class Surrogate(Protocol):
    """A regression model with an honest variance.

    What may be relied on: the same x, y and generator state give the same predictions, bit for bit; no global
    random state is read or changed; equal outcomes, repeated points and a single point are no error.
    """

    def fit(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Learn from scratch.

        Args:
            x: (n, d) float64 in the unit cube; n >= 1.
            y: (n,) finite outcomes in any unit.
        """

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of the loss itself, without measurement noise, in the units of y and their square.

        Args:
            x: (m, d) float64 in the unit cube.
        Returns:
            (m,) means and (m,) variances, at least 0.
        """


def chosen(asked: SurrogateChoice, objectives: Sequence[Objective]) -> SurrogateName:
    """Which models a study of these objectives gets; see `CHOICE`."""
    if asked != "auto":
        return asked
    return "forest" if any(objective.bound is not None for objective in objectives) else "gp"


def categorical_columns(space: SearchSpace) -> dict[int, int]:
    """Column -> number of choices, for the columns whose values have no order."""
    return {
        column: len(parameter.choices)
        for column, parameter in enumerate(space.parameters)
        if isinstance(parameter, Categorical)
    }


def create(name: Literal["gp"], categories: Mapping[int, int]) -> Surrogate:
    """An unfitted surrogate; forests are never fitted whole, see `growing`.

    Args:
        categories: column -> number of choices, of the columns without an order.
    """
    from optimizers.surrogates.gp import GaussianProcess

    return GaussianProcess(categories)

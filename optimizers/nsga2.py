"""NSGA-II: evolution towards a whole Pareto front (Deb et al., IEEE TEC 2002), one child at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from optimizers.candidates import around, canonical
from optimizers.pareto import fronts
from optimizers.protocol import Problem
from optimizers.rankings import crowding
from optimizers.whole_trials import Choice, WholeTrials, WholeTrialsSettings
from tunewright.space import Categorical, Config, config_key

# Children among which one that is new is looked for.
_CHILDREN = 32
# Distribution index of the crossover: children near their parents (section V).
_NEAR = 15.0


class Nsga2Settings(WholeTrialsSettings):
    """Settings of NSGA-II."""

    initial_trials: int = Field(default=20, ge=1, le=1024, description="Trials of the design: the first population.")
    population: int = Field(default=40, ge=2, le=1000, description="Results that may become parents: the best.")
    crossover: float = Field(default=0.9, ge=0, le=1, description="Share of children that have two parents.")


class Nsga2(WholeTrials):
    """Keeps a population of the best compromises, spread out along the Pareto front, and trains whole the children of
    two of them. Each result enters the population at once and the worst leaves it, so that no worker waits for a
    generation to end. The choice for several objectives and many trials; with a single objective it is plain evolution.
    """

    name: ClassVar[str] = "nsga2"
    settings_model: ClassVar[type[Nsga2Settings]] = Nsga2Settings

    def __init__(self, problem: Problem, settings: Nsga2Settings | None = None) -> None:
        self._own = settings or Nsga2Settings()
        super().__init__(problem, self._own)
        # Rows of the evidence, best first.
        self.population: list[int] = []

    def _choose(self, rng: np.random.Generator) -> Choice | None:
        first, second = (self._tournament(rng) for _ in range(2))
        space = self.problem.space
        base = self._cross(first, second, rng)
        children = canonical(space, around(space, base, _CHILDREN, rng))
        for child in children:
            config = space.decode(child)
            if config_key(config) not in self._starts.tried:
                ranks = [self.population.index(parent) + 1 for parent in (first, second)]
                return Choice(config, {"rule": "crossover", "parents": ranks, "of": len(self.population)})
        return self._draw(rng, "no new child")

    def _tournament(self, rng: np.random.Generator) -> int:
        """The better of two."""
        return self.population[int(rng.integers(len(self.population), size=2).min())]

    def _cross(self, first: int, second: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(children, d) simulated binary crossover of ordered coordinates, and exchange of choices.

        A parameter that only one parent has is taken from it, and one that neither has is drawn.
        """
        shape = (_CHILDREN, self.problem.space.dimension)
        points, active = self._evidence.points, self._evidence.active
        u = rng.random(shape)
        spread = np.where(u < 0.5, 2 * u, 1 / np.maximum(2 - 2 * u, 1e-12)) ** (1 / (_NEAR + 1))
        middle, half = (points[first] + points[second]) / 2, (points[first] - points[second]) / 2
        mixed = np.clip(middle + spread * half * rng.choice([-1.0, 1.0], size=shape), 0.0, 1.0)
        swapped = np.where(rng.random(shape) < 0.5, points[first], points[second])
        unordered = [isinstance(parameter, Categorical) for parameter in self.problem.space.parameters]
        child = np.where(unordered, swapped, mixed)
        child = np.where(rng.random((_CHILDREN, 1)) < self._own.crossover, child, points[first])
        child = np.where(active[first] & active[second], child, np.where(active[first], points[first], points[second]))
        return np.where(active[first] | active[second], child, rng.random(shape))

    def _take(self, config: Config, metrics: Mapping[str, float] | None) -> None:
        super()._take(config, metrics)
        if metrics is None:
            return
        rows = np.array([*self.population, len(self._evidence) - 1])
        missed, losses = self._evidence.violations[rows], self._evidence.losses[rows][:, self._evidence.goals]
        front, room = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows))
        for violation in np.unique(missed):
            here = missed == violation
            front[here] = fronts(losses[here])
            for number in np.unique(front[here]):
                same = here & (front == number)
                room[same] = crowding(losses[same])
        # Constrained domination: less violation first, then fronts, then the less crowded (sections III-C, VI).
        ranked = rows[np.lexsort((rows, -room, front, missed))]
        self.population = ranked[: self._own.population].tolist()

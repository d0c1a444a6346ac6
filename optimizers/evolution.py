"""Regularised evolution (Real et al., AAAI 2019): parents by tournament, and the oldest die."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from optimizers.candidates import around, canonical
from optimizers.protocol import Problem
from optimizers.whole_trials import Choice, WholeTrials, WholeTrialsSettings
from tunewright.space import Config, config_key

# Mutations among which one that is new is looked for.
_CHILDREN = 32


class EvolutionSettings(WholeTrialsSettings):
    """Settings of regularised evolution."""

    initial_trials: int = Field(default=20, ge=1, le=1024, description="Trials of the design: the first population.")
    population: int = Field(default=20, ge=2, le=10_000, description="Results that may become parents: the latest.")
    tournament: int = Field(default=5, ge=1, le=10_000, description="Drawn from the population; the best is parent.")

    @model_validator(mode="after")
    def _tournament_fits(self) -> EvolutionSettings:
        if self.tournament > self.population:
            raise ValueError(f"tournament ({self.tournament}) must be at most population ({self.population})")
        return self


class Evolution(WholeTrials):
    """Draws a few of the latest results, changes the best of them a little and trains the child whole. Results leave
    the population by age and not by merit, so that a lucky measurement does not breed for ever. Needs no model, never
    waits, and suits large spaces of choices and many parallel trials.
    """

    name: ClassVar[str] = "evolution"
    settings_model: ClassVar[type[EvolutionSettings]] = EvolutionSettings

    def __init__(self, problem: Problem, settings: EvolutionSettings | None = None) -> None:
        self._own = settings or EvolutionSettings()
        super().__init__(problem, self._own)

    @property
    def population(self) -> NDArray[np.int64]:
        """Rows of the evidence that may become parents: the latest results, oldest first."""
        return np.flatnonzero(~self._evidence.failed)[-self._own.population :]

    def _choose(self, rng: np.random.Generator) -> Choice | None:
        """A mutation of the best in a tournament (algorithm 1)."""
        population = self.population
        drawn = rng.choice(population, min(self._own.tournament, len(population)), replace=False)
        ranked, weights = self._evidence.ranked(rng, np.sort(drawn))
        parent = int(ranked[0])
        child = self._mutate(parent, rng)
        if child is None:
            return self._draw(rng, "no new mutation")
        config, changed = child
        age = len(population) - 1 - int(np.searchsorted(population, parent))
        why = {"rule": "mutation", "tournament": len(drawn), "age": age, "changed": changed}
        return Choice(config, {**why, **weights})

    def _mutate(self, parent: int, rng: np.random.Generator) -> tuple[Config, list[str]] | None:
        """A new child and what differs in it, or None when all that were drawn have been tried.

        A parameter that becomes active takes any of its values: its parent has none to inherit.
        """
        space = self.problem.space
        point, active = self._evidence.points[parent], self._evidence.active[parent]
        moved = around(space, point[None], _CHILDREN, rng)
        children = canonical(space, np.where(active, moved, rng.random(moved.shape)))
        for child in children:
            config = space.decode(child)
            if config_key(config) not in self._starts.tried:
                same = (np.abs(child - point) < 1e-9) & active
                return config, [
                    name for name, kept in zip(space.names, same, strict=True) if name in config and not kept
                ]
        return None

"""Grid search: every combination of a few values of each parameter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from optimizers.initial import Starts, configurations, declared_default
from optimizers.protocol import Job, Optimizer, Problem, Settings
from tunewright.space import Categorical, Config, Int, Ordinal, Parameter, SearchSpace, Value, config_key


class GridSettings(Settings):
    """Settings of grid search."""

    resolution: int = Field(
        default=5, ge=1, le=1000, description="Values per parameter, its ends among them; small ones use all theirs."
    )
    order: Literal["random", "given"] = Field(
        default="random", description="Random leaves no corner out when the study ends early; or the last one fastest."
    )


class GridSearch(Optimizer):
    """Trains every combination of evenly spaced values whole, until none is left. Easy to explain and to plot, and
    wasteful where some parameters matter little: random search tries more values of each at the same cost.
    Declared defaults are tried first, also where they lie between the grid's values.
    """

    name: ClassVar[str] = "grid"
    settings_model: ClassVar[type[GridSettings]] = GridSettings

    def __init__(self, problem: Problem, settings: GridSettings | None = None) -> None:
        own = settings or GridSettings()
        super().__init__(problem, own)
        self.grid = grid_of(problem.space, own.resolution)
        self._starts = Starts(self.grid, "random", 0, problem.seed)
        self._default = declared_default(problem.space)
        self._rest = combinations(self.grid) if own.order == "given" else None
        self._ahead: Config | None = None

    def _propose(self) -> Job | None:
        if not self.may_start_trial:
            return None
        if self.queue:
            return self._new_trial(self.queue[0], self.problem.fidelity.max)
        index = len(self.trials)
        config = self._default
        if config is None or config_key(config) in self._starts.tried:
            config = self._next()
        if config is None:
            return None
        return self._new_trial(config, self.problem.fidelity.max, why={"rule": "grid", "number": index})

    def _next(self) -> Config | None:
        if self._rest is None:
            return self._starts.draw(self.rng(0, len(self.jobs)))
        # Whatever is skipped here stays tried, so it makes no difference how often this is asked.
        while self._ahead is None or config_key(self._ahead) in self._starts.tried:
            self._ahead = next(self._rest, None)
            if self._ahead is None:
                return None
        return self._ahead

    def _on_record(self, job: Job) -> None:
        self._starts.record(job.config)


def grid_of(space: SearchSpace, resolution: int) -> SearchSpace:
    """The space with at most `resolution` values of each parameter, and those that conditions name."""
    named: dict[str, list[Value]] = {parameter.name: [] for parameter in space.parameters}
    for parameter in space.parameters:
        for parent, values in parameter.when.items():
            named[parent] += values
    return SearchSpace([_few(parameter, resolution, named[parameter.name]) for parameter in space.parameters])


def _few(parameter: Parameter, resolution: int, named: list[Value]) -> Parameter:
    if isinstance(parameter, Int) and parameter.size <= resolution:
        # Bins of a logarithmic integer are unequal: count instead.
        values: list[Value] = list(range(parameter.low, parameter.high + 1, parameter.step or 1))
    elif parameter.size <= resolution:
        values = [parameter.decode((i + 0.5) / parameter.size) for i in range(int(parameter.size))]
    else:
        values = [parameter.decode(u) for u in (np.linspace(0.0, 1.0, resolution) if resolution > 1 else [0.5])]
    chosen = sorted({parameter.encode(value): value for value in [*values, *named]}.items())
    kind = Categorical if isinstance(parameter, Categorical) else Ordinal
    return kind(parameter.name, [value for _, value in chosen], when=parameter.when)


def combinations(space: SearchSpace) -> Iterator[Config]:
    """Every configuration of a space of choices once, in their order; the last parameter changes fastest."""
    return configurations(space, _choices)


def _choices(parameter: Parameter) -> Sequence[Value]:
    assert isinstance(parameter, (Categorical, Ordinal))
    return parameter.choices

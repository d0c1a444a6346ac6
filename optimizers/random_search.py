"""Random search: whole trials, from a quasi-random design and then at random."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from optimizers.initial import Design, Starts
from optimizers.protocol import Job, Optimizer, Problem, Settings


class RandomSettings(Settings):
    """Settings of random search."""

    design: Design = Field(default="sobol", description="Sobol, Halton or Latin hypercube points, or random ones.")
    design_size: int = Field(default=64, ge=0, le=1024, description="Configurations from the design; then uniform.")


class RandomSearch(Optimizer):
    """Trains every configuration whole. The first come from a quasi-random design (Sobol, Halton, Latin hypercube),
    which covers the space more evenly than chance, the rest are drawn uniformly. A `design_size` as large as the budget
    makes it quasi-random search. The yardstick for everything else, and hard to beat on small budgets with many
    parallel trials.
    """

    name: ClassVar[str] = "random"
    settings_model: ClassVar[type[Settings]] = RandomSettings

    def __init__(self, problem: Problem, settings: RandomSettings | None = None) -> None:
        super().__init__(problem, settings)
        own = settings or RandomSettings()
        self._starts = Starts(problem.space, own.design, own.design_size, problem.seed)

    def _propose(self) -> Job | None:
        if not self.may_start_trial:
            return None
        if self.queue:
            return self._new_trial(self.queue[0], self.problem.fidelity.max)
        index = len(self.trials)
        config = self._starts.propose(index, self.rng(0, len(self.jobs)))
        if config is None:
            return None
        return self._new_trial(config, self.problem.fidelity.max, why={"rule": "random", "number": index})

    def _on_record(self, job: Job) -> None:
        self._starts.record(job.config)

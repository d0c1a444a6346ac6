from __future__ import annotations

import numpy as np

from optimizers.nsga2 import Nsga2, Nsga2Settings
from optimizers.pareto import hypervolume
from optimizers.protocol import JobEnd, Optimizer, Problem, Report
from optimizers.random_search import RandomSearch
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace([Float(f"x{i}", 0.0, 1.0) for i in range(6)])
GOALS = [Objective(metric="f"), Objective(metric="g", direction="maximize")]


def nsga2(goals: list[Objective] = GOALS, seed: int = 0, **settings: object) -> Nsga2:
    problem = Problem(SPACE, goals, Fidelity(name="epochs", max=1), seed=seed)
    return Nsga2(problem, Nsga2Settings.model_validate(settings))


def tell(optimizer: Optimizer, **metrics: float) -> None:
    job = optimizer.next_job()
    assert job is not None
    optimizer.observe(Report(job.id, job.trial, 1.0, metrics))
    optimizer.finish(job.id, JobEnd.COMPLETED)


def test_population_keeps_the_first_fronts_and_of_the_last_the_least_crowded() -> None:
    optimizer = nsga2(population=4)
    # A front of five points, of which the middle one is crowded most, and two that are dominated.
    for f, g in ((0.0, 0.0), (9.0, -9.0), (9.0, 9.0), (1.0, 4.0), (4.0, 5.0), (4.1, 5.1), (4.2, 5.4)):
        tell(optimizer, f=f, g=g)

    assert set(optimizer.population) == {0, 2, 3, 6}


def test_trials_that_keep_the_constraint_come_first() -> None:
    optimizer = nsga2([*GOALS, Objective(metric="cost", bound=1.0)], population=2)
    for cost, f in ((3.0, 0.0), (2.0, 0.0), (1.0, 9.0)):
        tell(optimizer, f=f, g=0.0, cost=cost)

    assert optimizer.population == [2, 1]


def zdt1(optimizer: Optimizer, trials: int) -> float:
    """Hypervolume that is reached on ZDT1 (Zitzler et al., 2000), of at most 120 2/3 with this reference."""
    points = []
    for _ in range(trials):
        job = optimizer.next_job()
        assert job is not None
        x = SPACE.encode(job.config)
        spread = 1 + 9 * float(np.mean(x[1:]))
        f, g = float(x[0]), spread * (1 - np.sqrt(x[0] / spread))
        points.append((f, g))
        optimizer.observe(Report(job.id, job.trial, 1.0, {"f": f, "g": -g}))
        optimizer.finish(job.id, JobEnd.COMPLETED)
    return hypervolume(np.array(points), np.array([1.1, 11.0]))


def test_covers_more_than_random_search_on_zdt1() -> None:
    for seed in range(3):
        problem = Problem(SPACE, GOALS, Fidelity(name="epochs", max=1), seed=seed)

        assert zdt1(nsga2(seed=seed), 200) > zdt1(RandomSearch(problem), 200) + 0.5

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from optimizers.bayes import BayesianOptimization, BayesSettings
from optimizers.errors import OptimizerError
from optimizers.protocol import Earlier, JobEnd, Problem, Report
from optimizers.random_search import RandomSearch
from optimizers.registry import create
from optimizers.simulate import simulate
from optimizers.synthetic import SyntheticTable, branin
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

LINE = SearchSpace(Float("x", 0.0, 1.0))


def bayes(goals: list[Objective] | None = None, max_trials: int = 20, **settings: object) -> BayesianOptimization:
    problem = Problem(LINE, goals or [Objective(metric="loss")], Fidelity(name="epochs", max=1), max_trials)
    fields = {"initial_trials": 4, "random_share": 0.0, "candidates": 500, **settings}
    return BayesianOptimization(problem, BayesSettings.model_validate(fields))


def tell(optimizer: BayesianOptimization, **slopes: float) -> None:
    """Run one job to its end; each metric is its slope times x."""
    job = optimizer.next_job()
    assert job is not None
    x = float(job.config["x"])
    optimizer.observe(Report(job.id, job.trial, 1.0, {name: slope * x for name, slope in slopes.items()}))
    optimizer.finish(job.id, JobEnd.COMPLETED)


def regret(kind: str, table: SyntheticTable, seed: int, trials: int) -> float:
    problem = table.problem(max_trials=trials, seed=seed)
    optimizer = (
        RandomSearch(problem)
        if kind == "random"
        else BayesianOptimization(problem, BayesSettings.model_validate({"surrogate": kind}))
    )
    return simulate(optimizer, table).best[0].metrics["loss"] - table.optimum


@pytest.mark.slow
@pytest.mark.parametrize(("surrogate", "seeds", "trials", "factor"), [("forest", 5, 40, 1.0), ("gp", 3, 25, 0.2)])
def test_beats_random_search_on_branin(surrogate: str, seeds: int, trials: int, factor: float) -> None:
    table = branin()

    ours = [regret(surrogate, table, seed, trials) for seed in range(seeds)]
    chance = [regret("random", table, seed, trials) for seed in range(seeds)]

    assert median(ours) < factor * median(chance)


@pytest.mark.parametrize("surrogate", ["forest", "gp"])
def test_design_comes_first_and_then_the_promising_end(surrogate: str) -> None:
    optimizer = bayes(surrogate=surrogate)

    for _ in range(12):
        tell(optimizer, loss=1.0)

    rules = [job.why["rule"] for job in optimizer.jobs]
    assert rules == ["initial design"] * 4 + ["expected improvement"] * 8
    assert min(float(job.config["x"]) for job in optimizer.jobs[4:]) < 0.05
    assert {"ei", "mean", "deviation"} <= set(optimizer.jobs[-1].why)


def test_parallel_trials_spread_out() -> None:
    optimizer = bayes(surrogate="gp")
    for _ in range(6):
        tell(optimizer, loss=0.0)

    jobs = [optimizer.next_job() for _ in range(5)]

    xs = sorted(float(job.config["x"]) for job in jobs if job is not None)
    assert len(xs) == 5
    assert np.diff(xs).min() > 1e-3


def test_failed_region_is_avoided() -> None:
    # The least loss lies right beside the half where every trial fails.
    optimizer = bayes(max_trials=24, surrogate="gp")
    failed = []
    while (job := optimizer.next_job()) is not None:
        x = float(job.config["x"])
        failed.append(x < 0.5)
        if not failed[-1]:
            optimizer.observe(Report(job.id, job.trial, 1.0, {"loss": x}))
        optimizer.finish(job.id, JobEnd.FAILED if failed[-1] else JobEnd.COMPLETED)

    assert sum(failed[4:]) <= 7
    assert optimizer.best()[0].metrics["loss"] < 0.6


@pytest.mark.parametrize("surrogate", ["forest", "gp"])
def test_constraint_steers_into_the_feasible_part(surrogate: str) -> None:
    # Least loss at x = 0, but cost -x must be at most -0.6.
    optimizer = bayes([Objective(metric="loss"), Objective(metric="cost", bound=-0.6)], 25, surrogate=surrogate)

    for _ in range(25):
        tell(optimizer, loss=1.0, cost=-1.0)

    assert 0.6 <= optimizer.best()[0].metrics["loss"] < 0.68
    assert all(0 <= job.why["feasible"] <= 1 for job in optimizer.jobs[4:])


def test_while_nothing_is_feasible_the_search_is_for_feasibility() -> None:
    optimizer = bayes([Objective(metric="loss"), Objective(metric="cost", bound=-2.0)], 8)

    for _ in range(8):
        tell(optimizer, loss=1.0, cost=-1.0)

    assert {job.why["rule"] for job in optimizer.jobs[4:]} == {"probability of feasibility"}


def test_two_objectives_spread_along_the_front() -> None:
    optimizer = bayes([Objective(metric="loss"), Objective(metric="score", direction="maximize")], 20)

    # Both ends are best in one of the two.
    for _ in range(20):
        tell(optimizer, loss=1.0, score=1.0)

    xs = [best.config["x"] for best in optimizer.best()]
    assert len(xs) == 20
    assert min(xs) < 0.1  # type: ignore[type-var]
    assert max(xs) > 0.9  # type: ignore[type-var]
    assert set(optimizer.jobs[-1].why["weights"]) == {"loss", "score"}


def test_too_few_results_are_not_modelled() -> None:
    optimizer = bayes()

    while (job := optimizer.next_job()) is not None:
        optimizer.finish(job.id, JobEnd.FAILED)

    assert [job.why["rule"] for job in optimizer.jobs] == ["initial design"] * 20


def test_everything_random_when_asked() -> None:
    optimizer = bayes(random_share=1.0)

    for _ in range(10):
        tell(optimizer, loss=1.0)

    assert {job.why["rule"] for job in optimizer.jobs[4:]} == {"random share"}


def test_fantasies_spread_parallel_trials_out() -> None:
    optimizer = bayes(surrogate="gp", pending="fantasies")
    for _ in range(6):
        tell(optimizer, loss=0.0)

    jobs = [optimizer.next_job() for _ in range(5)]

    xs = sorted(float(job.config["x"]) for job in jobs if job is not None)
    assert len(xs) == 5
    assert np.diff(xs).min() > 1e-3


def test_fantasies_of_a_forest_are_refused() -> None:
    with pytest.raises(OptimizerError, match='pending: "fantasies" needs surrogate: "gp"'):
        create("bayes", {"pending": "fantasies"}, branin().problem())


def test_earlier_results_are_evidence_and_shorten_the_design() -> None:
    optimizer = bayes()
    optimizer.warm_start([Earlier({"x": x / 10}, {1.0: {"loss": x / 10}}) for x in range(1, 10)])

    for _ in range(8):
        tell(optimizer, loss=1.0)

    rules = [job.why["rule"] for job in optimizer.jobs]
    assert rules == ["enqueued"] + ["expected improvement"] * 7
    assert optimizer.jobs[0].config == {"x": 0.1}
    assert min(float(job.config["x"]) for job in optimizer.jobs) < 0.05

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest

from optimizers.bayes import BayesianOptimization, BayesSettings
from optimizers.beliefs import ForestBeliefs, ProcessBeliefs
from optimizers.errors import OptimizerError
from optimizers.protocol import Earlier, JobEnd, Problem, Report, Verdict
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


def two(several: str) -> tuple[BayesianOptimization, list[float]]:
    """Twenty trials of two objectives, of which both ends are best in one; and their places."""
    goals = [Objective(metric="loss"), Objective(metric="score", direction="maximize")]
    optimizer = bayes(goals, 20, several=several)
    for _ in range(20):
        tell(optimizer, loss=1.0, score=1.0)
    return optimizer, [float(best.config["x"]) for best in optimizer.best()]


def test_two_objectives_spread_along_the_front() -> None:
    optimizer, xs = two("ehvi")

    assert len(xs) == 20
    assert min(xs) < 0.1
    assert max(xs) > 0.9
    assert optimizer.jobs[-1].why["rule"] == "expected hypervolume improvement"


def test_two_objectives_can_be_weighed_anew_for_each_trial() -> None:
    optimizer, xs = two("parego")

    assert max(xs) - min(xs) > 0.7
    assert [set(job.why["weights"]) for job in optimizer.jobs[4:]] == [{"loss", "score"}] * 16
    assert len({job.why["weights"]["loss"] for job in optimizer.jobs[4:]}) == 16


@pytest.mark.parametrize("surrogate", ["forest", "gp"])
def test_hypervolume_counts_where_the_constraint_holds(surrogate: str) -> None:
    goals = [Objective(metric="loss"), Objective(metric="other"), Objective(metric="cost", bound=-0.6)]
    optimizer = bayes(goals, 20, surrogate=surrogate)

    for _ in range(20):
        tell(optimizer, loss=1.0, other=-1.0, cost=-1.0)

    later = [float(job.config["x"]) for job in optimizer.jobs[10:]]
    assert sum(x >= 0.6 for x in later) >= 7


def test_five_objectives_are_weighed() -> None:
    optimizer = bayes([Objective(metric=name) for name in "abcde"], 8)

    for _ in range(8):
        tell(optimizer, a=1.0, b=-1.0, c=2.0, d=1.0, e=-2.0)

    assert set(optimizer.jobs[-1].why["weights"]) == set("abcde")


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
    optimizer = bayes(pending="fantasies")
    for _ in range(6):
        tell(optimizer, loss=0.0)

    jobs = [optimizer.next_job() for _ in range(5)]

    xs = sorted(float(job.config["x"]) for job in jobs if job is not None)
    assert len(xs) == 5
    assert np.diff(xs).min() > 1e-3


@pytest.mark.parametrize(
    ("bound", "asked", "taken"),
    [
        (None, {}, ProcessBeliefs),
        (0.5, {}, ForestBeliefs),
        (None, {"surrogate": "forest"}, ForestBeliefs),
        (0.5, {"surrogate": "gp"}, ProcessBeliefs),
        (0.5, {"pending": "fantasies"}, ProcessBeliefs),
    ],
)
def test_constraints_are_left_to_forests_unless_asked_otherwise(
    bound: float | None, asked: dict[str, str], taken: type
) -> None:
    goals = [Objective(metric="loss"), *([Objective(metric="cost", bound=bound)] if bound else [])]

    assert isinstance(bayes(goals, 8, **asked)._beliefs, taken)


def test_fantasies_of_a_forest_are_refused() -> None:
    with pytest.raises(OptimizerError, match='pending: "fantasies" needs surrogate: "gp"'):
        create("bayes", {"pending": "fantasies", "surrogate": "forest"}, branin().problem())


def test_earlier_results_are_evidence_and_shorten_the_design() -> None:
    optimizer = bayes()
    optimizer.warm_start([Earlier({"x": x / 10}, {1.0: {"loss": x / 10}}) for x in range(1, 10)])

    for _ in range(8):
        tell(optimizer, loss=1.0)

    rules = [job.why["rule"] for job in optimizer.jobs]
    assert rules == ["enqueued"] + ["expected improvement"] * 7
    assert optimizer.jobs[0].config == {"x": 0.1}
    assert min(float(job.config["x"]) for job in optimizer.jobs) < 0.05


@pytest.mark.parametrize(
    "useless",
    [
        Earlier({"x": 0.5}, {}, failed=True),
        Earlier({"x": 0.5}, {1.0: {"loss": 1.0}}, failed=True),
        Earlier({"x": 0.5}, {0.5: {"loss": 1.0}}),
        Earlier({"x": 0.5}, {}),
    ],
)
def test_earlier_trials_without_a_result_leave_the_design_as_it_is(useless: Earlier) -> None:
    optimizer = bayes()
    sound = [Earlier({"x": x}, {1.0: {"loss": x}}) for x in (0.2, 0.8)]
    optimizer.warm_start([useless] * 9 + sound, retry=0)

    for _ in range(3):
        tell(optimizer, loss=1.0)

    assert [job.why["rule"] for job in optimizer.jobs] == ["initial design"] * 2 + ["expected improvement"]


def timed(optimizer: BayesianOptimization, seconds: float | None) -> float:
    """Run one job: its loss hardly depends on x."""
    job = optimizer.next_job()
    assert job is not None
    x = float(job.config["x"])
    optimizer.observe(Report(job.id, job.trial, 1.0, {"loss": 0.01 * math.sin(40 * x)}, seconds and seconds * 100**x))
    optimizer.finish(job.id, JobEnd.COMPLETED)
    return x


def test_cheap_trials_come_first_where_improvement_is_counted_per_second() -> None:
    aware, blind = bayes(cost_aware=True), bayes()

    cheap = [timed(aware, 10.0) for _ in range(20)][6:]
    plain = [timed(blind, 10.0) for _ in range(20)][6:]

    assert np.mean(cheap) < np.mean(plain)
    assert np.mean(cheap) < 0.4
    assert aware.jobs[-1].why["seconds"] > 0
    assert "seconds" not in blind.jobs[-1].why


def test_without_measured_seconds_nothing_is_charged() -> None:
    aware, blind = bayes(cost_aware=True), bayes()

    assert [timed(aware, None) for _ in range(10)] == [timed(blind, None) for _ in range(10)]


def reporting(optimizer: BayesianOptimization, offset: float) -> list[Verdict]:
    """Run one job with reports at 1, 2 and 4; its loss falls by 1 from each to the next."""
    job = optimizer.next_job()
    assert job is not None
    verdicts = []
    for place, resource in enumerate((1.0, 2.0, 4.0)):
        report = Report(job.id, job.trial, resource, {"loss": offset - place})
        verdicts.append(optimizer.observe(report))
        if verdicts[-1] is Verdict.STOP:
            optimizer.finish(job.id, JobEnd.CANCELLED)
            return verdicts
    optimizer.finish(job.id, JobEnd.COMPLETED)
    return verdicts


@pytest.mark.parametrize("early_stop", [True, False])
def test_trial_that_cannot_beat_the_best_is_stopped(early_stop: bool) -> None:
    problem = Problem(LINE, [Objective(metric="loss")], Fidelity(name="epochs", max=4), 30)
    optimizer = BayesianOptimization(problem, BayesSettings(initial_trials=4, early_stop=early_stop))
    for number in range(8):
        assert set(reporting(optimizer, 10.0 + number)) == {Verdict.CONTINUE}

    hopeless, hopeful = reporting(optimizer, 10.5), reporting(optimizer, 9.9)

    assert hopeless == ([Verdict.STOP] if early_stop else [Verdict.CONTINUE] * 3)
    assert hopeful == [Verdict.CONTINUE] * 3
    assert optimizer.best()[0].metrics == {"loss": 7.9}

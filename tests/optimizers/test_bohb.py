from __future__ import annotations

import math
from statistics import median

import pytest

from optimizers.bohb import Bohb, BohbSettings
from optimizers.protocol import Earlier, Job, JobEnd, Problem, Report
from optimizers.simulate import Failures, simulate
from optimizers.synchronous import Hyperband
from optimizers.synthetic import hartmann6
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace(Float("x", 0.0, 1.0))


def bohb(**settings: object) -> Bohb:
    problem = Problem(SPACE, [Objective(metric="loss")], Fidelity(name="epochs", max=9), seed=1)
    return Bohb(problem, BohbSettings.model_validate({"random_share": 0.0, **settings}))


def tell(optimizer: Bohb, loss: float | None = None) -> Job:
    """Run one job to its end; its loss is x unless given."""
    job = optimizer.next_job()
    assert job is not None
    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": float(job.config["x"]) if loss is None else loss}))
    optimizer.finish(job.id, JobEnd.COMPLETED)
    return job


def test_model_needs_more_results_than_dimensions() -> None:
    optimizer = bohb()

    jobs = [tell(optimizer) for _ in range(5)]

    # One dimension: two good points, two bad ones, so four results on one rung.
    assert [job.why["rule"] for job in jobs] == ["new trial"] * 4 + ["density ratio"]
    assert {key: jobs[4].why[key] for key in ("model_rung", "good", "of")} == {"model_rung": 0, "good": 2, "of": 4}


def test_highest_rung_with_enough_results_is_modelled() -> None:
    optimizer = bohb()

    jobs = [tell(optimizer) for _ in range(60)]

    rungs = [job.why["model_rung"] for job in jobs if job.why["rule"] == "density ratio"]
    assert rungs == sorted(rungs)
    assert (rungs[0], rungs[-1]) == (0, 2)


def test_configurations_come_from_where_the_good_ones_lie() -> None:
    optimizer = bohb(stretch=1.0)
    for _ in range(40):
        tell(optimizer)

    late = [float(job.config["x"]) for job in (tell(optimizer) for _ in range(30)) if job.rung == job.bracket]

    assert median(late) < 0.2


def test_good_share_is_at_least_as_many_as_a_mixture_needs() -> None:
    optimizer = bohb(good_share=0.5)
    for _ in range(30):
        tell(optimizer)

    counts = [(job.why["good"], job.why["of"]) for job in optimizer.jobs if job.why["rule"] == "density ratio"]

    assert counts
    assert all(good == max(2, math.floor(of / 2)) for good, of in counts)


def test_everything_random_when_asked() -> None:
    optimizer = bohb(random_share=1.0)

    rules = {tell(optimizer).why["rule"] for _ in range(40)}

    assert rules == {"new trial", "random share", "promotion"}


def test_earlier_results_are_modelled_at_once() -> None:
    optimizer = bohb()
    optimizer.warm_start([Earlier({"x": x / 10}, {9.0: {"loss": x / 10}}) for x in range(10)], retry=0)

    job = tell(optimizer)

    assert (job.why["rule"], job.why["model_rung"], job.rung) == ("density ratio", 2, 0)


def test_failed_trials_are_bad_ones() -> None:
    optimizer = bohb()
    for _ in range(40):
        job = optimizer.next_job()
        assert job is not None
        x = float(job.config["x"])
        if x >= 0.5:
            optimizer.observe(Report(job.id, job.trial, job.end, {"loss": x}))
        optimizer.finish(job.id, JobEnd.COMPLETED if x >= 0.5 else JobEnd.FAILED)

    late = optimizer.trials[-15:]
    assert sum(float(trial.config["x"]) < 0.35 for trial in late) <= 4


def test_good_ones_are_a_share_of_those_that_did_not_fail() -> None:
    optimizer = bohb(good_share=0.5)
    sound = 0
    for number in range(120):
        job = optimizer.next_job()
        assert job is not None
        if job.why["rule"] == "density ratio":
            assert job.why["good"] <= max(2, sound // 2), "half of those with a result, on whatever rung"
        end = JobEnd.FAILED
        if number % 6 == 0:
            optimizer.observe(Report(job.id, job.trial, job.end, {"loss": float(job.config["x"])}))
            end, sound = JobEnd.COMPLETED, sound + 1
        optimizer.finish(job.id, end)

    assert any(job.why["rule"] == "density ratio" for job in optimizer.jobs)


@pytest.mark.parametrize("seed", range(2))
def test_brackets_are_hyperbands(seed: int) -> None:
    table = hartmann6(max_resource=9)
    traces = [
        simulate(kind(table.problem(max_trials=40, seed=seed)), table, workers=1, failures=Failures(0.1, seed))
        for kind in (Bohb, Hyperband)
    ]

    first, second = ([(job.bracket, job.rung) for job in trace.jobs if job.start == 0] for trace in traces)
    assert first == second


@pytest.mark.slow
def test_beats_hyperband_on_hartmann() -> None:
    table = hartmann6(max_resource=27)
    regrets = {
        kind: [
            simulate(kind(table.problem(seed=seed)), table, workers=4, max_seconds=1000).best[0].metrics["loss"]
            for seed in range(3)
        ]
        for kind in (Bohb, Hyperband)
    }

    assert median(regrets[Bohb]) < median(regrets[Hyperband])

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest

from optimizers.asha import Asha
from optimizers.mobster import Mobster, MobsterSettings
from optimizers.protocol import Earlier, Job, JobEnd, Problem, Report
from optimizers.simulate import replay, simulate
from optimizers.synthetic import branin
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

pytestmark = pytest.mark.slow

SPACE = SearchSpace(Float("x", 0.0, 1.0))


def mobster(goals: list[Objective] | None = None, **settings: object) -> Mobster:
    problem = Problem(SPACE, goals or [Objective(metric="loss")], Fidelity(name="epochs", max=9), seed=1)
    fields = {"initial_trials": 4, "random_share": 0.0, "candidates": 100, **settings}
    return Mobster(problem, MobsterSettings.model_validate(fields))


def tell(optimizer: Mobster, **metrics: float) -> Job:
    """Run one job to its end; its loss is (x - 0.3)^2 and falls as it learns."""
    job = optimizer.next_job()
    assert job is not None
    loss = (float(job.config["x"]) - 0.3) ** 2 + 0.1 / job.end
    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": loss, **metrics}))
    optimizer.finish(job.id, JobEnd.COMPLETED)
    return job


def test_finds_the_promising_place() -> None:
    optimizer = mobster()

    jobs = [tell(optimizer) for _ in range(30)]

    starts = [job for job in jobs if job.why["rule"] == "expected improvement"]
    assert min(abs(float(job.config["x"]) - 0.3) for job in starts) < 0.02
    assert {"ei", "mean", "deviation", "model_rung"} <= set(starts[-1].why)
    assert {job.rung for job in jobs} == {0, 1, 2}


def test_target_is_the_highest_rung_with_enough_results() -> None:
    optimizer = mobster()

    jobs = [tell(optimizer) for _ in range(40)]

    rungs = [job.why["model_rung"] for job in jobs if job.why["rule"] == "expected improvement"]
    assert rungs == sorted(rungs)
    assert rungs[-1] == 2


def test_running_trials_keep_others_away() -> None:
    optimizer = mobster()
    for _ in range(12):
        tell(optimizer)

    xs = [
        float(job.config["x"]) for job in (optimizer.next_job() for _ in range(8)) if job is not None and not job.start
    ]

    assert np.diff(sorted(xs)).min() > 1e-3


def test_fit_rests_on_the_results_alone() -> None:
    whole, late = mobster(), mobster()
    journal = []
    for _ in range(17):
        job = tell(whole)
        journal.append((job, whole.trials[job.trial].reports[job.end]))
    # The other one has never fitted before.
    for job, metrics in journal:
        replay(late, [job, Report(job.id, job.trial, job.end, metrics)])
        late.finish(job.id, JobEnd.COMPLETED)

    for _ in range(4):
        assert repr(tell(whole)) == repr(tell(late))


def test_constraint_is_modelled() -> None:
    optimizer = mobster([Objective(metric="loss"), Objective(metric="cost", bound=0.5)])

    jobs = [tell(optimizer, cost=1.0) for _ in range(12)]

    assert {job.why["rule"] for job in jobs} == {"new trial", "probability of feasibility", "promotion"}


def test_earlier_results_shorten_the_design() -> None:
    optimizer = mobster()
    optimizer.warm_start([Earlier({"x": x / 5}, {1.0: {"loss": abs(x / 5 - 0.4)}}) for x in range(6)], retry=0)

    assert tell(optimizer).why["rule"] == "expected improvement"


@pytest.mark.parametrize(
    "useless",
    [Earlier({"x": 0.5}, {1.0: {"loss": 1.0}}, failed=True), Earlier({"x": 0.5}, {2.0: {"loss": 1.0}})],
)
def test_earlier_trials_without_a_result_leave_the_design_as_it_is(useless: Earlier) -> None:
    optimizer = mobster()
    sound = [Earlier({"x": x}, {1.0: {"loss": x}, 3.0: {"loss": x}}) for x in (0.2, 0.8)]
    optimizer.warm_start([useless] * 9 + sound, retry=0)

    jobs = [optimizer.next_job() for _ in range(3)]

    assert [job and job.why["rule"] for job in jobs] == ["new trial"] * 2 + ["expected improvement"]


def test_beats_asha_on_branin() -> None:
    table = branin(max_resource=27)

    ours, theirs = (
        [
            simulate(kind(table.problem(max_trials=60, seed=seed)), table, workers=4).best[0].metrics["loss"]
            for seed in range(12)
        ]
        for kind in (Mobster, Asha)
    )

    # Over ninety seeds means of 0.82 and 1.45; of any three either may win.
    assert fmean(ours) < fmean(theirs)

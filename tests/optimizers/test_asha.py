from __future__ import annotations

from collections import defaultdict

import pytest

from optimizers.asha import Asha, AshaSettings
from optimizers.halving import MAX_FAILED_WHOLE
from optimizers.protocol import Job, JobEnd, Problem, Report
from optimizers.simulate import Curve, Ended, Failures, simulate
from optimizers.synthetic import branin
from tunewright.space import Categorical, Config, Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace(Float("x", 0.0, 1.0))


class Line:
    """Branin along its diagonal."""

    def curve(self, config: Config) -> Curve:
        return branin(max_resource=9).curve({"x0": config["x"], "x1": config["x"]})


def asha(max_trials: int | None = None, goals: list[Objective] | None = None, **settings: object) -> Asha:
    goals = goals or [Objective(metric="loss")]
    problem = Problem(SPACE, goals, Fidelity(name="epochs", max=9), max_trials, seed=1)
    return Asha(problem, AshaSettings.model_validate(settings))


def start(optimizer: Asha) -> Job:
    job = optimizer.next_job()
    assert job is not None
    return job


def complete(optimizer: Asha, job: Job, **metrics: float) -> None:
    optimizer.observe(Report(job.id, job.trial, job.end, metrics))
    optimizer.finish(job.id, JobEnd.COMPLETED)


def test_best_of_three_is_promoted_and_resumes_where_it_stopped() -> None:
    optimizer = asha()
    jobs = [start(optimizer) for _ in range(3)]
    for job, loss in zip(jobs, (0.5, 0.1, 0.9), strict=True):
        complete(optimizer, job, loss=loss)

    promoted = start(optimizer)

    assert (promoted.trial, promoted.start, promoted.end, promoted.rung) == (1, 1.0, 3.0, 1)
    assert promoted.why == {"rule": "promotion", "rung": 1, "rank": 1, "of": 3}
    assert start(optimizer).trial == 3


def test_highest_rung_is_asked_first() -> None:
    optimizer = asha()
    for _ in range(3):
        jobs = [start(optimizer) for _ in range(3)]
        for job in jobs:
            complete(optimizer, job, loss=float(job.trial))
        complete(optimizer, start(optimizer), loss=float(job.trial))
    jobs = [start(optimizer) for _ in range(1)]

    assert jobs[0].rung == 2


def test_only_the_report_at_the_rung_counts() -> None:
    optimizer = asha(eta=9)
    jobs = [start(optimizer) for _ in range(9)]
    for job in jobs:
        complete(optimizer, job, loss=float(job.trial))
    promoted = start(optimizer)

    optimizer.observe(Report(promoted.id, promoted.trial, 5.0, {"loss": -9.0}))

    assert optimizer.rungs[0].measured == 9
    assert optimizer.rungs[1].measured == 0


def test_failed_trial_counts_as_the_worst_and_makes_room_for_others() -> None:
    optimizer = asha()
    jobs = [start(optimizer) for _ in range(3)]
    optimizer.observe(Report(0, 0, 1.0, {"loss": -1.0}))
    optimizer.finish(0, JobEnd.FAILED)
    optimizer.finish(1, JobEnd.LOST)
    complete(optimizer, jobs[2], loss=5.0)

    assert start(optimizer).trial == 2


def test_violating_trial_ranks_after_every_feasible_one() -> None:
    optimizer = asha(goals=[Objective(metric="loss"), Objective(metric="cost", bound=1.0)])
    jobs = [start(optimizer) for _ in range(3)]
    complete(optimizer, jobs[0], loss=0.0, cost=2.0)
    complete(optimizer, jobs[1], loss=7.0, cost=1.0)
    complete(optimizer, jobs[2], loss=8.0, cost=0.0)

    assert start(optimizer).trial == 1


def test_several_objectives_promote_from_the_first_front() -> None:
    optimizer = asha(goals=[Objective(metric="loss"), Objective(metric="score", direction="maximize")])
    jobs = [start(optimizer) for _ in range(6)]
    for job in jobs:
        on_front = job.trial in (1, 4)
        complete(optimizer, job, loss=0.0 if on_front else 1.0, score=float(on_front))

    assert {start(optimizer).trial, start(optimizer).trial} == {1, 4}


def test_no_new_trial_starts_beyond_the_limit_and_promotions_go_on() -> None:
    optimizer = asha(max_trials=9)

    jobs = simulate(optimizer, Line(), workers=4).jobs

    assert [job.rung for job in jobs].count(0) == 9
    assert [job.rung for job in jobs].count(1) >= 3
    assert [job.rung for job in jobs].count(2) >= 1
    assert optimizer.next_job() is None


@pytest.mark.parametrize("finish_best", [True, False])
def test_short_study_trains_its_best_trial_whole_if_asked(finish_best: bool) -> None:
    optimizer = asha(max_trials=2, finish_best=finish_best)

    trace = simulate(optimizer, Line(), workers=2)

    assert [job.why["rule"] for job in trace.jobs[2:]] == ["finish the best"] * (2 * finish_best)
    assert trace.best[0].resource == (9.0 if finish_best else 1.0)
    assert optimizer.next_job() is None


@pytest.mark.parametrize("failing", [1, 2, 5])
def test_next_best_trial_is_trained_whole_where_the_best_one_fails(failing: int) -> None:
    optimizer = asha(max_trials=5, eta=9)
    for job in [start(optimizer) for _ in range(5)]:
        complete(optimizer, job, loss=float(job.trial))
    whole = []

    while (job := optimizer.next_job()) is not None:
        whole.append(job.trial)
        if len(whole) <= failing:
            optimizer.finish(job.id, JobEnd.FAILED)
        else:
            complete(optimizer, job, loss=1.0)

    # So many failures are no matter of the configuration; the others keep what they have.
    assert whole == list(range(min(failing + 1, MAX_FAILED_WHOLE)))
    assert optimizer.best()[0].trial == min(failing, MAX_FAILED_WHOLE)


def test_fidelity_below_eta_leaves_one_rung_and_whole_trials() -> None:
    problem = Problem(SPACE, [Objective(metric="loss")], Fidelity(name="epochs", max=2), 3)

    job = start(Asha(problem))

    assert (job.start, job.end, job.rung) == (0.0, 2.0, 0)


def test_used_up_space_ends_the_study() -> None:
    space = SearchSpace(Categorical("x", [0.1, 0.2]))
    problem = Problem(space, [Objective(metric="loss")], Fidelity(name="epochs", max=9))
    optimizer = Asha(problem)

    trace = simulate(optimizer, Line(), workers=3, max_jobs=100)

    assert len(optimizer.trials) == 2
    assert trace.best[0].resource == 9.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("eta", [2.0, 3.0, 4.0])
def test_never_promotes_outside_the_top_share_of_its_rung(seed: int, eta: float) -> None:
    table = branin(bias=1.0)
    optimizer = Asha(table.problem(max_trials=80, seed=seed), AshaSettings(eta=eta, finish_best=False))

    trace = simulate(optimizer, table, workers=7, failures=Failures(0.1, seed))

    # The rule is checked from the journal alone.
    levels = [rung.level for rung in optimizer.rungs]
    results: dict[int, dict[int, float]] = defaultdict(dict)
    failed: dict[int, int] = defaultdict(int)
    reports = {(report.trial, report.resource): report.metrics["loss"] for report in trace.reports}
    jobs = {job.id: job for job in trace.jobs}
    for entry in trace.journal:
        if isinstance(entry, Ended):
            job = jobs[entry.job]
            assert job.rung is not None
            if entry.end is JobEnd.COMPLETED:
                results[job.rung][job.trial] = reports[job.trial, levels[job.rung]]
            else:
                failed[job.rung] += 1
        elif isinstance(entry, Job) and entry.rung:
            below = results[entry.rung - 1]
            rank = sorted(below, key=lambda trial: (below[trial], trial)).index(entry.trial)
            assert rank < (len(below) + failed[entry.rung - 1]) // eta
    assert any(job.rung == len(levels) - 1 for job in trace.jobs)

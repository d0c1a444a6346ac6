from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from statistics import median

import numpy as np
import pytest

from optimizers.asha import Asha
from optimizers.errors import OptimizerError
from optimizers.protocol import Job, JobEnd, Optimizer, Report, Trial, Verdict
from optimizers.random_search import RandomSearch
from optimizers.registry import OPTIMIZERS
from optimizers.simulate import Curve, Ended, Failures, Trace, replay, simulate
from optimizers.synthetic import branin, hartmann6
from tunewright.space import Config
from tunewright.study import Objective

TABLE = branin(max_resource=27)


def run(kind: type[Optimizer] = Asha, trials: int = 30, seed: int = 0, **fields: object) -> tuple[Optimizer, Trace]:
    optimizer = kind(TABLE.problem(max_trials=trials, seed=seed))
    return optimizer, simulate(optimizer, TABLE, **fields)  # type: ignore[arg-type]


def check_journal(trace: Trace, workers: int) -> None:
    """Reports and ends belong to running jobs, resources rise, no more run than there are workers."""
    running: dict[int, Job] = {}
    reached: dict[int, float] = {}
    last = 0.0
    for event in trace.events:
        assert event.seconds >= last
        last = event.seconds
        entry = event.entry
        if isinstance(entry, Job):
            running[entry.id] = entry
            assert len(running) <= workers
        elif isinstance(entry, Report):
            job = running[entry.job]
            assert entry.trial == job.trial
            assert max(job.start, reached.get(job.trial, 0.0)) < entry.resource <= job.end
            reached[job.trial] = entry.resource
        else:
            job = running.pop(entry.job)
            assert entry.end is not JobEnd.COMPLETED or reached[job.trial] == job.end
    assert not running


@pytest.mark.parametrize("kind", [Asha, RandomSearch])
@pytest.mark.parametrize("workers", [1, 3, 16, 100])
def test_journal_is_valid_and_can_be_replayed_whatever_the_number_of_workers(
    kind: type[Optimizer], workers: int
) -> None:
    failures = Failures(0.2, ends=(JobEnd.FAILED, JobEnd.LOST))
    optimizer, trace = run(kind, workers=workers, failures=failures)
    again = kind(optimizer.problem)

    replay(again, trace.journal)

    check_journal(trace, workers)
    assert again.jobs == optimizer.jobs
    assert again.trials == optimizer.trials
    assert again.best() == optimizer.best() == trace.best
    assert 0 < trace.utilisation <= 1


def test_one_worker_is_never_idle_and_two_are_faster() -> None:
    _, alone = run(RandomSearch, workers=1)
    _, pair = run(RandomSearch, workers=2)

    assert alone.utilisation == pytest.approx(1.0)
    assert alone.busy == pytest.approx(pair.busy)
    assert alone.seconds / 2 <= pair.seconds < alone.seconds * 0.6


def test_promotion_pays_only_the_additional_resource() -> None:
    optimizer, trace = run()

    assert trace.resource == sum(job.end - job.start for job in trace.jobs)
    assert trace.resource == sum(trial.completed for trial in optimizer.trials)
    spent = sum(TABLE.curve(trial.config).seconds_at(trial.completed) for trial in optimizer.trials)
    assert trace.busy == pytest.approx(spent)


def test_reports_say_how_long_their_leg_has_run() -> None:
    optimizer, trace = run()

    began = {event.entry.id: event.seconds for event in trace.events if isinstance(event.entry, Job)}
    reports = [(event.seconds, event.entry) for event in trace.events if isinstance(event.entry, Report)]
    assert reports
    for seconds, report in reports:
        assert report.seconds == pytest.approx(seconds - began[report.job])
    assert {job.start for job in optimizer.jobs} > {0.0}


def test_same_simulation_twice_is_the_same() -> None:
    failures = Failures(0.3, seed=4)

    assert run(workers=5, failures=failures)[1] == run(workers=5, failures=failures)[1]


def test_decisions_take_their_time_one_after_another() -> None:
    _, quick = run(RandomSearch, trials=4, workers=4)
    _, slow = run(RandomSearch, trials=4, workers=4, decision_seconds=100.0)
    ticks = iter(range(1000))
    _, measured = run(RandomSearch, trials=4, workers=4, clock=lambda: float(next(ticks)))

    # The last of four jobs waits for four decisions; the clock shows one second for each.
    assert 100 <= slow.seconds - quick.seconds <= 400
    assert 1 <= measured.seconds - quick.seconds <= 4
    assert slow.utilisation < quick.utilisation


def test_legs_take_their_time_to_start_and_say_so() -> None:
    _, quick = run(RandomSearch, trials=4, workers=4)
    _, slow = run(RandomSearch, trials=4, workers=4, start_seconds=100.0)
    reports = [event.entry.seconds or 0.0 for event in slow.events if isinstance(event.entry, Report)]

    assert slow.seconds == pytest.approx(quick.seconds + 100.0)
    assert min(reports) > 100.0


def test_no_job_starts_after_the_time_limit() -> None:
    _, trace = run(trials=1000, workers=4, max_seconds=50.0)

    assert max(event.seconds for event in trace.events if isinstance(event.entry, Job)) < 50
    assert trace.seconds >= 50


def test_number_of_jobs_can_be_limited() -> None:
    assert len(run(trials=1000, max_jobs=17)[1].jobs) == 17


def test_failing_job_ends_within_its_leg_and_without_its_last_report() -> None:
    optimizer, trace = run(RandomSearch, failures=Failures(1.0, ends=(JobEnd.LOST,)))

    assert {event.entry.end for event in trace.events if isinstance(event.entry, Ended)} == {JobEnd.LOST}
    assert all(report.resource < 27 for report in trace.reports)
    assert trace.best == []
    assert trace.progress == []
    assert optimizer.running == {}


def test_progress_ends_at_the_incumbent_and_never_worsens_at_one_resource() -> None:
    optimizer, trace = run(workers=4)

    last = trace.progress[-1]
    assert (last.trial, last.resource) == (optimizer.best()[0].trial, optimizer.best()[0].resource)
    assert trace.loss_at(trace.seconds) == optimizer.best()[0].metrics["loss"]
    assert trace.loss_at(0.0) == math.inf
    for a, b in pairwise(trace.progress):
        assert (b.resource, -b.loss) > (a.resource, -a.loss)


def test_incumbent_that_fails_later_is_replaced() -> None:
    class LastLegFails(Failures):
        def strike(self, job: Job) -> tuple[float, JobEnd] | None:
            return (0.5, JobEnd.FAILED) if job.rung == 3 else None

    optimizer, trace = run(failures=LastLegFails(0.0))

    assert trace.progress[-1].trial == optimizer.best()[0].trial


class Impatient(RandomSearch):
    """Stops every trial at half its resource."""

    def _on_report(self, trial: Trial, report: Report) -> Verdict:
        return Verdict.STOP if report.resource > 13 else Verdict.CONTINUE


def test_verdict_stops_the_job_at_once() -> None:
    _, trace = run(Impatient)

    assert max(report.resource for report in trace.reports) == 14
    assert {event.entry.end for event in trace.events if isinstance(event.entry, Ended)} == {JobEnd.CANCELLED}
    check_journal(trace, 1)


def test_what_a_stopped_job_would_have_done_takes_no_time() -> None:
    _, trace = run(Impatient)

    assert trace.seconds == trace.events[-1].seconds
    assert trace.utilisation == pytest.approx(1.0)


def test_leg_between_points_is_interpolated_and_beyond_them_refused() -> None:
    curve = Curve(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 60.0]), {"loss": np.array([4.0, 3.0, 1.0])})

    assert curve.leg(1.0, 3.0) == [(2.0, 10.0, {"loss": 3.0}), (3.0, 30.0, {"loss": 2.0})]
    assert curve.leg(0.0, 0.5) == [(0.5, 5.0, {"loss": 4.0})]
    with pytest.raises(OptimizerError, match="curve ends at resource 4, the leg at 5"):
        curve.leg(0.0, 5.0)


def test_simulation_without_an_end_or_a_worker_is_refused() -> None:
    optimizer = Asha(TABLE.problem())

    with pytest.raises(OptimizerError, match="give the problem max_trials, or set max_jobs or max_seconds"):
        simulate(optimizer, TABLE)
    with pytest.raises(OptimizerError, match="workers: 0 must be at least 1"):
        simulate(optimizer, TABLE, workers=0)


@pytest.mark.slow
@pytest.mark.parametrize("table", [branin(bias=0.1), hartmann6(bias=0.1)], ids=["branin", "hartmann6"])
def test_asha_needs_less_resource_than_random_search_for_the_same_regret(table: object) -> None:
    assert isinstance(table, type(TABLE))
    spent: dict[str, list[float]] = {"asha": [], "random": []}
    goal = median(_final(table, seed) for seed in range(5))
    for seed in range(5):
        for name, costs in spent.items():
            optimizer = OPTIMIZERS[name](table.problem(max_trials=400, seed=seed))
            trace = simulate(optimizer, table, workers=4, max_seconds=40 * table.max_resource)
            costs.append(_resource_until(trace, goal))

    assert median(spent["asha"]) < 0.7 * median(spent["random"])


def _final(table: object, seed: int) -> float:
    """What random search reaches with 60 whole trials."""
    assert isinstance(table, type(TABLE))
    optimizer = RandomSearch(table.problem(max_trials=60, seed=seed))
    return simulate(optimizer, table).best[0].metrics["loss"]


def _resource_until(trace: Trace, goal: float) -> float:
    """Resource of the jobs that ended until a whole trial reached the goal."""
    at = next((step.seconds for step in trace.progress if step.loss <= goal), math.inf)
    jobs = {job.id: job for job in trace.jobs}
    ended = [event for event in trace.events if isinstance(event.entry, Ended) and event.seconds <= at]
    if math.isinf(at):
        return math.inf
    return sum(jobs[event.entry.job].end - jobs[event.entry.job].start for event in ended)  # type: ignore[union-attr]


def test_progress_with_constraints_prefers_what_keeps_them() -> None:
    class Costly:
        def curve(self, config: Config) -> Curve:
            curve = TABLE.curve(config)
            cost = np.full(len(curve.resources), float(config["x0"]))
            return Curve(curve.resources, curve.seconds, {**curve.metrics, "cost": cost})

    problem = TABLE.problem(max_trials=30)
    optimizer = RandomSearch(replace(problem, objectives=[*problem.objectives, Objective(metric="cost", bound=0.3)]))

    trace = simulate(optimizer, Costly())

    assert trace.progress[-1].violation == 0
    assert trace.progress[-1].trial == trace.best[0].trial

from __future__ import annotations

import numpy as np
import pytest

from optimizers.pbt import PbtSettings, PopulationBasedTraining, step_levels
from optimizers.protocol import Job, JobEnd, Problem, Report
from optimizers.simulate import simulate
from optimizers.synthetic import branin
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace(Float("x", 0.0, 1.0))


def pbt(max_trials: int | None = None, **settings: object) -> PopulationBasedTraining:
    problem = Problem(SPACE, [Objective(metric="loss")], Fidelity(name="epochs", max=9), max_trials, seed=1)
    fields = {"population": 4, "steps": 3, "resample": 0.0, **settings}
    return PopulationBasedTraining(problem, PbtSettings.model_validate(fields))


def start(optimizer: PopulationBasedTraining) -> Job:
    job = optimizer.next_job()
    assert job is not None
    return job


def complete(optimizer: PopulationBasedTraining, job: Job, loss: float) -> None:
    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": loss}))
    optimizer.finish(job.id, JobEnd.COMPLETED)


@pytest.mark.parametrize(
    ("fidelity", "steps", "levels"),
    [
        (Fidelity(name="epochs", max=9), 3, [3, 6, 9]),
        (Fidelity(name="epochs", max=3), 10, [1, 2, 3]),
        (Fidelity(name="share", min=0.5, max=1, integer=False), 4, [0.5, 0.75, 1]),
        (Fidelity(name="epochs", min=9, max=9), 4, [9]),
    ],
)
def test_steps_are_even_whole_and_above_the_smallest_resource(
    fidelity: Fidelity, steps: int, levels: list[float]
) -> None:
    assert step_levels(fidelity, steps) == levels


def test_worst_member_is_replaced_by_a_changed_copy_of_the_best() -> None:
    optimizer = pbt()
    jobs = [start(optimizer) for _ in range(4)]
    assert optimizer.next_job() is None
    for job, loss in zip(jobs, (0.2, 0.1, 0.3, 0.9), strict=True):
        complete(optimizer, job, loss)

    next_jobs = [start(optimizer) for _ in range(4)]

    assert [(job.trial, job.start, job.end) for job in next_jobs] == [(0, 3, 6), (1, 3, 6), (2, 3, 6), (4, 3, 6)]
    copy = next_jobs[3]
    assert copy.parent == 1
    assert copy.why == {"rule": "copy", "instead_of": 3, "rank": 4, "of": 4, "parent_rank": 1}
    assert abs(float(copy.config["x"]) - float(jobs[1].config["x"])) == pytest.approx(0.1)
    assert {job.trial for job in optimizer.running.values()} == {0, 1, 2, 4}


def test_nobody_is_replaced_before_ranks_mean_something() -> None:
    optimizer = pbt()
    job, *_ = [start(optimizer) for _ in range(4)]
    complete(optimizer, job, 9.0)

    assert start(optimizer).why == {"rule": "go on", "rank": 1, "of": 1}


def test_members_take_turns_where_fewer_jobs_run_than_there_are_members() -> None:
    optimizer = pbt(max_trials=4)
    order = []
    for _ in range(12):
        job = start(optimizer)
        order.append((job.trial, job.end))
        complete(optimizer, job, 0.5)

    assert order == [(member, level) for level in (3, 6, 9) for member in range(4)]


def test_what_may_be_copied_is_what_a_copy_begins_from() -> None:
    table = branin(max_resource=27)
    optimizer = PopulationBasedTraining(table.problem(max_trials=60, seed=3), PbtSettings(population=8))
    running: list[Job] = []
    copies = 0
    while True:
        copyable = optimizer.copyable()
        job = optimizer.next_job() if len(running) < 5 else None
        if job is None and not running:
            break
        if job is not None:
            running.append(job)
            if job.parent is not None:
                assert copyable[job.parent] == job.start
                copies += 1
            continue
        ended = running.pop(0)
        complete(optimizer, ended, (ended.trial * 7 % 11) / ended.end)

    assert copies > 5
    assert optimizer.copyable() == {}


def test_copy_starts_where_its_parent_stands_by_now() -> None:
    optimizer = pbt()
    jobs = [start(optimizer) for _ in range(4)]
    for job in jobs[:3]:
        complete(optimizer, job, 0.1 * (job.trial + 1))
    ahead = start(optimizer)
    complete(optimizer, ahead, 0.05)
    for _ in range(2):
        start(optimizer)
    assert start(optimizer).trial == ahead.trial
    complete(optimizer, jobs[3], 9.0)

    copy = start(optimizer)

    assert (copy.parent, copy.start, copy.end) == (0, 6, 9)


def test_nobody_copies_a_whole_member_whose_result_is_still_to_come() -> None:
    optimizer = pbt()
    *jobs, last = [start(optimizer) for _ in range(4)]
    for job in jobs:
        complete(optimizer, job, 0.1 * (job.trial + 1))
    ahead = start(optimizer)
    complete(optimizer, ahead, 0.05)
    for _ in range(2):
        start(optimizer)
    whole = start(optimizer)
    assert (whole.trial, whole.end) == (0, 9)
    optimizer.finish(whole.id, JobEnd.COMPLETED)
    complete(optimizer, last, 9.0)

    assert start(optimizer).why["rule"] == "go on"
    assert 0 not in optimizer.copyable()


def test_copy_does_not_take_the_place_of_what_is_enqueued() -> None:
    optimizer, twin = pbt(), pbt()
    for each in (optimizer, twin):
        for job, loss in zip([start(each) for _ in range(4)], (0.2, 0.1, 0.3, 0.9), strict=True):
            complete(each, job, loss)
    # What the copy is going to be.
    config = next(job.config for job in (start(twin) for _ in range(4)) if job.parent is not None)
    optimizer.enqueue(config)

    copies = [job for job in (start(optimizer) for _ in range(4)) if job.parent is not None]

    assert [job.config for job in copies] == [config]
    assert optimizer.queue == [config]


def test_copies_count_as_trials() -> None:
    optimizer = pbt(max_trials=4)
    for job in [start(optimizer) for _ in range(4)]:
        complete(optimizer, job, float(job.trial))

    rules = [start(optimizer).why["rule"] for _ in range(4)]

    assert rules == ["go on"] * 4


def test_whole_member_makes_room_for_a_new_one() -> None:
    table = branin(max_resource=9)
    optimizer = PopulationBasedTraining(table.problem(max_trials=12), PbtSettings(population=3, steps=3, quantile=0.5))

    trace = simulate(optimizer, table, workers=3)

    assert len(optimizer.trials) == 12
    assert trace.best[0].resource == 9.0
    copies = [job for job in trace.jobs if job.parent is not None]
    assert copies
    assert all(0 < job.start < job.end for job in copies)


def test_every_copy_continues_a_living_parent() -> None:
    table = branin(max_resource=27)
    optimizer = PopulationBasedTraining(table.problem(max_trials=60, seed=3), PbtSettings(population=8))

    jobs = simulate(optimizer, table, workers=8).jobs

    for job in jobs:
        if job.parent is not None:
            legs = [other for other in jobs if other.trial == job.parent and other.id < job.id]
            assert job.start in [leg.end for leg in legs]
            assert np.isclose(job.start, max(leg.end for leg in legs)) or legs[-1].start == job.start

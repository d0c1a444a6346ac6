from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.asha import Asha, AshaSettings
from optimizers.halving import AsynchronousHalving
from optimizers.hyperband import (
    asha_continues,
    asha_promotes,
    bracket_in_turn,
    bracket_sizes,
    delayed_promotes,
    rung_quorum,
)
from optimizers.hypertune import HyperTune, HyperTuneSettings
from optimizers.protocol import Job, JobEnd, Problem, Report, Verdict
from optimizers.simulate import Ended, Failures, Trace, simulate
from optimizers.synchronous import Hyperband
from optimizers.synthetic import branin
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace(Float("x", 0.0, 1.0))


def problem(max_trials: int | None = None, high: int = 9) -> Problem:
    return Problem(SPACE, [Objective(metric="loss")], Fidelity(name="epochs", max=high), max_trials, seed=1)


def start(optimizer: Asha | Hyperband) -> Job:
    job = optimizer.next_job()
    assert job is not None
    return job


def complete(optimizer: Asha | Hyperband, job: Job, loss: float) -> None:
    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": loss}))
    optimizer.finish(job.id, JobEnd.COMPLETED)


@pytest.mark.parametrize(
    ("rungs", "eta", "sizes"),
    [(5, 3, (81, 34, 15, 8, 5)), (4, 3, (27, 12, 6, 4)), (1, 3, (1,)), (2, 2.0, (2, 2)), (3, 1.5, (3, 3, 3))],
)
def test_sizes_are_those_of_the_hyperband_paper(rungs: int, eta: float, sizes: tuple[int, ...]) -> None:
    assert bracket_sizes(rungs, eta) == sizes


def test_brackets_take_turns_for_ever() -> None:
    assert [bracket_in_turn(number, (3, 2, 1)) for number in range(8)] == [0, 0, 0, 1, 1, 2, 0, 0]


def test_quorum_lets_one_of_a_rung_reach_the_top() -> None:
    assert [rung_quorum(k, 4, 3) for k in range(4)] == [27, 9, 3, 1]


@given(
    measured=st.integers(1, 500),
    rank=st.integers(0, 500),
    promoted=st.integers(0, 500),
    needed=st.floats(0, 500),
    eta=st.floats(1.1, 9),
)
def test_delayed_rule_is_the_eager_one_and_two_bounds(
    measured: int, rank: int, promoted: int, needed: float, eta: float
) -> None:
    allowed = delayed_promotes(rank, measured, promoted, needed, eta)

    if allowed:
        assert asha_promotes(rank, measured, eta)
        assert (promoted + 1) / measured <= 1 / eta + 1e-6
        assert measured >= needed - 1e-6
    elif asha_promotes(rank, measured, eta) and measured >= needed:
        assert (promoted + 1) / measured > 1 / eta - 1e-6


def test_delayed_rule_waits_where_the_eager_one_overshoots() -> None:
    # Two of six have climbed; a seventh result, better than both, must not bring a third up.
    assert asha_promotes(0, 7, 3)
    assert not delayed_promotes(0, 7, 2, 1, 3)
    assert delayed_promotes(0, 9, 2, 9, 3)
    assert not delayed_promotes(0, 9, 2, 27, 3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("eta", [2.0, 3.0])
@pytest.mark.parametrize("kind", ["asha", "hypertune"])
def test_never_promotes_below_the_two_bounds(kind: str, eta: float, seed: int) -> None:
    table = branin(bias=1.0, max_resource=27)
    optimizer: AsynchronousHalving
    if kind == "asha":
        chosen = AshaSettings(eta=eta, promotion="delayed", brackets="round_robin", finish_best=False)
        optimizer = Asha(table.problem(max_trials=150, seed=seed), chosen)
    else:
        optimizer = HyperTune(
            table.problem(max_trials=150, seed=seed),
            HyperTuneSettings(eta=eta, candidates=20, trees=2, finish_best=False),
        )

    trace = simulate(optimizer, table, workers=7, failures=Failures(0.1, seed))

    assert_delayed(trace, [rung.level for rung in optimizer.rungs], eta)
    assert any(job.rung == len(optimizer.rungs) - 1 and job.start for job in trace.jobs)


def assert_delayed(trace: Trace, levels: list[float], eta: float) -> None:
    """The rule is checked from the journal alone."""
    measured: dict[int, int] = defaultdict(int)
    promoted: dict[int, int] = defaultdict(int)
    jobs = {job.id: job for job in trace.jobs}
    for entry in trace.journal:
        if isinstance(entry, Ended):
            rung = jobs[entry.job].rung
            assert rung is not None
            measured[rung] += 1
        elif isinstance(entry, Job) and entry.start:
            assert entry.rung is not None
            below = entry.rung - 1
            if entry.why["rule"] == "promotion":
                assert (promoted[below] + 1) * eta <= measured[below]
                assert measured[below] >= eta ** (len(levels) - entry.rung)
            else:
                assert entry.why["rule"] == "late promotion"
            promoted[below] += 1


def test_late_promotions_come_only_once_no_configuration_can() -> None:
    optimizer = Asha(problem(4), AshaSettings(promotion="delayed"))
    jobs = [start(optimizer) for _ in range(4)]
    for job in jobs[:3]:
        complete(optimizer, job, float(job.trial))

    late = start(optimizer)

    assert late.why == {"rule": "late promotion", "rung": 1, "rank": 1, "of": 3, "promoted": 0, "needed": 9.0}


def test_brackets_by_turns_start_at_their_rungs() -> None:
    optimizer = Asha(problem(), AshaSettings(promotion="delayed", brackets="round_robin"))

    jobs = [start(optimizer) for _ in range(18)]

    assert [job.bracket for job in jobs] == [0] * 9 + [1] * 5 + [2] * 3 + [0]
    assert {(job.bracket, job.rung, job.end) for job in jobs} == {(0, 0, 1.0), (1, 1, 3.0), (2, 2, 9.0)}


def test_first_of_a_rung_goes_on_and_the_top_third_after_it() -> None:
    assert asha_continues(0, 1, 3)
    assert [asha_continues(rank, 9, 3) for rank in range(4)] == [True, True, True, False]
    assert not asha_continues(1, 3, 3)


def test_stopping_form_runs_trials_whole_and_stops_the_worse_at_rungs() -> None:
    optimizer = Asha(problem(), AshaSettings(form="stopping"))
    good, bad, best = (start(optimizer) for _ in range(3))

    def verdicts(job: Job, loss: float) -> list[Verdict]:
        return [optimizer.observe(Report(job.id, job.trial, float(r), {"loss": loss})) for r in (1, 2, 3)]

    assert (good.start, good.end) == (0.0, 9.0)
    assert verdicts(good, 0.5) == [Verdict.CONTINUE] * 3
    assert verdicts(bad, 0.9)[0] is Verdict.STOP
    assert verdicts(best, 0.1) == [Verdict.CONTINUE] * 3
    assert [rung.measured for rung in optimizer.rungs] == [3, 2, 0]
    assert [rung.promoted for rung in optimizer.rungs] == [2, 2, 0]


def test_stopping_form_passes_rungs_that_no_report_hits() -> None:
    optimizer = Asha(problem(), AshaSettings(form="stopping"))
    job = start(optimizer)

    optimizer.observe(Report(job.id, job.trial, 4.0, {"loss": 0.5}))

    assert [rung.measured for rung in optimizer.rungs] == [1, 1, 0]


def test_stopping_form_saves_what_bad_trials_would_cost() -> None:
    table = branin(bias=0.1, max_resource=27)
    optimizer = Asha(table.problem(max_trials=60), AshaSettings(form="stopping"))

    trace = simulate(optimizer, table, workers=4)

    assert trace.resource < 0.4 * 60 * 27
    assert trace.best[0].resource == 27


def test_hyperband_waits_for_a_full_rung_and_halves_it() -> None:
    optimizer = Hyperband(problem())
    jobs = [start(optimizer) for _ in range(9)]
    for job in jobs[:8]:
        complete(optimizer, job, float(job.trial))

    other = start(optimizer)
    complete(optimizer, jobs[8], 8.0)
    promoted = [start(optimizer) for _ in range(3)]

    assert (other.bracket, other.end, other.why["iteration"]) == (1, 3.0, 1)
    assert [(job.trial, job.start, job.end) for job in promoted] == [(0, 1.0, 3.0), (1, 1.0, 3.0), (2, 1.0, 3.0)]
    assert start(optimizer).bracket == 1


def test_hyperband_counts_failed_and_cancelled_trials_as_ended() -> None:
    optimizer = Hyperband(problem())
    jobs = [start(optimizer) for _ in range(9)]
    for job in jobs[:2]:
        complete(optimizer, job, float(job.trial))
    for job in jobs[2:]:
        optimizer.finish(job.id, JobEnd.FAILED if job.id % 2 else JobEnd.CANCELLED)

    assert [start(optimizer).trial for _ in range(3)] == [0, 1, 9]


@pytest.mark.parametrize("max_trials", [1, 2, 9, 13, 40])
def test_hyperband_cut_short_by_the_budget_still_brings_one_to_the_top(max_trials: int) -> None:
    table = branin(max_resource=9)
    optimizer = Hyperband(table.problem(max_trials=max_trials))

    trace = simulate(optimizer, table, workers=3)

    assert len(optimizer.trials) == max_trials
    assert trace.best[0].resource == 9


@pytest.mark.parametrize("seed", range(3))
def test_hyperband_promotes_one_in_eta_of_each_full_bracket(seed: int) -> None:
    table = branin(bias=1.0, max_resource=27)
    optimizer = Hyperband(table.problem(max_trials=2 * 49, seed=seed))

    trace = simulate(optimizer, table, workers=5)

    climbed: dict[tuple[int, int], int] = defaultdict(int)
    for job in trace.jobs:
        assert job.rung is not None
        assert job.bracket is not None
        climbed[job.bracket, job.rung] += 1
    once = {(0, 0): 27, (0, 1): 9, (0, 2): 3, (0, 3): 1, (1, 1): 12, (1, 2): 4, (1, 3): 1, (2, 2): 6, (2, 3): 2}
    assert climbed == {**{place: 2 * count for place, count in once.items()}, (3, 3): 2 * 4}

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from optimizers.errors import OptimizerError
from optimizers.hypertune import HyperTune, HyperTuneSettings
from optimizers.protocol import Earlier, Job, JobEnd, Problem, Report
from optimizers.registry import create
from optimizers.simulate import Ended, Failures, simulate
from optimizers.synthetic import SyntheticTable, branin, hartmann6
from tunewright.space import Categorical, Float, SearchSpace
from tunewright.study import Fidelity, Objective

LINE = SearchSpace(Float("x", 0.0, 1.0))
SMALL = {"initial_trials": 6, "candidates": 100, "trees": 5, "random_share": 0.0, "allocation": "learned"}


def line(goals: list[Objective] | None = None, fidelity: Fidelity | None = None, **settings: Any) -> HyperTune:
    problem = Problem(LINE, goals or [Objective(metric="loss")], fidelity or Fidelity(name="epochs", max=9), seed=1)
    return HyperTune(problem, HyperTuneSettings.model_validate({**SMALL, **settings}))


def start(optimizer: HyperTune) -> Job:
    job = optimizer.next_job()
    assert job is not None
    return job


def complete(optimizer: HyperTune, job: Job, **metrics: float) -> None:
    optimizer.observe(Report(job.id, job.trial, job.end, metrics))
    optimizer.finish(job.id, JobEnd.COMPLETED)


def run(optimizer: HyperTune, jobs: int, **metrics: Callable[[float, float], float]) -> list[Job]:
    """One worker; each metric is a function of x and the resource."""
    done = []
    for _ in range(jobs):
        job = start(optimizer)
        x = float(job.config["x"])
        complete(optimizer, job, **{name: value(x, job.end) for name, value in metrics.items()})
        done.append(job)
    return done


DECLARED = SearchSpace(Float("x", 0.0, 1.0, default=0.3))


def begun(optimizer: HyperTune, jobs: int) -> list[tuple[float, float]]:
    """x and end of so many jobs that run at once."""
    return [(float(job.config["x"]), job.end) for job in (start(optimizer) for _ in range(jobs))]


@pytest.mark.parametrize("settings", [{}, {"allocation": "learned"}, {"allocation": "round_robin"}], ids=str)
def test_declared_defaults_are_trained_whole_so_that_a_study_ends_no_worse(settings: dict[str, Any]) -> None:
    problem = Problem(DECLARED, [Objective(metric="loss")], Fidelity(name="epochs", max=9), seed=1)

    optimizer = HyperTune(problem, HyperTuneSettings.model_validate(settings))
    jobs = begun(optimizer, 8)

    assert jobs[0] == (0.3, 9.0)
    assert any(end < 9.0 for _, end in jobs[1:])
    assert [job.why["rule"] for job in optimizer.jobs] == ["declared defaults"] + ["initial design"] * 7


def test_what_is_enqueued_before_the_defaults_starts_where_it_would() -> None:
    problem = Problem(DECLARED, [Objective(metric="loss")], Fidelity(name="epochs", max=9), seed=1)
    optimizer = HyperTune(problem)
    for _ in range(8):
        optimizer.enqueue({"x": 0.9})

    jobs = begun(optimizer, 9)

    assert {x for x, _ in jobs[:8]} == {0.9}
    assert {end for _, end in jobs[:8]} > {9.0}
    assert jobs[8] == (0.3, 9.0)


def test_without_brackets_all_begin_at_the_lowest_rung() -> None:
    problem = Problem(DECLARED, [Objective(metric="loss")], Fidelity(name="epochs", max=9), seed=1)

    assert begun(HyperTune(problem, HyperTuneSettings(allocation="off")), 1) == [(0.3, 1.0)]


@pytest.mark.parametrize(
    ("bound", "asked", "taken"),
    [(None, "auto", "gp"), (0.5, "auto", "forest"), (None, "forest", "forest"), (0.5, "gp", "gp")],
)
def test_constraints_are_left_to_forests_unless_asked_otherwise(bound: float | None, asked: str, taken: str) -> None:
    goals = [Objective(metric="loss"), Objective(metric="cost", bound=bound)] if bound else [Objective(metric="loss")]

    assert line(goals, surrogate=asked).models.surrogate == taken


def test_design_comes_first_and_then_the_promising_end() -> None:
    optimizer = line()

    jobs = [job for job in run(optimizer, 60, loss=lambda x, r: x) if not job.start]

    assert [job.why["rule"] for job in jobs[:6]] == ["initial design"] * 6
    assert {job.why["rule"] for job in jobs[6:]} == {"expected improvement"}
    assert min(float(job.config["x"]) for job in jobs) < 0.02
    assert np.mean([float(job.config["x"]) for job in jobs[6:]]) < 0.25
    assert {"ei", "mean", "deviation", "ensemble", "bracket"} <= set(jobs[-1].why)


def test_brackets_go_by_turns_until_the_full_resource_can_be_ranked() -> None:
    optimizer = line()

    jobs = run(optimizer, 150, loss=lambda x, r: x)

    starts = [job for job in jobs if not job.start]
    learned = [job for job in starts if "bracket_weights" in job.why]
    assert [job.bracket for job in starts[:17]] == [2] * 3 + [1] * 5 + [0] * 9
    assert learned
    for job in learned:
        assert sum(job.why["theta"]) == pytest.approx(1, abs=1e-3)
        assert sum(job.why["bracket_weights"]) == pytest.approx(1, abs=1e-3)
        assert min(job.why["theta"] + job.why["bracket_weights"]) >= 0


def test_where_starting_a_leg_costs_as_much_as_training_most_trials_are_trained_whole() -> None:
    table = branin(max_resource=27)
    shares = []
    for start in (0.0, 3.0):
        optimizer = HyperTune(table.problem(max_trials=150, seed=0), HyperTuneSettings(cost_aware=True))
        # A whole training takes about 1.5 s a unit.
        trace = simulate(optimizer, table, workers=4, start_seconds=start * 27 * 1.5)

        late = [job for job in trace.jobs if not job.start][-75:]
        shares.append(np.mean([job.end == 27 for job in late]))
        assert float(late[-1].why["leg_overhead"]) == pytest.approx(start, rel=0.5, abs=0.1)
    assert shares[0] < 0.3
    assert shares[1] > 0.5


def test_brackets_follow_what_their_lowest_rungs_turned_out_to_tell() -> None:
    """The same study where early results rank rightly and where they rank upside down."""
    lowest = []
    for loss in (lambda x, r: x, lambda x, r: x if r == 9 else -x):
        optimizer = line(allocation="payoff", random_share=1.0)

        jobs = [job for job in run(optimizer, 200, loss=loss) if not job.start]

        assert all(sum(job.why["bracket_weights"]) == pytest.approx(1, abs=1e-3) for job in jobs)
        lowest.append(np.mean([job.bracket == 0 for job in jobs[-40:]]))
    assert lowest[0] > 0.6
    assert lowest[1] < 0.3


@pytest.mark.parametrize("theta", ["rank_loss_p_norm", "rank_loss_prob"])
def test_rung_that_ranks_badly_loses_its_weight(theta: str) -> None:
    # The lowest rung ranks upside down, the middle one rightly.
    optimizer = line(theta=theta, random_share=1.0)

    run(optimizer, 150, loss=lambda x, r: -x if r == 1 else x)

    found = optimizer.models.theta()
    assert found.reference == 2
    assert found.shares[0] < 0.1
    assert found.shares[1] > 0.9
    assert found.values[0] < 0.05


def test_full_resource_gains_weight_with_its_results() -> None:
    shares = []
    for jobs in (100, 300):
        optimizer = line(random_share=1.0)
        run(optimizer, jobs, loss=lambda x, r: x)
        shares.append(optimizer.models.ensemble_weights(growing=True)[-1])
        assert optimizer.models.ensemble_weights(growing=True).sum() == pytest.approx(1)

    assert 1 / 3 <= shares[0] < shares[1]


def test_parallel_trials_spread_out() -> None:
    optimizer = line()
    run(optimizer, 20, loss=lambda x, r: 0.0)

    xs = sorted(float(start(optimizer).config["x"]) for _ in range(8))

    assert np.diff(xs).min() > 1e-3


def test_report_on_the_way_teaches_the_lower_rung_but_is_not_promoted() -> None:
    for reports, heard in (("all", 1), ("rungs", 0)):
        optimizer = line(reports=reports)
        jobs = [start(optimizer) for _ in range(4)]
        assert (jobs[3].bracket, jobs[3].end) == (1, 3.0)

        optimizer.observe(Report(3, 3, 1.0, {"loss": 0.0}))

        assert optimizer.models.measured == [heard, 0, 0]
        assert optimizer.rungs[0].measured == 0


def test_constraint_steers_into_the_feasible_part() -> None:
    # Least loss at x = 0, but cost 1 - x must be at most 0.4.
    optimizer = line([Objective(metric="loss"), Objective(metric="cost", bound=0.4)])

    jobs = run(optimizer, 80, loss=lambda x, r: x, cost=lambda x, r: 1 - x)

    chosen = [job for job in jobs if "feasible" in job.why]
    assert 0.6 <= optimizer.best()[0].metrics["loss"] < 0.66
    assert chosen
    assert np.mean([float(job.config["x"]) > 0.5 for job in chosen]) > 0.6


def test_while_nothing_is_feasible_the_search_is_for_feasibility() -> None:
    optimizer = line([Objective(metric="loss"), Objective(metric="cost", bound=-2.0)])

    jobs = run(optimizer, 20, loss=lambda x, r: x, cost=lambda x, r: x)

    assert {job.why["rule"] for job in jobs if not job.start} == {"initial design", "probability of feasibility"}


def test_two_objectives_spread_along_the_front_whatever_their_directions() -> None:
    optimizer = line([Objective(metric="loss"), Objective(metric="score", direction="maximize")])

    jobs = run(optimizer, 80, loss=lambda x, r: x, score=lambda x, r: x)

    xs = [float(best.config["x"]) for best in optimizer.best()]
    assert min(xs) < 0.2
    assert max(xs) > 0.8
    assert any(set(job.why.get("weights", ())) == {"loss", "score"} for job in jobs)


def test_rare_violation_is_not_taken_for_feasible() -> None:
    optimizer = line([Objective(metric="loss"), Objective(metric="cost", bound=0.5)])

    run(optimizer, 90, loss=lambda x, r: x, cost=lambda x, r: 10.0 if x < 0.1 else 0.1 + x / 100)

    # Few that miss the bound are whole.
    assert 0 < np.mean(optimizer.models.evidence[2].violations > 0) < 0.25
    predict = optimizer.models.ensemble(np.array([0.0, 0.0, 1.0]), [np.empty((0, 1))] * 3, np.ones(1), 0)
    missed = predict(np.array([[0.05], [0.5]]))[0][:, 1]
    assert missed[0] > 0 > missed[1]


def test_failing_region_is_avoided_but_for_its_border_where_the_optimum_lies() -> None:
    optimizer = line()
    inside = []
    for _ in range(80):
        job = start(optimizer)
        x = float(job.config["x"])
        if x < 0.5:
            optimizer.finish(job.id, JobEnd.FAILED)
        else:
            complete(optimizer, job, loss=x)
        if not job.start:
            inside.append(x < 0.45)

    assert np.mean(inside[6:]) < 0.2


def test_every_part_can_be_switched_off() -> None:
    table = branin(max_resource=9)
    for settings, rules in (
        ({"sampler": "random"}, {"random"}),
        ({"sampler": "full_fidelity"}, {"random", "expected improvement"}),
        ({"allocation": "off", "sampler": "random"}, {"random"}),
    ):
        optimizer = HyperTune(table.problem(max_trials=40), HyperTuneSettings.model_validate({**SMALL, **settings}))

        jobs = [job for job in simulate(optimizer, table, workers=2).jobs if not job.start]

        assert {job.why["rule"] for job in jobs[6:]} == rules
        assert ({job.bracket for job in jobs} == {0}) == (settings.get("allocation") == "off")


def test_everything_off_is_asha() -> None:
    table = branin(max_resource=27)
    off = {"promotion": "eager", "allocation": "off", "sampler": "random", "design": "random", "initial_trials": 64}
    ours = create("hypertune", off, table.problem(max_trials=64))
    asha = create("asha", {"design": "random"}, table.problem(max_trials=64))

    traces = [simulate(optimizer, table, workers=4) for optimizer in (ours, asha)]

    jobs = [[(job.trial, job.config, job.start, job.end) for job in trace.jobs] for trace in traces]
    assert jobs[0] == jobs[1]


def test_warm_start_teaches_the_models_before_the_first_trial() -> None:
    earlier = [Earlier({"x": x}, {1.0: {"loss": x}, 9.0: {"loss": x}}) for x in np.linspace(0, 1, 12).tolist()]
    optimizer = line(initial_trials=1)

    optimizer.warm_start(earlier)
    jobs = [start(optimizer) for _ in range(4)]

    assert optimizer.models.measured == [12, 0, 12]
    assert jobs[0].config == {"x": 0.0}
    assert [job.why["rule"] for job in jobs[1:]] == ["expected improvement"] * 3
    assert np.mean([float(job.config["x"]) < 0.5 for job in jobs[1:]]) > 0.6


def test_earlier_results_shorten_the_design_and_failures_do_not() -> None:
    taught, untaught = line(), line()

    taught.warm_start([Earlier({"x": 0.1 * i}, {9.0: {"loss": 0.1 * i}}) for i in range(5)])
    untaught.warm_start([Earlier({"x": 0.1 * i}, {9.0: {"loss": 0.0}}, failed=True) for i in range(6)])

    assert [start(taught).why["rule"] for _ in range(2)] == ["enqueued", "expected improvement"]
    assert [start(untaught).why["rule"] for _ in range(6)] == ["initial design"] * 6


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_arrival_breaks_no_invariant(seed: int) -> None:
    optimizer = line(random_share=0.3)
    rng = random.Random(seed)
    late: list[Report | Ended] = []

    for _ in range(400):
        if len(optimizer.running) < 6 and (job := optimizer.next_job()) is not None:
            middle = [Report(job.id, job.trial, r, {"loss": rng.random()}) for r in (1.0, 3.0, 9.0) if r <= job.end]
            end = rng.choice([JobEnd.COMPLETED] * 5 + [JobEnd.FAILED, JobEnd.CANCELLED])
            late += [report for report in middle if report.resource > job.start]
            late.append(Ended(job.id, end))
        # Reports and ends come in any order, also those of one job.
        entry = late.pop(rng.randrange(len(late)))
        if isinstance(entry, Ended):
            optimizer.finish(entry.job, entry.end)
        else:
            optimizer.observe(entry)

        for k, rung in enumerate(optimizer.rungs):
            assert (rung.promoted + 0) * 3 <= rung.measured or k == 2
            assert optimizer.models.measured[k] <= len(optimizer.models.evidence[k]) <= len(optimizer.trials)
        if optimizer.models.modelled:
            weights = optimizer.models.ensemble_weights(growing=True)
            assert weights.min() >= 0
            assert weights.sum() == pytest.approx(1)
    assert any(job.rung == 2 and job.start for job in optimizer.jobs)


@pytest.mark.parametrize(
    "fidelity",
    [
        Fidelity(name="epochs", max=2),
        Fidelity(name="epochs", max=100),
        Fidelity(name="epochs", min=7, max=50),
        Fidelity(name="rows", min=0.05, max=1, integer=False),
    ],
)
@pytest.mark.parametrize("eta", [1.1, 2.5, 3, 60])
def test_levels_that_do_not_divide_and_few_or_many_rungs_are_no_error(fidelity: Fidelity, eta: float) -> None:
    optimizer = line(fidelity=fidelity, eta=eta, candidates=10, trees=2, random_share=0.5)

    jobs = run(optimizer, 60, loss=lambda x, r: x)

    assert all(fidelity.min <= job.end <= fidelity.max for job in jobs)
    assert jobs[-1].why["rule"]


def test_eta_of_one_is_refused() -> None:
    with pytest.raises(OptimizerError, match=r"optimizer\.settings\.eta: 1 does not fit"):
        create("hypertune", {"eta": 1}, branin().problem())


def test_equal_results_and_a_single_choice_are_no_error() -> None:
    space = SearchSpace(Categorical("only", ["this"]), Float("x", 0, 1))
    problem = Problem(space, [Objective(metric="loss", direction="maximize")], Fidelity(name="epochs", max=9), 40)
    optimizer = HyperTune(problem, HyperTuneSettings.model_validate(SMALL))

    while (job := optimizer.next_job()) is not None:
        complete(optimizer, job, loss=1.0)

    assert len(optimizer.trials) == 40
    assert optimizer.best()[0].resource == 9


def test_all_trials_failing_end_the_study() -> None:
    table = branin(max_resource=9)
    optimizer = HyperTune(table.problem(max_trials=40), HyperTuneSettings.model_validate(SMALL))

    trace = simulate(optimizer, table, workers=3, failures=Failures(1.0))

    assert len(trace.jobs) == 40
    assert trace.best == []


@pytest.mark.slow
def test_five_hundred_parameters_are_no_error() -> None:
    space = SearchSpace([Float(f"x{i}", 0, 1) for i in range(500)])
    problem = Problem(space, [Objective(metric="loss")], Fidelity(name="epochs", max=9), 30)
    optimizer = HyperTune(problem, HyperTuneSettings.model_validate(SMALL))

    while (job := optimizer.next_job()) is not None:
        complete(optimizer, job, loss=sum(float(v) for v in job.config.values()))

    assert "expected improvement" in {job.why["rule"] for job in optimizer.jobs}


@pytest.mark.slow
def test_ten_thousand_trials_keep_what_is_held_for_each_flat() -> None:
    table = branin(max_resource=9)
    optimizer = HyperTune(
        table.problem(max_trials=10_000),
        HyperTuneSettings(initial_trials=6, candidates=10, trees=2, random_share=0.98, promotion="eager"),
    )
    sizes = []
    for limit in (1000, 2000, 5000, 10_000):
        while len(optimizer.trials) < limit and (job := optimizer.next_job()) is not None:
            curve = table.curve(job.config)
            complete(optimizer, job, loss=float(curve.metrics["loss"][int(job.end) - 1]))
        sizes.append(held(optimizer) / limit)

    assert max(sizes) < 1.5 * sizes[0]


def held(optimizer: HyperTune) -> int:
    """Bytes of the books that an optimizer keeps, its arrays and models included, its trials and jobs apart."""
    seen: set[int] = {id(optimizer.problem), id(optimizer.trials), id(optimizer.jobs)}

    def size(thing: Any) -> int:
        if id(thing) in seen or isinstance(thing, type):
            return 0
        seen.add(id(thing))
        parts: list[Any] = []
        if isinstance(thing, dict):
            parts = [*thing, *thing.values()]
        elif isinstance(thing, (list, tuple, set)):
            parts = list(thing)
        elif hasattr(thing, "__dict__"):
            parts = list(vars(thing).values())
        own = thing.nbytes if isinstance(thing, np.ndarray) else sys.getsizeof(thing)
        return int(own) + sum(size(part) for part in parts)

    return size(optimizer)


def regret(table: SyntheticTable, name: str, settings: dict[str, Any], seed: int) -> float:
    optimizer = create(name, settings, table.problem(seed=seed))
    return simulate(optimizer, table, workers=8, max_seconds=250).loss_at(400) - table.optimum


@pytest.mark.slow
def test_beats_asha_and_its_own_random_form_on_hartmann() -> None:
    table = hartmann6(bias=0.2, max_resource=27)

    ours, asha, chance = (
        np.median([regret(table, name, settings, seed) for seed in range(5)])
        for name, settings in (("hypertune", {}), ("asha", {}), ("hypertune", {"sampler": "random"}))
    )

    assert ours < 0.7 * asha
    assert ours < 0.7 * chance

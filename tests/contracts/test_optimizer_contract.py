"""What every optimizer must keep, whatever it decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optimizers.errors import OptimizerError
from optimizers.protocol import Earlier, Job, JobEnd, Optimizer, Problem, Report
from optimizers.registry import OPTIMIZERS, create
from optimizers.simulate import Curve, Ended, Enqueued, Failures, JournalEntry, replay, simulate
from tunewright.errors import SpaceError
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective

FIDELITY = Fidelity(name="epochs", min=1, max=9)

# Small models and few candidates: the contract does not depend on how good a decision is.
KINDS: Mapping[str, tuple[str, dict[str, Any], int]] = {
    "random": ("random", {"design_size": 4}, 25),
    "asha": ("asha", {"design_size": 4}, 25),
    "asha-stopping": ("asha", {"design_size": 4, "form": "stopping"}, 25),
    "asha-delayed": ("asha", {"design_size": 4, "promotion": "delayed", "brackets": "round_robin"}, 25),
    "hyperband": ("hyperband", {"design_size": 4}, 25),
    "hypertune": ("hypertune", {"initial_trials": 3, "candidates": 40, "trees": 3, "random_share": 0.1}, 12),
    "hypertune-eager-prob-gpoe": (
        "hypertune",
        {
            "initial_trials": 3,
            "candidates": 40,
            "trees": 3,
            "promotion": "eager",
            "theta": "rank_loss_prob",
            "fusion": "gpoe",
        },
        12,
    ),
    "hypertune-gp": ("hypertune", {"initial_trials": 6, "candidates": 40, "surrogate": "gp", "random_share": 0.5}, 3),
    "bayes-forest": ("bayes", {"initial_trials": 3, "candidates": 40, "surrogate": "forest", "trees": 3}, 12),
    "bayes-parego": (
        "bayes",
        {"initial_trials": 3, "candidates": 40, "surrogate": "forest", "trees": 3, "several": "parego"},
        12,
    ),
    "bayes-cost-early-stop": (
        "bayes",
        {
            "initial_trials": 3,
            "candidates": 40,
            "surrogate": "forest",
            "trees": 3,
            "cost_aware": True,
            "early_stop": True,
        },
        12,
    ),
    "bayes-gp": ("bayes", {"initial_trials": 8, "candidates": 40, "surrogate": "gp"}, 4),
    "bayes-gp-fantasies": (
        "bayes",
        {"initial_trials": 8, "candidates": 40, "surrogate": "gp", "pending": "fantasies", "fantasies": 4},
        4,
    ),
    "grid": ("grid", {}, 25),
    "tpe": ("tpe", {"initial_trials": 3}, 15),
    "tpe-univariate": ("tpe", {"initial_trials": 3, "multivariate": False}, 15),
    "evolution": ("evolution", {"initial_trials": 3, "population": 4, "tournament": 2}, 15),
    "bohb": ("bohb", {"design_size": 4, "random_share": 0.1}, 15),
    "nsga2": ("nsga2", {"initial_trials": 3, "population": 5}, 15),
    "pbt": ("pbt", {"population": 4, "steps": 3, "quantile": 0.5}, 25),
    "mobster-gp": ("mobster", {"initial_trials": 8, "candidates": 40}, 4),
}

SPACES = {
    "mixed": SearchSpace(
        Float("rate", 1e-4, 1.0, log=True),
        Int("depth", 1, 64, log=True),
        Categorical("booster", ["tree", "dart", "linear"]),
        Ordinal("size", ["s", "m", "l"], default="m"),
        Float("drop", 0.0, 0.5, step=0.1, when={"booster": "dart"}),
        Float("skip", 0.0, 1.0, when={"booster": ["dart", "tree"], "size": ["m", "l"]}),
    ),
    "one choice": SearchSpace(Categorical("only", ["this"])),
    "finite": SearchSpace(
        Categorical("a", [True, False]), Int("b", 1, 5, when={"a": True}), Categorical("c", ["x", "y"])
    ),
    "continuous": SearchSpace(Float("x", -1.0, 1.0), Float("y", -1.0, 1.0)),
}
# Distinct configurations of the space "finite": five with `a`, one without, times two.
FINITE = 12

GOALS = {
    "one": [Objective(metric="loss")],
    "two and a constraint": [
        Objective(metric="loss"),
        Objective(metric="score", direction="maximize"),
        Objective(metric="cost", bound=0.5),
    ],
}


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.slow if "gp" in kind else ()) for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(kind: str, space: str = "mixed", goals: str = "one", **fields: Any) -> Optimizer:
    name, options, _ = KINDS[kind]
    problem = Problem(SPACES[space], GOALS[goals], FIDELITY, **{"max_trials": 12, "seed": 3, **fields})
    return create(name, options, problem)


class Formula:
    """Curves that follow from the encoded configuration; `loss` may be replaced."""

    def __init__(self, space: SearchSpace, loss: Callable[[float], float] = lambda quality: quality) -> None:
        self._space = space
        self._loss = loss

    def curve(self, config: Config) -> Curve:
        quality = float(np.sum((self._space.encode(config) - 0.3) ** 2))
        resources = np.arange(1.0, 10.0)
        loss = np.full(9, self._loss(quality)) + 0.0 * resources
        return Curve(resources, resources * (1 + quality), {"loss": loss, "score": -np.abs(loss), "cost": loss * 0.4})


def drive(optimizer: Optimizer, choices: list[int]) -> tuple[list[JournalEntry], list[int]]:
    """Interleave the verbs as `choices` say.

    Returns:
        The journal, and its lengths at which `next_job` had nothing to start.
    """
    journal: list[JournalEntry] = []
    nothing: list[int] = []
    for choice in choices:
        action, pick = choice % 5, choice // 5
        running = list(optimizer.running.values())
        if action == 3 and pick % 8 == 7:
            space = optimizer.problem.space
            entry = Enqueued(space.decode(np.random.default_rng(pick).random(space.dimension)))
            replay(optimizer, [entry])
            journal.append(entry)
        elif action <= 1 and len(running) < 4:
            job = optimizer.next_job()
            if job is None:
                nothing.append(len(journal))
            else:
                journal.append(job)
        elif running:
            job = running[pick % len(running)]
            entries: list[JournalEntry] = []
            end = JobEnd.COMPLETED
            if action == 4:
                end = list(JobEnd)[pick % 4]
            if action != 2:
                entries = [Report(job.id, job.trial, job.end, _metrics(job, pick)), Ended(job.id, end)]
            elif job.end - job.start > 1:
                entries = [Report(job.id, job.trial, job.start + 1, _metrics(job, pick))]
            replay(optimizer, entries)
            journal += entries
    return journal, nothing


def _metrics(job: Job, pick: int) -> dict[str, float]:
    # Few different values, so that ties are common.
    return {"loss": float((pick * 7 + job.trial) % 11), "score": float(pick % 5), "cost": (pick % 7) / 7}


def through_json(entry: JournalEntry) -> JournalEntry:
    if isinstance(entry, Job):
        return replace(entry, config=json.loads(json.dumps(entry.config)), why=json.loads(json.dumps(entry.why)))
    if isinstance(entry, Enqueued):
        return Enqueued(json.loads(json.dumps(entry.config)))
    return entry


@pytest.mark.parametrize("goals", GOALS)
@pytest.mark.parametrize("space", ["mixed", "finite"])
def test_replaying_a_journal_gives_the_same_next_job_bit_for_bit(kind: str, space: str, goals: str) -> None:
    @settings(max_examples=KINDS[kind][2], derandomize=True, suppress_health_check=list(HealthCheck))
    @given(choices=st.lists(st.integers(0, 999), min_size=15, max_size=60), data=st.data(), seed=st.integers(0, 9))
    def check(choices: list[int], data: st.DataObject, seed: int) -> None:
        journal, nothing = drive(make(kind, space, goals, seed=seed), choices)
        jobs = [place for place, entry in enumerate(journal) if isinstance(entry, Job)]
        if not jobs + nothing:
            return
        # The crash comes just before any decision, among them those to start nothing; late ones rest on more.
        cut = data.draw(st.sampled_from(sorted(jobs + nothing, reverse=True)))
        again = make(kind, space, goals, seed=seed)

        replay(again, [through_json(entry) for entry in journal[:cut]])

        if cut in nothing:
            assert again.next_job() is None
        else:
            assert repr(again.next_job()) == repr(journal[cut])

    check()


def test_next_job_that_returns_none_changes_nothing(kind: str) -> None:
    optimizer = make(kind, max_trials=2)
    other = make(kind, max_trials=2)
    for each in (optimizer, other):
        first, second = each.next_job(), each.next_job()
        assert first is not None
        assert second is not None

    assert [optimizer.next_job() for _ in range(3)] == [None] * 3

    for each in (optimizer, other):
        each.observe(Report(0, 0, each.jobs[0].end, {"loss": 1.0}))
        each.finish(0, JobEnd.COMPLETED)
    assert optimizer.next_job() == other.next_job()
    assert optimizer.jobs == other.jobs


def test_proposing_twice_gives_the_same_job(kind: str) -> None:
    optimizer = make(kind)
    drive(optimizer, [0, 3, 0, 8, 0, 0, 13, 3, 0, 0, 18, 3, 0])

    assert repr(optimizer._propose()) == repr(optimizer._propose())


# Only where configurations run out does it matter which of them are still running.
@pytest.mark.parametrize(
    ("space", "workers"),
    [("mixed", 5), ("continuous", 1), ("one choice", 1), ("one choice", 5), ("finite", 1), ("finite", 5)],
)
def test_trials_are_limited_and_their_configurations_valid_and_distinct(kind: str, space: str, workers: int) -> None:
    optimizer = make(kind, space, max_trials=13)
    failures = Failures(0.2, ends=(JobEnd.FAILED, JobEnd.LOST, JobEnd.CANCELLED))

    trace = simulate(optimizer, Formula(SPACES[space]), workers=workers, failures=failures)

    expected = {"one choice": 1, "finite": FINITE}.get(space, 13)
    assert len(optimizer.trials) == expected
    for trial in optimizer.trials:
        assert SPACES[space].validate_config(trial.config) == trial.config
    assert len({repr(trial.config) for trial in optimizer.trials}) == expected
    json.dumps([job.why for job in trace.jobs], allow_nan=False)
    assert all("rule" in job.why for job in trace.jobs)


def test_jobs_continue_where_their_trial_stands(kind: str) -> None:
    optimizer = make(kind, max_trials=13)

    trace = simulate(optimizer, Formula(SPACES["mixed"]), workers=3)

    reached: dict[int, list[float]] = {}
    for job in trace.jobs:
        if job.parent is not None and job.trial not in reached:
            # It begins with a state that its parent has left.
            assert job.start in reached[job.parent]
        else:
            assert job.start == reached.get(job.trial, [0.0])[-1]
        assert FIDELITY.min <= job.end <= FIDELITY.max
        reached.setdefault(job.trial, []).append(job.end)


def test_failed_trial_is_never_the_incumbent_nor_continued(kind: str) -> None:
    optimizer = make(kind)
    doomed = optimizer.next_job()
    assert doomed is not None
    optimizer.observe(Report(doomed.id, doomed.trial, doomed.end, {"loss": -100.0}))
    optimizer.finish(doomed.id, JobEnd.FAILED)

    trace = simulate(optimizer, Formula(SPACES["mixed"]), workers=2)

    assert [best.trial for best in trace.best] != [doomed.trial]
    assert all(job.trial != doomed.trial for job in trace.jobs)


@pytest.mark.parametrize("ends", [JobEnd.FAILED, JobEnd.LOST, JobEnd.CANCELLED])
def test_study_ends_when_every_trial_ends_badly(kind: str, ends: JobEnd) -> None:
    optimizer = make(kind)

    trace = simulate(optimizer, Formula(SPACES["mixed"]), workers=3, failures=Failures(1.0, ends=(ends,)))

    assert len(trace.jobs) == 12
    assert optimizer.running == {}


def test_maximising_is_minimising_the_negative(kind: str) -> None:
    traces = []
    for direction, sign in (("minimize", 1.0), ("maximize", -1.0)):
        name, options, _ = KINDS[kind]
        goals = [Objective.model_validate({"metric": "loss", "direction": direction})]
        optimizer = create(name, options, Problem(SPACES["mixed"], goals, FIDELITY, 12, seed=5))
        table = Formula(SPACES["mixed"], lambda quality, sign=sign: sign * quality)  # type: ignore[misc]
        traces.append(simulate(optimizer, table, workers=2))

    assert [job.config for job in traces[0].jobs] == [job.config for job in traces[1].jobs]
    assert traces[0].best[0].trial == traces[1].best[0].trial


@pytest.mark.parametrize("value", [0.0, 1e300, -1e300, 1e-300])
def test_constant_objective_is_no_error(kind: str, value: float) -> None:
    optimizer = make(kind)

    trace = simulate(optimizer, Formula(SPACES["mixed"], lambda _: value), workers=2)

    assert len(optimizer.trials) == 12
    assert len(trace.best) == 1


def test_huge_losses_beside_small_ones_are_no_error(kind: str) -> None:
    optimizer = make(kind)
    table = Formula(SPACES["mixed"], lambda quality: 1e308 if quality > 0.5 else quality)

    trace = simulate(optimizer, table, workers=2)

    assert trace.best[0].metrics["loss"] < 1.0


def test_several_objectives_end_in_a_pareto_set_that_keeps_the_constraint(kind: str) -> None:
    optimizer = make(kind, goals="two and a constraint", max_trials=12)

    trace = simulate(optimizer, Formula(SPACES["mixed"]), workers=2)

    assert len(optimizer.trials) == 12
    assert trace.best
    assert all(best.metrics["cost"] <= 0.5 for best in trace.best)


def test_seed_decides(kind: str) -> None:
    configs = []
    for seed in (1, 1, 2):
        optimizer = make(kind, seed=seed)
        simulate(optimizer, Formula(SPACES["mixed"]), workers=2)
        configs.append([trial.config for trial in optimizer.trials])

    assert configs[0] == configs[1]
    assert configs[0] != configs[2]


def test_global_random_state_is_left_alone(kind: str) -> None:
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)

    simulate(make(kind), Formula(SPACES["mixed"]), workers=2)

    assert np.random.random() == expected


def test_repeated_report_is_ignored_and_job_ends_once(kind: str) -> None:
    optimizer = make(kind)
    job = optimizer.next_job()
    assert job is not None

    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": 1.0}))
    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": 0.0}))
    optimizer.finish(job.id, JobEnd.COMPLETED)

    assert optimizer.best()[0].metrics == {"loss": 1.0}
    with pytest.raises(OptimizerError, match="job 0 is not running"):
        optimizer.finish(job.id, JobEnd.COMPLETED)


def test_completed_leg_without_its_report_counts_once_the_report_comes(kind: str) -> None:
    late, timely = make(kind), make(kind)
    for optimizer in (late, timely):
        for _ in range(6):
            optimizer.next_job()
    entries = [
        [Report(job.id, job.trial, job.end, {"loss": float(job.id)}), Ended(job.id, JobEnd.COMPLETED)]
        for job in late.jobs
    ]

    for report, ended in entries:
        replay(timely, [report, ended])
        replay(late, [ended, report])

    assert repr(late.next_job()) == repr(timely.next_job())


def test_declared_defaults_come_first(kind: str) -> None:
    job = make(kind).next_job()

    assert job is not None
    assert job.config == SPACES["mixed"].default()


def test_declared_defaults_come_next_where_others_were_enqueued_first(kind: str) -> None:
    optimizer = make(kind)
    optimizer.enqueue({"rate": 0.5, "depth": 64, "booster": "linear", "size": "l"})

    jobs = [optimizer.next_job() for _ in range(2)]

    assert [job and job.why["rule"] == "enqueued" for job in jobs] == [True, False]
    assert jobs[1] is not None
    assert jobs[1].config == SPACES["mixed"].default()


def test_enqueued_configurations_are_the_next_new_trials_in_their_order(kind: str) -> None:
    optimizer = make(kind)
    wanted: list[Config] = [
        {"rate": 0.5, "depth": 64, "booster": "linear", "size": "l"},
        {"rate": 0.25, "depth": 2, "booster": "tree", "size": "s"},
    ]
    optimizer.next_job()
    for config in wanted:
        optimizer.enqueue(config)

    trace = simulate(optimizer, Formula(SPACES["mixed"]), workers=2)

    assert [trial.config for trial in optimizer.trials[1:3]] == wanted
    first = next(job for job in trace.jobs if job.trial == 1)
    assert first.why == {"rule": "enqueued", "waiting": 1}
    assert (first.start, optimizer.queue) == (0.0, [])
    assert len(optimizer.trials) == 12


def test_enqueuing_what_the_space_lacks_is_refused(kind: str) -> None:
    with pytest.raises(SpaceError, match='parameter "depth" is missing'):
        make(kind).enqueue({"rate": 0.5})


def test_warm_start_tries_the_best_again_and_counts_no_trial(kind: str) -> None:
    optimizer = make(kind)
    table = Formula(SPACES["mixed"])
    rng = np.random.default_rng(1)
    configs = [SPACES["mixed"].decode(rng.random(6)) for _ in range(9)]
    # The best by far has failed, and another one was not trained whole.
    earlier = [
        Earlier(configs[0], {9.0: {"loss": -9.0}}, failed=True),
        Earlier(configs[1], {1.0: {"loss": -9.0}}),
        *(
            Earlier(c, {r: {"loss": float(table.curve(c).metrics["loss"][0])} for r in (1.0, 3.0, 9.0)})
            for c in configs[2:]
        ),
    ]

    optimizer.warm_start(earlier)
    first = optimizer.next_job()

    assert optimizer.best() == []
    assert first is not None
    assert first.trial == 0
    best = min(earlier[2:], key=lambda trial: trial.reports[9.0]["loss"])
    assert first.config == best.config
    trace = simulate(optimizer, table, workers=2)
    assert len(optimizer.trials) == 12
    assert trace.best
    with pytest.raises(OptimizerError, match="warm_start: must come before the first job"):
        optimizer.warm_start(earlier)


def test_warm_started_study_replays(kind: str) -> None:
    one, other = make(kind), make(kind)
    earlier = [
        Earlier(
            {"rate": 0.1 * i, "depth": i, "booster": "linear", "size": "m"}, {r: {"loss": float(i)} for r in (1.0, 9.0)}
        )
        for i in range(1, 10)
    ]
    for optimizer in (one, other):
        optimizer.warm_start(earlier, retry=2)
    journal, _ = drive(one, [0, 0, 3, 3, 0, 0, 3, 3, 0, 0, 0, 3, 3, 3, 0])

    replay(other, [through_json(entry) for entry in journal])

    assert repr(other.next_job()) == repr(one.next_job())


def test_earlier_trial_without_a_finite_objective_is_refused(kind: str) -> None:
    config = SPACES["mixed"].default()

    with pytest.raises(OptimizerError, match='warm_start: trial 0 has no finite "loss" at resource 9'):
        make(kind).warm_start([Earlier(config, {9.0: {"loss": float("nan")}})])


def test_every_registered_optimizer_stands_here() -> None:
    assert {name for name, _, _ in KINDS.values()} == set(OPTIMIZERS)

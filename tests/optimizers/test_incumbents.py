"""The incumbent that an optimizer keeps up as it goes is the one that a look at all trials finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from optimizers.protocol import Incumbent, Job, JobEnd, Optimizer, Problem, Report, Trial, losses, violation
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

LEVELS = (1.0, 3.0, 9.0)
LOSS = Objective(metric="loss")
SPEED = Objective(metric="speed", direction="maximize")
MEMORY = Objective(metric="memory", bound=2.0)
VALUES = st.integers(0, 4).map(float)
METRICS = st.fixed_dictionaries({"loss": VALUES, "speed": VALUES, "memory": VALUES})


class Obedient(Optimizer):
    """Has no ideas of its own: jobs come from outside, as in a replay."""

    name = "obedient"

    def _propose(self) -> Job | None:
        return None


def begin(optimizer: Optimizer, trial: int, end: float) -> int:
    start = optimizer.trials[trial].completed if trial < len(optimizer.trials) else 0.0
    optimizer.replay(Job(len(optimizer.jobs), trial, {"x": 0.5}, start, end))
    return len(optimizer.jobs) - 1


def optimizer_for(objectives: Sequence[Objective]) -> Optimizer:
    return Obedient(Problem(SearchSpace(Float("x", 0, 1)), objectives, Fidelity(name="epochs", max=9)))


def by_definition(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Incumbent]:
    sound = [trial for trial in trials if trial.reports and not trial.failed]
    top = max((t.completed for t in sound), default=0) or max((t.resource for t in sound), default=0)
    measured = [Incumbent(t.id, t.config, top, t.reports[top]) for t in sound if top in t.reports]

    def beats(a: Incumbent, b: Incumbent) -> bool:
        miss_a, miss_b = violation(a.metrics, objectives), violation(b.metrics, objectives)
        x, y = losses(a.metrics, objectives), losses(b.metrics, objectives)
        if miss_a != miss_b:
            return miss_a < miss_b
        if len(x) == 1:
            return (x, a.trial) < (y, b.trial)
        return all(p <= q for p, q in zip(x, y, strict=True)) and x != y

    best = [a for a in measured if not any(beats(b, a) for b in measured)]
    return sorted(best, key=lambda incumbent: (losses(incumbent.metrics, objectives), incumbent.trial))


@given(
    objectives=st.sampled_from([(LOSS,), (LOSS, MEMORY), (LOSS, SPEED), (LOSS, SPEED, MEMORY)]),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("begin"), st.integers(0, 6), st.sampled_from(LEVELS)),
            st.tuples(st.just("report"), st.integers(0, 6), st.sampled_from(LEVELS), METRICS),
            st.tuples(st.just("finish"), st.integers(0, 6), st.sampled_from(list(JobEnd))),
            st.tuples(st.just("best")),
        ),
        max_size=60,
    ),
)
def test_incumbents_are_those_of_the_definition_after_any_history(
    objectives: Sequence[Objective], steps: Sequence[tuple[Any, ...]]
) -> None:
    optimizer = optimizer_for(objectives)

    for step in steps:
        take(optimizer, *step)

    assert optimizer.best() == by_definition(optimizer.trials, objectives)


def take(optimizer: Optimizer, kind: object, number: int = 0, *rest: object) -> None:
    """One step of a history; a step that the contract forbids is left out."""
    trials = optimizer.trials
    if kind == "best":
        assert optimizer.best() == by_definition(trials, optimizer.problem.objectives)
        return
    trial = min(number, len(trials) if kind == "begin" else len(trials) - 1)
    if kind == "begin":
        end = rest[0]
        assert isinstance(end, float)
        if trial == len(trials) or (trials[trial].running is None and not trials[trial].failed):
            begin(optimizer, trial, end)
    elif kind == "report" and trials:
        resource, metrics = rest
        assert isinstance(resource, float)
        assert isinstance(metrics, Mapping)
        optimizer.observe(Report(0, trial, resource, metrics))
    elif kind == "finish" and trials and trials[trial].running is not None:
        end = rest[0]
        assert isinstance(end, JobEnd)
        optimizer.finish(trials[trial].running, end)  # type: ignore[arg-type]


def test_a_failure_of_the_incumbent_gives_its_place_to_the_second_best() -> None:
    optimizer = optimizer_for([LOSS])
    for trial, loss in enumerate([2.0, 1.0]):
        job = begin(optimizer, trial, 1.0)
        optimizer.observe(Report(job, trial, 1.0, {"loss": loss}))
        optimizer.finish(job, JobEnd.COMPLETED)
    assert optimizer.best()[0].trial == 1

    optimizer.finish(begin(optimizer, 1, 3.0), JobEnd.FAILED)

    assert optimizer.best()[0].trial == 0

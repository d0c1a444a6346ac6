from __future__ import annotations

from statistics import median

import pytest

from optimizers.evolution import Evolution, EvolutionSettings
from optimizers.protocol import Job, JobEnd, Problem, Report
from optimizers.random_search import RandomSearch
from optimizers.simulate import simulate
from optimizers.synthetic import hartmann6
from tunewright.space import Categorical, Float, SearchSpace
from tunewright.study import Fidelity, Objective

LINE = SearchSpace(Float("x", 0.0, 1.0))


def evolution(space: SearchSpace = LINE, **settings: object) -> Evolution:
    problem = Problem(space, [Objective(metric="loss")], Fidelity(name="epochs", max=1), seed=2)
    fields = {"initial_trials": 6, "population": 4, "tournament": 4, **settings}
    return Evolution(problem, EvolutionSettings.model_validate(fields))


def start(optimizer: Evolution) -> Job:
    job = optimizer.next_job()
    assert job is not None
    return job


def tell(optimizer: Evolution, loss: float | None) -> Job:
    job = start(optimizer)
    if loss is not None:
        optimizer.observe(Report(job.id, job.trial, 1.0, {"loss": loss}))
    optimizer.finish(job.id, JobEnd.FAILED if loss is None else JobEnd.COMPLETED)
    return job


def test_oldest_leave_the_population_however_good() -> None:
    optimizer = evolution()
    # The first is the best of all, and dies of age all the same.
    for loss in (0.0, 5.0, 4.0, 1.0, 3.0, 2.0):
        tell(optimizer, loss)

    child = start(optimizer)

    assert optimizer.population.tolist() == [2, 3, 4, 5]
    # Of trials 2 to 5 the fourth is the best, and two have come after it.
    assert {name: child.why[name] for name in ("rule", "tournament", "age")} == {
        "rule": "mutation",
        "tournament": 4,
        "age": 2,
    }


def test_failed_trials_are_no_parents() -> None:
    optimizer = evolution()
    for loss in (1.0, 2.0, None, None, None, 3.0):
        tell(optimizer, loss)

    assert optimizer.population.tolist() == [0, 1, 5]


def test_child_is_a_small_change_of_its_parent() -> None:
    space = SearchSpace([Float(f"x{i}", 0.0, 1.0) for i in range(30)])
    optimizer = evolution(space)
    for loss in (5.0, 5.0, 5.0, 1.0, 5.0, 5.0):
        tell(optimizer, loss)

    child = start(optimizer)

    parent = optimizer.trials[3].config
    differing = [name for name, value in child.config.items() if abs(float(value) - float(parent[name])) > 1e-9]
    assert 1 <= len(differing) <= 8
    assert child.why["changed"] == differing


def test_parameter_that_becomes_active_takes_any_value() -> None:
    space = SearchSpace(Categorical("kind", ["a", "b"]), Float("x", 0.0, 1.0, when={"kind": "b"}))
    values = set()
    for seed in range(20):
        problem = Problem(space, [Objective(metric="loss")], Fidelity(name="epochs", max=1), seed=seed)
        optimizer = Evolution(problem, EvolutionSettings(initial_trials=2, population=2, tournament=2))
        for config, loss in (({"kind": "a"}, 0.0), ({"kind": "b", "x": 0.9}, 1.0)):
            optimizer.enqueue(config)
            tell(optimizer, loss)
        child = start(optimizer)
        values.add(round(float(child.config["x"]), 6))

    # The best parent has no x; its children's are drawn, not the default's.
    assert len(values) > 15


def test_tournament_larger_than_the_population_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tournament \(9\) must be at most population \(4\)"):
        evolution(tournament=9)


def test_beats_random_search_on_hartmann() -> None:
    table = hartmann6(max_resource=3)
    problems = [table.problem(max_trials=120, seed=seed) for seed in range(5)]

    ours, chance = (
        [simulate(kind(problem), table, workers=4).best[0].metrics["loss"] - table.optimum for problem in problems]
        for kind in (Evolution, RandomSearch)
    )

    assert median(ours) < 0.7 * median(chance)

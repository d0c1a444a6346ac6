from __future__ import annotations

from itertools import islice

import pytest

from optimizers.grid_search import GridSearch, GridSettings, combinations, grid_of
from optimizers.protocol import JobEnd, Problem
from optimizers.simulate import simulate
from optimizers.synthetic import branin
from tunewright.space import Categorical, Config, Float, Int, SearchSpace, config_key
from tunewright.study import Fidelity, Objective

CONDITIONAL = SearchSpace(
    Categorical("kind", ["a", "b"]), Int("n", 1, 3, when={"kind": "a"}), Float("x", 0.0, 1.0, when={"kind": "b"})
)


def configs_of(space: SearchSpace, seed: int = 0, max_trials: int | None = None, **settings: object) -> list[Config]:
    problem = Problem(space, [Objective(metric="loss")], Fidelity(name="epochs", max=1), max_trials, seed)
    optimizer = GridSearch(problem, GridSettings.model_validate(settings))
    while (job := optimizer.next_job()) is not None:
        optimizer.finish(job.id, JobEnd.FAILED)
    return [trial.config for trial in optimizer.trials]


def test_given_order_changes_the_last_parameter_fastest() -> None:
    space = SearchSpace(Float("x", 1.0, 100.0, log=True), Int("n", 0, 1))

    configs = configs_of(space, resolution=3, order="given")

    assert [(round(float(c["x"]), 9), c["n"]) for c in configs] == [
        (1.0, 0), (1.0, 1), (10.0, 0), (10.0, 1), (100.0, 0), (100.0, 1)
    ]  # fmt: skip


def test_random_order_is_the_seeds_and_tries_the_same_combinations() -> None:
    one, again, other = (configs_of(CONDITIONAL, seed, resolution=4) for seed in (1, 1, 2))

    assert one == again
    assert one != other
    given = configs_of(CONDITIONAL, order="given", resolution=4)
    assert sorted(map(config_key, one)) == sorted(map(config_key, given))


@pytest.mark.parametrize("order", ["given", "random"])
def test_inactive_parameters_multiply_nothing(order: str) -> None:
    assert len(configs_of(CONDITIONAL, order=order, resolution=4)) == 3 + 4


def test_resolution_of_one_takes_the_middle() -> None:
    assert configs_of(SearchSpace(Float("x", 0.0, 1.0)), resolution=1) == [{"x": 0.5}]


def test_every_value_of_a_small_log_integer_is_in_the_grid() -> None:
    found = configs_of(SearchSpace(Int("n", 1, 9, log=True)), resolution=9, order="given")

    assert [config["n"] for config in found] == list(range(1, 10))


def test_values_that_conditions_name_are_in_the_grid() -> None:
    space = SearchSpace(Int("n", 0, 100), Float("x", 0.0, 1.0, when={"n": [7]}))

    assert [config["n"] for config in configs_of(space, resolution=2, order="given")] == [0, 7, 7, 100]


def test_declared_default_between_the_values_is_tried_first() -> None:
    space = SearchSpace(Float("x", 0.0, 1.0, default=0.3))

    assert [config["x"] for config in configs_of(space, resolution=2, order="given")] == [0.3, 0.0, 1.0]


def test_huge_grid_is_not_spelled_out() -> None:
    space = SearchSpace([Float(f"x{i}", 0.0, 1.0) for i in range(500)])

    assert len(configs_of(space, max_trials=3)) == 3
    assert len(list(islice(combinations(grid_of(space, 5)), 7))) == 7


def test_given_order_goes_on_after_a_restart() -> None:
    problem = branin().problem(max_trials=9)
    whole = GridSearch(problem, GridSettings(order="given", resolution=3))
    trace = simulate(whole, branin(), workers=2)
    again = GridSearch(problem, GridSettings(order="given", resolution=3))
    for job in trace.jobs[:5]:
        again.replay(job)

    assert again.next_job() == trace.jobs[5]

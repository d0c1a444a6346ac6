from __future__ import annotations

import numpy as np
import pytest

from optimizers.costs import Costs, LegCosts
from optimizers.protocol import Problem
from tunewright.space import Float, SearchSpace
from tunewright.study import Fidelity, Objective

PROBLEM = Problem(SearchSpace(Float("x", 0.0, 1.0)), [Objective(metric="loss")], Fidelity(name="epochs", max=1))


def test_cost_is_learned_by_factors() -> None:
    costs = Costs(PROBLEM, [1], 10)
    for x in np.linspace(0.0, 1.0, 40):
        costs.add({"x": float(x)}, 10 ** (4 * float(x)))

    found = np.exp(costs.log_seconds(np.array([[0.25], [0.75]])))

    assert found == pytest.approx([10.0, 1000.0], rel=0.5)


def test_few_measurements_are_no_model_and_no_time_is_no_error() -> None:
    costs = Costs(PROBLEM, [1], 10)
    for x in (0.1, 0.2, 0.3):
        costs.add({"x": x}, 0.0)

    assert not costs.known

    costs.add({"x": 0.4}, 0.0)

    assert costs.known
    assert np.isfinite(costs.log_seconds(np.array([[0.5]]))).all()


def legs(start: float, spread: float, count: int = 60) -> LegCosts:
    """Legs of 1 to 27 units, a second each give or take factors, after a start."""
    rng, costs = np.random.default_rng(0), LegCosts()
    for length in rng.choice([1.0, 2.0, 6.0, 9.0, 18.0, 27.0], count):
        costs.add(float(length), start + float(length * np.exp(spread * rng.standard_normal())))
    return costs


@pytest.mark.parametrize("start", [2.7, 13.5, 27.0])
def test_what_a_leg_takes_to_start_is_told_from_what_it_trains(start: float) -> None:
    assert legs(start, 0.0).overhead(27.0) == pytest.approx(start / 27.0, rel=1e-6)
    assert legs(start, 0.3).overhead(27.0) == pytest.approx(start / 27.0, rel=0.3)


@pytest.mark.parametrize(("spread", "most"), [(0.0, 1e-6), (0.3, 0.02), (1.0, 0.05)])
def test_trainings_that_differ_in_cost_are_hardly_taken_for_a_start(spread: float, most: float) -> None:
    assert legs(0.0, spread).overhead(27.0) < most


def test_a_start_is_unknown_from_few_legs_and_from_legs_of_one_length_and_never_beyond_all_bounds() -> None:
    same, flat = LegCosts(), LegCosts()
    for length in (1.0, 3.0, 9.0, 27.0, 1.0, 3.0, 9.0, 27.0):
        same.add(9.0, 4.0 + length / 100)
        flat.add(length, 5.0)

    assert LegCosts().overhead(27.0) == 0.0
    assert legs(5.0, 0.0, count=5).overhead(27.0) == 0.0
    assert same.overhead(27.0) == 0.0
    assert flat.overhead(27.0) == 100.0


def test_legs_without_any_time_are_no_error() -> None:
    costs = LegCosts()
    for length in (1.0, 3.0) * 5:
        costs.add(length, 0.0)

    assert 0.0 <= costs.overhead(27.0) <= 100.0

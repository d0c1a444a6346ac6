from __future__ import annotations

import numpy as np
import pytest

from optimizers.costs import Costs
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

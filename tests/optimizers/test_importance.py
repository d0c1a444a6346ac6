from __future__ import annotations

import numpy as np
import pytest

from optimizers.importance import importances, main_effects
from tunewright.space import Categorical, Float, SearchSpace


def test_main_effects_of_boxes_by_hand() -> None:
    # f is 0 left of x = 1/2, and right of it 2 below y = 1/4 and 6 above.
    low = np.array([[0.0, 0.0], [0.5, 0.0], [0.5, 0.25]])
    high = np.array([[0.5, 1.0], [1.0, 0.25], [1.0, 1.0]])

    shares = main_effects(low, high, np.array([0.0, 2.0, 6.0]))

    # Mean 2.5, second moment (4 * 1/4 + 36 * 3/4) / 2 = 14; averages are 0 and 5 along x, 1 and 3 along y.
    total = 14 - 2.5**2
    np.testing.assert_allclose(shares, [2.5**2 / total, (0.25 * 1.5**2 + 0.75 * 0.5**2) / total])


def test_constant_function_has_no_effects() -> None:
    assert main_effects(np.zeros((1, 3)), np.ones((1, 3)), np.array([7.0])).tolist() == [0, 0, 0]


def test_additive_function_has_the_shares_of_its_terms() -> None:
    space = SearchSpace(Float("x", 0.0, 1.0), Float("y", 0.0, 1.0), Float("z", 0.0, 1.0))
    rng = np.random.default_rng(0)
    configs = [space.decode(rng.random(3)) for _ in range(600)]

    found = importances(space, configs, [3 * float(c["x"]) + float(c["y"]) for c in configs], rng, trees=32)

    # The variance of a x is a^2 / 12.
    assert [each.parameter for each in found] == ["x", "y", "z"]
    assert [each.share for each in found] == pytest.approx([0.9, 0.1, 0.0], abs=0.03)
    assert all(each.low <= each.share <= each.high for each in found)
    assert found[0].high - found[0].low < 0.1


def test_the_unit_of_the_losses_does_not_matter() -> None:
    low, high = np.array([[0.0, 0.0], [0.5, 0.0]]), np.array([[0.5, 1.0], [1.0, 1.0]])

    shares = [main_effects(low, high, scale * np.array([1.0, 2.0])) for scale in (1.0, 1e-9, 1e-100, 1e9)]

    assert np.allclose(shares, [[1.0, 0.0]] * 4)


def test_pure_interaction_leaves_no_main_effect() -> None:
    space = SearchSpace(Categorical("a", [False, True]), Categorical("b", [False, True]), Float("x", 0.0, 1.0))
    rng = np.random.default_rng(0)
    configs = [space.decode(rng.random(3)) for _ in range(300)]

    found = importances(space, configs, [float(c["a"] != c["b"]) for c in configs], rng, trees=16)

    assert sum(each.share for each in found) < 0.05


def test_equal_losses_have_no_shares() -> None:
    space = SearchSpace(Float("x", 0.0, 1.0))
    configs = [{"x": 0.1}, {"x": 0.9}]

    found = importances(space, configs, [1e9, 1e9], np.random.default_rng(0), trees=4)

    assert [(each.share, each.low, each.high) for each in found] == [(0.0, 0.0, 0.0)]

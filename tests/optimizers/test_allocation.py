from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.allocation import (
    affordable_sizes,
    bracket_payoffs,
    bracket_weights,
    growing_share,
    ordered_share,
    theta_p_norm,
    theta_probability,
    with_full_share,
)
from optimizers.errors import OptimizerError
from optimizers.hyperband import bracket_sizes

shares = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def test_share_of_ordered_pairs() -> None:
    measured = np.array([1.0, 2.0, 3.0])

    assert ordered_share(np.array([[1.0, 2, 3], [3, 2, 1], [1, 3, 2], [7, 7, 7]]), measured) == pytest.approx(
        [1, 0, 2 / 3, 1 / 2]
    )


def test_pairs_that_measure_the_same_say_nothing() -> None:
    assert ordered_share(np.array([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 0.0])) == 1.0
    assert ordered_share(np.array([1.0, 2.0]), np.array([5.0, 5.0])) == 0.5


def test_theta_is_the_cube_of_the_share_of_pairs() -> None:
    assert theta_p_norm(np.array([0.5, 1.0])) == pytest.approx([1 / 9, 8 / 9])
    assert theta_p_norm(np.zeros(4)) == pytest.approx([1 / 4] * 4)


def test_theta_is_the_chance_to_order_the_most_pairs() -> None:
    measured = np.array([0.0, 1.0, 2.0])
    sure, reverse = measured, -measured

    theta = theta_probability(np.array([sure, reverse]), np.zeros((2, 3)), measured, np.random.default_rng(0))
    equal = theta_probability(np.array([sure, sure]), np.zeros((2, 3)), measured, np.random.default_rng(0))
    vague = theta_probability(
        np.array([sure, sure]), np.array([[0.0] * 3, [9.0] * 3]), measured, np.random.default_rng(0)
    )

    assert theta.tolist() == [1.0, 0.0]
    assert equal.tolist() == [0.5, 0.5]
    assert vague[0] > 0.8


def test_full_resource_wins_in_the_long_run() -> None:
    assert growing_share(10) == pytest.approx(1 / 3)
    assert growing_share(50) == pytest.approx(0.5 / (0.5 + math.exp(-1)))
    assert growing_share(500) > 0.99
    assert with_full_share(np.array([0.3, 0.1, 0.6]), 0.5) == pytest.approx([0.375, 0.125, 0.5])
    assert with_full_share(np.array([0.0, 1.0]), 0.5).tolist() == [0.0, 1.0]


def test_bracket_weights_in_closed_form() -> None:
    assert bracket_weights(np.array([0.5, 0.25, 0.25]), [9, 5, 3]) == pytest.approx([4.5 / 6.5, 1.25 / 6.5, 0.75 / 6.5])


@given(found=shares, share=st.floats(0, 1), eta=st.floats(1.5, 5))
def test_all_weights_are_probabilities(found: list[float], share: float, eta: float) -> None:
    theta = theta_p_norm(np.array(found))

    for weights in (theta, with_full_share(theta, share), bracket_weights(theta, bracket_sizes(len(theta), eta))):
        assert len(weights) == len(found)
        assert (weights >= 0).all()
        assert weights.sum() == pytest.approx(1.0)


def test_bracket_weights_refuse_what_is_none() -> None:
    with pytest.raises(OptimizerError, match="2 precisions for 1 brackets"):
        bracket_weights(np.array([0.5, 0.5]), [1])
    with pytest.raises(OptimizerError, match="no rung has a positive precision"):
        bracket_weights(np.zeros(2), [3, 1])


def test_payoff_prefers_the_lowest_rung_that_ranks_well() -> None:
    sizes = (27, 12, 6, 4)

    good = bracket_payoffs(np.array([0.9, 0.95, 0.97, 0.0]), 50, sizes)
    bad = bracket_payoffs(np.array([0.4, 0.5, 0.6, 0.0]), 50, sizes)

    assert good.sum() == pytest.approx(1)
    assert bad.sum() == pytest.approx(1)
    assert int(np.argmax(good)) == 0
    # The share of resource: a start on rung b costs about 1 / n_b.
    assert int(np.argmax(bad / np.array(sizes))) == 3


def test_payoff_of_nothing_known_and_of_one_rung() -> None:
    first = bracket_payoffs(np.zeros(4), 0, (27, 12, 6, 4))

    assert (np.diff(first) < 0).all()
    assert bracket_payoffs(np.zeros(1), 0, (1,)).tolist() == [1.0]


LEVELS = (1.0, 3.0, 9.0, 27.0)


def test_brackets_of_equal_cost_are_hyperbands_where_starting_is_free() -> None:
    sizes = bracket_sizes(4, 3.0)

    assert affordable_sizes(sizes, LEVELS, 3.0, 0.0).tolist() == list(sizes)


@given(overhead=st.floats(0, 100), more=st.floats(0, 100))
def test_the_dearer_a_start_the_fewer_configurations_low_brackets_afford(overhead: float, more: float) -> None:
    sizes = bracket_sizes(4, 3.0)
    some, fewer = (affordable_sizes(sizes, LEVELS, 3.0, each) for each in (overhead, overhead + more))

    assert some[-1] == fewer[-1] == sizes[-1]
    assert (fewer <= some + 1e-9).all()
    assert (fewer > 0).all()


def test_sizes_where_starts_are_all_that_costs_follow_from_the_legs_alone() -> None:
    found = affordable_sizes((27, 12, 6, 4), LEVELS, 3.0, 1e9)

    # Whole: one leg for 1; the lowest: 1 + 1/3 + 1/9 + 1/27 legs for 1/27 * (1 + 2/3 + 2/3 + 2/3).
    assert found[0] == pytest.approx(27 * (3 / 27) / (40 / 27))
    assert found[3] == 4


def test_dear_starts_make_whole_trainings_pay() -> None:
    told = np.array([0.8, 0.85, 0.9, 1.0])
    sizes = bracket_sizes(4, 3.0)

    free = bracket_payoffs(told, 50, affordable_sizes(sizes, LEVELS, 3.0, 0.0))
    dear = bracket_payoffs(told, 50, affordable_sizes(sizes, LEVELS, 3.0, 2.0))

    assert int(np.argmax(free)) == 0
    assert int(np.argmax(dear)) == 3


def test_a_rung_that_was_not_compared_is_not_taken_for_a_wrong_one() -> None:
    unknown = bracket_payoffs(np.array([np.nan, np.nan, np.nan, 0.9]), 50, (27, 12, 6, 4))
    wrong = bracket_payoffs(np.array([0.0, 0.0, 0.0, 0.9]), 50, (27, 12, 6, 4))

    assert np.allclose(unknown, bracket_payoffs(np.full(4, 0.5), 0, (27, 12, 6, 4)))
    assert unknown[0] > 0.1
    assert wrong[0] == 0.0

"""The region and the line: how large, how long, which way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optimizers.candidates import canonical
from optimizers.onlinetune.intervals import Suggestion
from optimizers.onlinetune.subspace import (
    LEAST_RADIUS,
    MOST_RADIUS,
    RADIUS,
    REGION_POINTS,
    Subspace,
    draw_direction,
    line,
    region,
)
from tunewright.space import Categorical, Float, Int, SearchSpace

FLOATS = SearchSpace([Float(f"k{j}", 0.0, 1.0) for j in range(6)])
MIXED = SearchSpace([Float("a", 0.0, 1.0), Int("n", 0, 3), Categorical("c", ["x", "y", "z"])])


def _query(subspace: Subspace, gain: float = 0.0, unsafe: bool = False, **fields: Any) -> None:
    suggestion = Suggestion(
        number=0,
        config={},
        point=(),
        **{"kind": "safe", "shape": subspace.shape, "centre": (0.5, 0.5), "centre_gain": 0.0, **fields},
    )
    subspace.learn(suggestion, gain, unsafe)


def test_more_than_three_successes_in_a_row_grow_the_radius() -> None:
    subspace = Subspace()
    for _ in range(3):
        _query(subspace, 0.1)
    assert subspace.radius == RADIUS

    _query(subspace, 0.1)

    assert subspace.radius == pytest.approx(1.1 * RADIUS)


def test_more_than_four_failures_in_a_row_shrink_the_radius() -> None:
    subspace = Subspace()
    for gain in (-0.1, -0.1, -0.1, 0.1, -0.1, -0.1, -0.1, -0.1):
        _query(subspace, gain)
    assert subspace.radius == RADIUS

    _query(subspace, -0.1)

    assert subspace.radius == pytest.approx(RADIUS / 1.5)


def test_radii_stay_within_their_limits() -> None:
    small, large = Subspace(radius=LEAST_RADIUS), Subspace(radius=MOST_RADIUS)
    for _ in range(9):
        _query(small, -0.1, unsafe=True, kind="expander")
        _query(large, 0.2, kind="expander")

    assert small.radius == LEAST_RADIUS
    assert large.radius == MOST_RADIUS


def test_border_points_move_the_radius_by_themselves() -> None:
    good, poor, unsafe = Subspace(), Subspace(), Subspace()

    _query(good, 0.06, kind="expander")
    _query(poor, 0.04, kind="expander")
    _query(unsafe, -0.3, unsafe=True, kind="expander")

    assert good.radius == pytest.approx(RADIUS + 0.005)
    assert poor.radius == RADIUS
    assert unsafe.radius == pytest.approx(RADIUS / 1.5)


def test_any_unsafe_query_shrinks_a_region_at_once_and_ends_a_line() -> None:
    square, straight = Subspace(), Subspace(shape="line")

    _query(square, 0.1, unsafe=True)
    _query(straight, 0.1, unsafe=True, direction=(1.0, 0.0))

    assert square.radius == pytest.approx(RADIUS / 1.5)
    assert straight.shape == "region"
    assert straight.radius == RADIUS


def test_region_and_line_take_turns_of_ten_queries() -> None:
    subspace = Subspace()
    for gain in [0.1, -0.1] * 5:
        assert subspace.shape == "region"
        _query(subspace, gain)
    for gain in [0.1, -0.1] * 5:
        assert subspace.shape == "line"
        _query(subspace, gain, direction=(1.0, 0.0))
        assert subspace.direction in ((1.0, 0.0), None)

    assert subspace.shape == "region"


def test_a_futile_line_is_left_after_five_queries() -> None:
    subspace = Subspace(shape="line")
    for _ in range(5):
        _query(subspace, -0.1, direction=(1.0, 0.0))

    assert subspace.shape == "region"


def test_a_region_that_moved_its_centre_upwards_leaves_its_ascent_to_the_line() -> None:
    moved, still = Subspace(), Subspace()
    for index in range(10):
        gain = 0.1 if index % 2 else -0.1
        _query(moved, gain, centre=(0.5 + 0.02 * index, 0.5), centre_gain=0.01 * index)
        _query(still, gain, centre=(0.5, 0.5), centre_gain=0.01 * index)

    assert moved.ascent == pytest.approx((0.18, 0.0))
    assert still.ascent is None


def test_running_the_centre_again_is_neither_success_nor_failure() -> None:
    subspace = Subspace()
    for _ in range(9):
        _query(subspace, -0.01, kind="centre")

    assert subspace.radius == RADIUS
    assert subspace.asked == 9


def test_queries_of_another_shape_and_of_the_reference_count_for_nothing() -> None:
    subspace = Subspace()

    _query(subspace, -0.1, shape="line")
    _query(subspace, -0.1, kind="reference")

    assert subspace == Subspace()


def test_a_region_stays_within_its_radius_and_offers_few_knobs_too() -> None:
    centre = np.full(6, 0.5)

    points = region(FLOATS, centre, 0.1, np.random.default_rng(0))

    assert points.shape == (REGION_POINTS, 6)
    assert np.abs(points - centre).max() <= 0.1 + 1e-9
    changed = (np.abs(points - centre) > 1e-12).sum(axis=1)
    assert (changed == 1).any()
    assert (changed == 6).any()


def test_a_region_offers_one_step_of_integers_and_every_other_choice() -> None:
    centre = MIXED.encode({"a": 0.5, "n": 1, "c": "x"})

    points = region(MIXED, centre, 0.02, np.random.default_rng(0))

    configs = [MIXED.decode(point) for point in points]
    assert {config["n"] for config in configs} == {0, 1, 2}
    assert {config["c"] for config in configs} == {"x", "y", "z"}
    np.testing.assert_allclose(canonical(MIXED, points), points, atol=1e-12)


def test_a_line_runs_through_the_centre_to_the_end_of_the_cube_or_the_largest_radius() -> None:
    centre, direction = np.array([0.1, 0.5, 0.5, 0.5, 0.5, 0.5]), 2.0 * np.eye(6)[0]

    points = line(FLOATS, centre, direction)

    np.testing.assert_allclose(points[:, 1:], 0.5)
    assert points[0, 0] == pytest.approx(0.0)
    assert points[-1, 0] == pytest.approx(0.1 + MOST_RADIUS)
    assert np.abs(points[:, 0] - 0.1).min() < 1.0 / 299


def test_a_line_nowhere_is_its_centre() -> None:
    np.testing.assert_allclose(line(FLOATS, np.full(6, 0.4), np.zeros(6)), np.full((1, 6), 0.4))


def test_directions_are_the_ascent_or_random_or_important_knobs() -> None:
    rng = np.random.default_rng(0)
    importance = np.array([0.1, 5.0, 0.2, 0.3, 0.4, 0.5])

    drawn = [draw_direction(FLOATS, None, importance, rng) for _ in range(300)]
    along, _ = draw_direction(FLOATS, (0.1,) * 6, importance, rng)

    np.testing.assert_allclose(along, 0.1)
    words = [where for _, where in drawn]
    assert 0.3 < words.count("random") / 300 < 0.5
    assert words.count("knob k1") == max(words.count(f"knob k{j}") for j in range(6))

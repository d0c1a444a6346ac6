from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from optimizers.errors import OptimizerError
from optimizers.pareto import Front, free_boxes, fronts, hypervolume


def test_fronts_by_hand() -> None:
    points = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [2.0, 5.0], [3.0, 3.0], [5.0, 5.0], [2.0, 2.0]])

    assert fronts(points).tolist() == [0, 0, 0, 1, 1, 2, 0]


def test_hypervolume_of_one_loss_is_the_lead_of_the_best() -> None:
    assert hypervolume(np.array([[3.0], [1.0]]), np.array([4.0])) == 3.0


def test_hypervolume_of_a_staircase() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [3.0, 3.0], [9.0, 0.0]])

    # Steps 3 x 1, 2 x 1 and 1 x 1; a dominated point and one beyond the reference add nothing.
    assert hypervolume(points, np.array([4.0, 4.0])) == 6.0


def test_hypervolume_of_three_losses() -> None:
    points = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])

    # Three boxes of 1 x 1 x 2 that share a cube of 1.
    assert hypervolume(points, np.array([2.0, 2.0, 2.0])) == 3 * 2 - 2 * 1


def test_nothing_inside_the_reference_has_no_volume() -> None:
    assert hypervolume(np.array([[2.0, 2.0]]), np.array([2.0, 3.0])) == 0.0
    assert hypervolume(np.empty((0, 2)), np.array([2.0, 3.0])) == 0.0


@pytest.mark.parametrize("shape", [(2, 4), (2, 3)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(OptimizerError, match="up to 3 objectives"):
        hypervolume(np.zeros(shape), np.ones(4 if shape[1] == 4 else 2))


@settings(max_examples=60, derandomize=True)
@given(points=arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(2, 3)), elements=st.integers(0, 5)))
def test_hypervolume_counts_the_dominated_cells(points: NDArray[np.int64]) -> None:
    m = points.shape[1]
    cells = np.stack(np.meshgrid(*[np.arange(5)] * m, indexing="ij"), axis=-1).reshape(-1, m)
    covered = (points[None, :, :] <= cells[:, None, :]).all(axis=2).any(axis=1)

    assert hypervolume(points.astype(float), np.full(m, 5.0)) == pytest.approx(covered.sum())


@settings(max_examples=60, derandomize=True)
@given(points=arrays(np.int64, st.tuples(st.integers(0, 7), st.integers(2, 4)), elements=st.integers(0, 5)))
def test_free_boxes_cover_what_is_not_dominated_once(points: NDArray[np.int64]) -> None:
    m = points.shape[1]
    cells = np.stack(np.meshgrid(*[np.arange(5)] * m, indexing="ij"), axis=-1).reshape(-1, m) + 0.5
    covered = (points[None, :, :] <= cells[:, None, :]).all(axis=2).any(axis=1)

    lower, upper = free_boxes(points.astype(float), np.full(m, 5.0))

    inside = ((lower[None] < cells[:, None]) & (cells[:, None] < upper[None])).all(axis=2).sum(axis=1)
    assert (inside == ~covered).all()


def test_two_losses_leave_a_box_more_than_points() -> None:
    staircase = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])

    assert len(free_boxes(staircase, np.array([4.0, 4.0]))[0]) == 4


@settings(max_examples=40, derandomize=True)
@given(points=arrays(np.int64, st.tuples(st.integers(1, 20), st.integers(2, 3)), elements=st.integers(0, 5)))
def test_front_keeps_up(points: NDArray[np.int64]) -> None:
    front = Front()
    for row, point in enumerate(points.astype(float)):
        front.add(row, point)

    best = points[fronts(points.astype(float)) == 0]
    assert {tuple(points[row]) for row in front.rows} == {tuple(point) for point in best}
    assert len(front.rows) == len(np.unique(best, axis=0))

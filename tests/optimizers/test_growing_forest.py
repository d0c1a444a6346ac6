from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizers.surrogates.ensemble import fuse
from optimizers.surrogates.growing import MAX_POINTS, GrowingForest, below, ceiling, fitted_on

NONE = (np.empty((0, 2), dtype=np.float32), np.empty((0, 1)))


def points(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((count, 2)).astype(np.float32)


def bowl(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.square(x.astype(np.float64) - 0.3).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("trees", [1, 3, 10])
def test_each_tree_is_fitted_on_most_of_what_there_is_and_rarely_anew(trees: int) -> None:
    for tree in range(trees):
        prefixes = [fitted_on(measured, tree, trees) for measured in range(1, 3000)]

        assert all(measured / 1.25 - 1 <= prefix <= measured for measured, prefix in enumerate(prefixes, 1))
        assert prefixes == sorted(prefixes)
        assert len(set(prefixes[1000:])) <= 8


def test_trees_take_turns() -> None:
    anew = [sum(fitted_on(n, t, 10) != fitted_on(n + 1, t, 10) for t in range(10)) for n in range(500, 3000)]

    assert max(anew) <= 1


def test_predictions_follow_from_the_measurements_alone() -> None:
    x, at = points(120), points(300)
    asked_often, asked_once = GrowingForest([1], 4), GrowingForest([1], 4)
    guessed, guesses = points(3), np.zeros((3, 1))
    for count in range(4, 121):
        often = asked_often.grown(x[:count], bowl(x[:count]), guessed, guesses)(at)

    once = asked_once.grown(x, bowl(x), guessed, guesses)(at)

    assert np.array_equal(often, once)


def test_learns_and_is_told_of_later_measurements_between_fits() -> None:
    x, at = points(2000), points(200)
    forest = GrowingForest([1], 10)
    forest.grown(x[:500], bowl(x[:500]), *NONE)

    found = forest.grown(x, bowl(x), *NONE)(at).mean(axis=0)

    assert np.corrcoef(found[:, 0], bowl(at)[:, 0])[0, 1] > 0.97


def test_guess_takes_the_appeal_from_its_neighbourhood() -> None:
    x = points(60)
    best = x[[int(np.argmin(bowl(x)))]]
    forest = GrowingForest([1], 10)

    plain = forest.grown(x, bowl(x), *NONE)(best).mean()
    guessed = forest.grown(x, bowl(x), best, np.array([[0.5]]))(best).mean()

    assert guessed > plain + 0.1
    assert forest.grown(x, bowl(x), *NONE)(best).mean() == plain


def test_held_out_predictions_come_from_other_points() -> None:
    x = points(40)
    y = np.zeros((40, 1))
    y[7] = 100.0

    found = GrowingForest([1], 10).out_of_bag(x, y)

    assert np.isnan(found).any()
    assert np.nanmax(found[:, 7]) == 0


def test_failures_are_as_bad_as_the_worst() -> None:
    x = points(60)
    y = np.where(x[:, :1] < 0.5, np.nan, bowl(x))

    found = GrowingForest([1], 10).grown(x, y, *NONE)(np.array([[0.2, 0.5], [0.8, 0.3]], dtype=np.float32)).mean(axis=0)

    assert found[0, 0] > 1.5 * found[1, 0]


def test_several_outputs_are_learned_side_by_side() -> None:
    x, at = points(300), points(100)

    found = GrowingForest([1], 10).grown(x, np.hstack([bowl(x), 1e6 * x[:, :1]]), *NONE[:1], np.empty((0, 2)))(at)

    assert found.shape == (10, 100, 2)
    assert np.corrcoef(found.mean(axis=0)[:, 0], bowl(at)[:, 0])[0, 1] > 0.9
    assert np.corrcoef(found.mean(axis=0)[:, 1], at[:, 0])[0, 1] > 0.9


def test_more_than_a_tree_takes_keeps_the_best() -> None:
    x = points(3 * MAX_POINTS)
    y = bowl(x)
    best = x[[int(np.argmin(y))]]

    found = GrowingForest([1], 10).grown(x, y, *NONE)(best).mean()

    assert found < np.quantile(y, 0.01)


def test_ceiling_cuts_off_what_only_stretches_the_scale() -> None:
    y = np.array([[0.0], [1.0], [2.0], [3.0], [1e12], [np.nan]])

    assert ceiling(y) == pytest.approx([9.0])
    assert below(y, ceiling(y))[:, 0].tolist() == [0, 1, 2, 3, 9, 9]
    assert ceiling(np.full((3, 1), 5.0)) == [5.0]
    assert ceiling(np.full((3, 2), np.nan)).tolist() == [0.0, 0.0]


def test_fusions_in_closed_form() -> None:
    means, variances, theta = np.array([[1.0], [3.0]]), np.array([[1.0], [4.0]]), np.array([0.5, 0.5])

    assert [part.item() for part in fuse("idp", means, variances, theta)] == [2.0, 1.25]
    assert [part.item() for part in fuse("gpoe", means, variances, theta)] == pytest.approx([1.4, 1.6])


def test_ceiling_does_not_cut_a_missed_bound_down_to_a_kept_one() -> None:
    y = np.array([[0.1 + i / 1000, 0.0] for i in range(18)] + [[10.0, 0.0], [12.0, 0.0]])

    assert ceiling(y)[0] < 0.5
    assert ceiling(y, {0: 0.5}) == pytest.approx([11.0, 0.0])
    # A tree that has seen no miss yet must take the first one for what it is.
    assert ceiling(y[:18], {0: 0.5})[0] > 0.5
    assert ceiling(np.full((3, 1), 0.1), {0: 0.5})[0] > 0.5

"""The Gaussian process behind the surrogates' protocol; forests are asked in `test_beliefs` too."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from optimizers import surrogates
from optimizers.surrogates import Surrogate, categorical_columns
from tunewright.space import Categorical, Float, Ordinal, SearchSpace


def points(count: int, seed: int = 0) -> NDArray[np.float64]:
    """(count, 3): two ordered columns and one of three choices."""
    x = np.random.default_rng(seed).random((count, 3))
    x[:, 2] = (np.floor(x[:, 2] * 3) + 0.5) / 3
    return x


def outcome(x: NDArray[np.float64]) -> NDArray[np.float64]:
    effect = np.array([0.0, 50.0, 10.0])[(x[:, 2] * 3).astype(int)]
    return np.asarray(1000 + 100 * (x[:, 0] - 0.4) ** 2 + 20 * x[:, 1] + effect)


def fitted(x: NDArray[np.float64], y: NDArray[np.float64], seed: int = 0) -> Surrogate:
    model = surrogates.create("gp", {2: 3})
    model.fit(x, y, np.random.default_rng(seed))
    return model


def test_predictions_follow_the_function_in_its_own_units() -> None:
    x, unseen = points(60), points(200, seed=1)

    mean, variance = fitted(x, outcome(x)).predict(unseen)

    residual = mean - outcome(unseen)
    assert mean.shape == variance.shape == (200,)
    assert residual.std() < 0.35 * outcome(unseen).std()
    assert (np.abs(residual) < 4 * np.sqrt(variance) + 1).mean() > 0.8


def threads() -> list[int]:
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def test_same_data_and_seed_give_the_same_bits_on_any_number_of_threads() -> None:
    x = points(300)
    answers = []
    for count in (1, 2):
        with threadpool_limits(count, user_api="blas"):
            before = threads()
            answers.append(fitted(x, outcome(x)).predict(points(300, seed=1)))
            assert threads() == before

    assert (answers[0][0] == answers[1][0]).all()
    assert (answers[0][1] == answers[1][1]).all()


def test_one_thread_within_another_is_no_end_of_the_outer_one() -> None:
    from optimizers.surrogates.gp import one_thread

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_thread():
            with one_thread():
                inner = threads()
            outer = threads()
        after = threads()

    assert before
    assert inner == outer == [1] * len(before)
    assert after == before


def test_many_points_are_predicted_as_each_of_them_alone() -> None:
    x, unseen = points(40), points(300, seed=1)
    model = fitted(x, outcome(x))

    mean, variance = model.predict(unseen)

    for place in (0, 127, 128, 255, 299):
        alone = model.predict(unseen[place : place + 1])
        assert mean[place] == pytest.approx(alone[0][0], rel=1e-9)
        assert variance[place] == pytest.approx(alone[1][0], rel=1e-6)
    assert [len(each) for each in model.predict(unseen[:0])] == [0, 0]


def test_global_random_state_is_neither_read_nor_changed() -> None:
    x = points(20)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    first = fitted(x, outcome(x)).predict(x)[0]

    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]

    np.random.seed(2)
    assert (fitted(x, outcome(x)).predict(x)[0] == first).all()


@pytest.mark.parametrize("y", [[3.0], [3.0, 3.0, 3.0], [1e150, -1e150, 0.0], [1e-300, 2e-300, 3e-300], [1.0, 2.0, 1.0]])
def test_few_equal_repeated_or_extreme_outcomes_are_no_error(y: list[float]) -> None:
    x = np.vstack([points(1)] * len(y))

    mean, variance = fitted(x, np.array(y)).predict(points(10, seed=1))

    assert np.isfinite(mean).all()
    assert (variance >= 0).all()
    assert min(y) - 1e-6 * abs(min(y)) <= np.median(mean) <= max(y) + 1e-6 * abs(max(y))


def test_process_knows_less_away_from_its_points() -> None:
    x = points(30)

    model = fitted(x, outcome(x))

    assert np.median(model.predict(x)[1]) < 0.5 * np.median(model.predict(points(200, seed=1))[1])


def test_process_sees_at_most_its_number_of_points_and_always_the_best() -> None:
    from optimizers.surrogates.gp import GaussianProcess

    x = points(50)
    y = outcome(x)
    model = GaussianProcess({2: 3}, max_points=10)
    model.fit(x, y, np.random.default_rng(0))

    mean, _ = model.predict(x[np.argsort(y)[:5]])

    assert np.abs(mean - np.sort(y)[:5]).max() < 0.2 * y.std()


def test_process_over_categories_alone() -> None:
    model = surrogates.create("gp", {0: 2})
    x = np.array([[0.25], [0.75], [0.25], [0.75]])

    model.fit(x, np.array([0.0, 1.0, 0.1, 1.1]), np.random.default_rng(0))

    mean, _ = model.predict(np.array([[0.25], [0.75]]))
    assert mean[0] < mean[1]


def test_a_choice_of_one_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(20), rng.choice([0.25, 0.75], 20)])
    y = x[:, 0] + x[:, 1]
    held = np.column_stack([x, np.full(20, 0.5)])
    without, beside = surrogates.create("gp", {1: 2}), surrogates.create("gp", {1: 2, 2: 1})

    without.fit(x, y, np.random.default_rng(0))
    beside.fit(held, y, np.random.default_rng(0))

    for mine, other in zip(beside.predict(held), without.predict(x), strict=True):
        assert np.array_equal(mine, other)


def test_a_process_over_nothing_that_varies_knows_the_mean() -> None:
    model = surrogates.create("gp", {0: 1})
    model.fit(np.full((4, 1), 0.5), np.array([0.0, 1.0, 2.0, 3.0]), np.random.default_rng(0))

    assert model.predict(np.full((1, 1), 0.5))[0][0] == pytest.approx(1.5)


def test_only_unordered_parameters_are_categorical_columns() -> None:
    space = SearchSpace(Float("x", 0, 1), Categorical("c", ["a", "b", "c"]), Ordinal("o", ["s", "m"]))

    assert categorical_columns(space) == {1: 3}


def test_leaving_each_point_out_is_what_the_others_predict() -> None:
    from optimizers.surrogates.gp import GaussianProcess

    rng = np.random.default_rng(5)
    x = rng.random((12, 2))
    y = np.sin(5 * x[:, 0]) + x[:, 1]
    model = GaussianProcess({})
    model.fit(x, y, rng)

    means, variances = model.left_out()

    rest = np.arange(12) != 4
    model.condition(x[rest], y[rest], rng)
    mean, variance = model.predict(x[4:5])
    assert means[4] == pytest.approx(mean[0], abs=0.1)
    assert np.sqrt(variances[4]) == pytest.approx(np.sqrt(variance[0]), rel=0.3)

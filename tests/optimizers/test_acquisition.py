from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from optimizers.acquisition import (
    chebyshev,
    expected_improvement,
    log_expected_improvement,
    log_hypervolume_improvement,
    log_probability_below,
)
from optimizers.pareto import free_boxes, hypervolume


@pytest.mark.parametrize("mean", [-2.0, 0.0, 0.3, 4.0])
@pytest.mark.parametrize("deviation", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("xi", [0.0, 0.5])
def test_expected_improvement_is_its_integral(mean: float, deviation: float, xi: float) -> None:
    best = 0.2
    low = mean - 40 * deviation
    expected, _ = quad(
        lambda y: (best - xi - y) * norm.pdf(y, mean, deviation),
        low,
        best - xi,
        points=[p for p in (mean, mean - 6 * deviation) if low < p < best - xi] or None,
        epsabs=0,
        limit=500,
    )

    found = expected_improvement(np.array([mean]), np.array([deviation**2]), best, xi)

    assert found[0] == pytest.approx(expected, rel=1e-7, abs=1e-300)


def test_logarithm_stays_exact_where_the_improvement_underflows() -> None:
    # Golden figures of log(phi(z) + z Phi(z)) to fifty digits.
    z = np.array([-1.0, -2.0, -10.0, -50.0, -200.0])
    golden = [-2.48512103, -4.76878352, -55.5531220, -1258.74418, -20011.5156]

    found = log_expected_improvement(-z, np.ones(5), 0.0)

    assert found == pytest.approx(golden, rel=1e-8)


def test_logarithm_falls_steadily_over_the_whole_range() -> None:
    mean = np.r_[np.linspace(-5, 5, 1001), np.geomspace(5.01, 1e12, 2000)]

    found = log_expected_improvement(mean, np.ones(len(mean)), 0.0)

    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


def test_certain_points_improve_by_their_gain_or_not_at_all() -> None:
    found = expected_improvement(np.array([1.0, 3.0]), np.zeros(2), 2.0)

    assert found.tolist() == [1.0, 0.0]


def test_probability_below_is_the_normal_distribution() -> None:
    found = log_probability_below(np.array([0.0, 1.0, 1.0]), np.array([1.0, 4.0, 0.0]), 0.5)

    assert np.exp(found[:2]) == pytest.approx(norm.cdf([0.5, -0.25]))
    assert found[2] < -1e6
    assert math.exp(log_probability_below(np.zeros(1), np.zeros(1), 0.5)[0]) == 1.0


@pytest.mark.parametrize("unit", [2.0**-60, 2.0**60])
def test_scores_do_not_depend_on_the_unit(unit: float) -> None:
    mean, variance = np.array([0.1, 0.5, 0.9, 0.9, 1.0]), np.array([0.01, 0.04, 0.0, 1e-30, 0.0])

    gains, scaled = (log_expected_improvement(mean * u, variance * u**2, 0.4 * u) for u in (1.0, unit))
    hopes, same = (log_probability_below(mean * u, variance * u**2, 0.4 * u) for u in (1.0, unit))

    assert scaled - math.log(unit) == pytest.approx(gains)
    assert same.tolist() == hopes.tolist()
    # The nearer miss is still the more likely.
    assert hopes[2] > hopes[4]


def test_chebyshev_takes_the_worst_weighted_loss_and_a_little_of_all() -> None:
    losses = np.array([[0.0, 30.0], [1.0, 10.0], [0.5, 10.0]])

    found = chebyshev(losses, np.array([0.5, 0.5]))

    assert found == pytest.approx([0.5 + 0.05 * 0.5, 0.5 + 0.05 * 0.5, 0.25 + 0.05 * 0.25])


def test_chebyshev_of_equal_losses_is_zero() -> None:
    assert chebyshev(np.ones((3, 2)), np.array([0.3, 0.7])).tolist() == [0.0] * 3


def front(m: int, count: int = 12) -> NDArray[np.float64]:
    """(count, m) on a sphere: none dominates another."""
    directions = np.abs(np.random.default_rng(m).normal(size=(count, m)))
    return np.asarray(1 - directions / np.linalg.norm(directions, axis=1, keepdims=True))


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolume_improvement_is_what_samples_gain_on_average(m: int) -> None:
    points, reference = front(m), np.full(m, 1.2)
    rng = np.random.default_rng(0)
    mean, variance = 0.3 + 0.5 * rng.random((4, m)), 0.02 + 0.04 * rng.random((4, m))
    volume = hypervolume(points, reference)

    found = np.exp(log_hypervolume_improvement(mean, variance, free_boxes(points, reference)))

    for row in range(4):
        samples = mean[row] + np.sqrt(variance[row]) * rng.standard_normal((4000, m))
        gains = [hypervolume(np.vstack([points, sample]), reference) - volume for sample in samples]
        assert found[row] == pytest.approx(np.mean(gains), abs=4 * float(np.std(gains)) / 4000**0.5)


def test_hypervolume_improvement_of_four_losses_is_what_samples_gain_on_average() -> None:
    points, reference = front(4), np.full(4, 1.2)
    mean, variance = np.full((1, 4), 0.5), np.full((1, 4), 0.02)
    rng = np.random.default_rng(0)
    # Places drawn below the reference count for a sample where it dominates them and the front does not.
    places = rng.uniform(0.0, 1.2, size=(20_000, 4))
    places = places[~(points[None] <= places[:, None]).all(axis=2).any(axis=1)]
    samples = mean + np.sqrt(variance) * rng.standard_normal((400, 4))
    gains = [float((sample <= places).all(axis=1).sum()) / 20_000 * 1.2**4 for sample in samples]

    found = np.exp(log_hypervolume_improvement(mean, variance, free_boxes(points, reference)))

    assert found[0] == pytest.approx(np.mean(gains), rel=0.15)


def test_hypervolume_improvement_of_certain_points_is_their_gain_or_nothing() -> None:
    boxes = free_boxes(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), np.array([4.0, 4.0]))

    found = log_hypervolume_improvement(np.array([[1.0, 1.0], [2.5, 2.5]]), np.zeros((2, 2)), boxes)

    assert np.exp(found) == pytest.approx([3.0, 0.0])


def test_losses_that_differ_by_rounding_alone_leave_every_point_its_hypervolume_improvement() -> None:
    exact, rounded = np.array([[0.3, 0.5], [0.3, 0.4]]), np.array([[0.1 + 0.2, 0.4], [0.3, 0.5]])
    rng = np.random.default_rng(0)
    mean, variance = rng.random((200, 2)), 0.01 + rng.random((200, 2))

    found, expected = (
        log_hypervolume_improvement(mean, variance, free_boxes(points, np.ones(2))) for points in (rounded, exact)
    )

    assert found == pytest.approx(expected)


def test_logarithm_of_the_hypervolume_improvement_does_not_underflow() -> None:
    boxes = free_boxes(np.array([[0.0, 0.0]]), np.array([1.0, 1.0]))

    found = log_hypervolume_improvement(np.array([[50.0, 50.0], [60.0, 60.0]]), np.ones((2, 2)), boxes)

    assert np.isfinite(found).all()
    assert found[1] < found[0] < -1000


def test_one_loss_is_plain_expected_improvement() -> None:
    mean, variance = np.array([[0.3], [2.0]]), np.array([[0.5], [0.1]])

    found = log_hypervolume_improvement(mean, variance, free_boxes(np.array([[0.7]]), np.array([1.0])))

    assert found == pytest.approx(log_expected_improvement(mean[:, 0], variance[:, 0], 0.7))

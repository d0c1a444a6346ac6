from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizers.kde import Kernels, Mixture, best_draw, even_width, gap_width, reference_width
from tunewright.space import Categorical, Float, Int, Ordinal, SearchSpace, config_key

MIXED = SearchSpace(
    Float("x", 0.0, 1.0),
    Int("n", 1, 9, log=True),
    Ordinal("size", ["s", "m", "l"]),
    Categorical("kind", ["a", "b", "c", "d"]),
)


def sample(space: SearchSpace, count: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    configs = [space.decode(rng.random(space.dimension)) for _ in range(count)]
    points = np.array([space.encode(config) for config in configs])
    return points, np.array([[name in config for name in space.names] for config in configs])


@pytest.mark.parametrize("prior", [0.0, 1.0])
@pytest.mark.parametrize("joint", [True, False])
def test_density_integrates_to_one_over_the_cube(joint: bool, prior: float) -> None:
    kernels = Kernels(MIXED)
    points, active = sample(MIXED, 5)
    mixture = Mixture(kernels, points, active, even_width(kernels, 5, 0.2, 1.0), prior)
    at = np.random.default_rng(1).random((40_000, 4))
    everywhere = np.ones(at.shape, dtype=bool)

    logs = mixture.log_joint(at, everywhere) if joint else mixture.log_marginals(at, everywhere).sum(axis=1)

    assert np.mean(np.exp(logs)) == pytest.approx(1.0, abs=0.05)


def test_single_kernel_is_a_truncated_normal() -> None:
    from scipy.stats import truncnorm

    kernels = Kernels(SearchSpace(Float("x", 0.0, 1.0)))
    one = Mixture(kernels, np.array([[0.1]]), np.array([[True]]), np.array([[0.2]]), 0.0)
    at = np.array([[0.0], [0.1], [0.5]])

    density = np.exp(one.log_joint(at, np.ones((3, 1), dtype=bool)))

    expected = truncnorm((0 - 0.1) / 0.2, (1 - 0.1) / 0.2, loc=0.1, scale=0.2).pdf(at[:, 0])
    np.testing.assert_allclose(density, expected, rtol=1e-9)


def test_mixture_is_the_mean_of_its_kernels_and_the_prior() -> None:
    kernels = Kernels(SearchSpace(Float("x", 0.0, 1.0)))
    at, on = np.array([[0.3]]), np.ones((1, 1), dtype=bool)
    singles = [
        np.exp(Mixture(kernels, np.array([[p]]), on, np.array([[0.1]]), 0.0).log_joint(at, on))[0] for p in (0.2, 0.9)
    ]

    both = Mixture(kernels, np.array([[0.2], [0.9]]), np.ones((2, 1), dtype=bool), np.full((2, 1), 0.1), 2.0)

    # Two kernels, and a uniform part that weighs as much as two.
    assert np.exp(both.log_joint(at, on))[0] == pytest.approx((sum(singles) + 2 * 1.0) / 4)


def test_choices_have_their_share_and_a_part_of_the_prior() -> None:
    space = SearchSpace(Categorical("kind", ["a", "b", "c", "d"]))
    kernels = Kernels(space)
    on = np.ones((3, 1), dtype=bool)
    points = np.array([space.encode({"kind": kind}) for kind in "aab"])
    mixture = Mixture(kernels, points, on, np.full((3, 1), 0.2), 0.0)
    at = np.array([space.encode({"kind": kind}) for kind in "abcd"])

    probabilities = np.exp(mixture.log_joint(at, np.ones((4, 1), dtype=bool))) / 4

    np.testing.assert_allclose(probabilities, [0.05 + 0.8 * 2 / 3, 0.05 + 0.8 / 3, 0.05, 0.05])


def test_integers_on_a_log_scale_have_their_own_bins() -> None:
    space = SearchSpace(Int("n", 1, 9, log=True))
    kernels = Kernels(space)
    points = np.array([space.encode({"n": 2})])
    mixture = Mixture(kernels, points, np.ones((1, 1), dtype=bool), np.array([[0.1]]), 0.0)
    at = np.array([space.encode({"n": n}) for n in range(1, 10)])
    low, high = kernels.edges(at.copy())

    mass = np.exp(mixture.log_joint(at, np.ones((9, 1), dtype=bool))) * (high - low)[:, 0]

    assert mass.sum() == pytest.approx(1.0)
    assert np.argmax(mass) == 1


def test_inactive_parameters_say_nothing() -> None:
    space = SearchSpace(Categorical("kind", ["a", "b"]), Float("x", 0.0, 1.0, when={"kind": "b"}))
    kernels = Kernels(space)
    points, active = np.array([[0.75, 0.1], [0.25, 0.5]]), np.array([[True, True], [True, False]])
    mixture = Mixture(kernels, points, active, np.array([[0.0, 0.01], [0.0, 0.01]]), 0.0)
    near, far = (mixture.log_joint(np.array([[0.25, x]]), np.array([[True, False]])) for x in (0.1, 0.9))

    assert near == far
    # All of x's evidence is that of the one trial that has it.
    there = mixture.log_marginals(np.array([[0.75, 0.1], [0.75, 0.5]]), np.ones((2, 2), dtype=bool))
    assert there[0, 1] > 3 > -100 > there[1, 1]


@pytest.mark.parametrize("joint", [True, False])
def test_draws_follow_the_density(joint: bool) -> None:
    kernels = Kernels(MIXED)
    points, active = np.tile(MIXED.encode({"x": 0.3, "n": 4, "size": "m", "kind": "b"}), (3, 1)), np.ones((3, 4), bool)
    mixture = Mixture(kernels, points, active, even_width(kernels, 3, 0.05, 1.0), 1.0)

    drawn = mixture.draw(4000, joint, np.random.default_rng(0))

    assert drawn.min() >= 0
    assert drawn.max() <= 1
    # A quarter is the uniform part; of the rest, a quarter of choices is redrawn evenly.
    assert np.mean(np.abs(drawn[:, 0] - 0.3) < 0.15) == pytest.approx(0.75 + 0.25 * 0.3, abs=0.04)
    assert np.mean(np.floor(drawn[:, 3] * 4) == 1) == pytest.approx(0.75 * (0.75 + 0.25 / 4) + 0.25 / 4, abs=0.04)


def test_gaps_reach_to_the_farther_neighbour_or_border() -> None:
    kernels = Kernels(SearchSpace(Float("x", 0.0, 1.0)))
    points = np.array([[0.5], [0.2], [0.6]])

    widths = gap_width(kernels, points, np.ones((3, 1), dtype=bool), 1.0)

    np.testing.assert_allclose(widths[:, 0], [0.3, 0.3, 0.4])


def test_reference_rule_is_silvermans_and_leaves_inactive_points_out() -> None:
    kernels = Kernels(SearchSpace(Float("x", 0.0, 1.0)))
    points, active = np.array([[0.2], [0.4], [0.9]]), np.array([[True], [True], [False]])

    widths = reference_width(kernels, points, active)

    np.testing.assert_allclose(widths[:, 0], 1.06 * 0.1 * 3 ** (-1 / 5))


def test_the_draw_with_the_largest_ratio_that_is_new_is_taken() -> None:
    space = SearchSpace(Int("x", 1, 4), Categorical("kind", ["a", "b"]))
    drawn = np.array([[0.1, 0.2], [0.9, 0.9], [0.6, 0.9]])
    seen = []

    def log_ratio(x: NDArray[np.float64], active: NDArray[np.bool_]) -> NDArray[np.float64]:
        seen.append((x.tolist(), bool(active.all())))
        return x[:, 0]

    assert best_draw(space, drawn, log_ratio, set()) == ({"x": 4, "kind": "b"}, 0.875)
    assert seen == [([[0.125, 0.25], [0.875, 0.75], [0.625, 0.75]], True)]
    tried = {config_key({"x": 4, "kind": "b"})}
    assert best_draw(space, drawn, log_ratio, tried) == ({"x": 3, "kind": "b"}, 0.625)
    tried |= {config_key({"x": 3, "kind": "b"}), config_key({"x": 1, "kind": "a"})}
    assert best_draw(space, drawn, log_ratio, tried) is None

"""Widths, the safe set, and caution that follows experience."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optimizers.onlinetune.process import Knobs, Posterior, Prior, Rows
from optimizers.onlinetune.safety import Caution, bounds, confidence_width


def _posterior() -> Posterior:
    rng = np.random.default_rng(0)
    knobs = Knobs(np.array([0.5, 0.5]), {})
    x = np.vstack([np.full((4, 2), 0.5), rng.uniform(0.3, 0.7, (8, 2))])
    y = 0.5 * (x[:, 0] - 0.5) + 0.01 * rng.standard_normal(12)
    rows = Rows(x, np.zeros((12, 1)), np.arange(12.0), y, np.ones(12))
    return Posterior(Prior.median(knobs, 1, "product"), rows, np.zeros(1), 12.0)


def test_the_width_is_the_theorems() -> None:
    assert confidence_width(3.0, 1.5, 0.05) == pytest.approx(math.sqrt(2 * math.log(20) + 3.0) + 1.5)


def test_safe_is_what_is_allowed_and_no_worse_than_the_least_at_its_lower_bound() -> None:
    posterior, x = _posterior(), np.random.default_rng(1).random((200, 2))
    allowed = np.arange(200) % 3 > 0

    found = bounds(posterior, x, allowed, 1.5, -0.05, 0.05)

    assert found.width == 1.5
    np.testing.assert_array_equal(found.safe, allowed & (found.mean - 1.5 * found.deviation >= -0.05))
    assert 0 < found.safe.sum() < allowed.sum()
    np.testing.assert_allclose(found.upper - found.lower, 3.0 * found.deviation)


def test_more_caution_means_a_smaller_safe_set_inside_the_larger_one() -> None:
    posterior, x = _posterior(), np.random.default_rng(1).random((200, 2))

    bold, careful = (bounds(posterior, x, np.ones(200, bool), width, -0.05, 0.05).safe for width in (0.6, 3.0))

    assert careful.sum() < bold.sum()
    assert not (careful & ~bold).any()


def test_no_caution_is_wider_than_the_theorem() -> None:
    posterior = _posterior()

    found = bounds(posterior, np.full((1, 2), 0.9), np.ones(1, bool), 1e6, -0.05, 0.05)

    assert found.width == confidence_width(posterior.information, posterior.norm, 0.05)


def test_the_reference_is_safe_under_any_width() -> None:
    found = bounds(_posterior(), np.full((1, 2), 0.5), np.ones(1, bool), 20.0, -0.05, 0.05)

    assert found.safe[0]


def test_caution_grows_with_what_was_unsafe_and_wears_off_within_its_limits() -> None:
    caution = Caution(1.5, 0.6, 3.0)

    caution.learn(unsafe=True)
    grown = caution.width
    for _ in range(10):
        caution.learn(unsafe=True)
    most = caution.width
    for _ in range(1000):
        caution.learn(unsafe=False)

    assert grown == pytest.approx(1.95)
    assert most == 3.0
    assert caution.width == 0.6

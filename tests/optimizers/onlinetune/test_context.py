"""Standardising, milestones, and principal components that do not depend on the library's signs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from optimizers.onlinetune.context import FIRST, GROWTH, Scale, milestone, principal


def test_scale_standardises() -> None:
    contexts = np.random.default_rng(0).normal([3.0, -2.0], [2.0, 5.0], (500, 2))

    z = Scale.of(contexts)(contexts)

    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)


def test_a_still_feature_is_not_stretched_until_its_noise_looks_like_a_change() -> None:
    contexts = np.array([[7.0, 0.0], [7.01, 0.0], [6.99, 0.0]])

    z = Scale.of(contexts)(contexts)

    np.testing.assert_allclose(z, [[0.0, 0.0], [0.1, 0.0], [-0.1, 0.0]], atol=1e-9)


def test_milestones_grow_by_a_fifth_and_follow_from_the_count_alone() -> None:
    found = sorted({milestone(count) for count in range(400)})

    assert found[:4] == [0, FIRST, 8, 10]
    assert all(b == int(np.ceil(a * GROWTH)) for a, b in pairwise(found[1:]))
    assert all(milestone(count) <= count for count in range(400))


def test_principal_components_keep_distances_and_do_not_flip_with_the_input() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(40, 3)) @ np.diag([3.0, 1.0, 0.2])

    found = principal(points)

    before = np.linalg.norm(points[:, None] - points, axis=2)
    after = np.linalg.norm(found[:, None] - found, axis=2)
    np.testing.assert_allclose(before, after, atol=1e-9)
    np.testing.assert_allclose(principal(points.copy(order="F")), found, atol=1e-9)
    assert found.std(axis=0)[0] > found.std(axis=0)[1] > found.std(axis=0)[2]

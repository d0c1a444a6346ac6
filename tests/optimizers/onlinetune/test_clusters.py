"""Contexts that belong together share a label, and a new clustering is adopted only where it separates better."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizers.onlinetune.clusters import Clusters

DAY, NIGHT = np.array([1.0, 0.0, 5.0]), np.array([0.0, 1.0, 1.0])


def _near(centre: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(float(value) for value in centre + 0.02 * rng.standard_normal(3))


def _told(clusters: Clusters, *stretches: tuple[NDArray[np.float64], int]) -> Clusters:
    rng = np.random.default_rng(0)
    for centre, count in stretches:
        for _ in range(count):
            clusters.add(_near(centre, rng))
    return clusters


def test_two_loads_become_two_clusters_and_the_boundary_knows_them() -> None:
    clusters = _told(Clusters(), (DAY, 20), (NIGHT, 20))

    rng = np.random.default_rng(9)

    assert set(clusters.labels[:20]) == {clusters.of(_near(DAY, rng))}
    assert set(clusters.labels[20:]) == {clusters.of(_near(NIGHT, rng))}
    assert clusters.labels[0] != clusters.labels[-1]


def test_the_older_cluster_keeps_its_number() -> None:
    clusters = _told(Clusters(), (DAY, 20), (NIGHT, 20))

    assert clusters.labels[:20] == [0] * 20


def test_nothing_is_looked_at_between_tens() -> None:
    clusters = _told(Clusters(), (DAY, 20), (NIGHT, 9))
    assert clusters.version == 0

    assert clusters.add(_near(NIGHT, np.random.default_rng(5)))

    assert clusters.version == 1


def test_one_load_stays_one_cluster() -> None:
    clusters = _told(Clusters(), (DAY, 60))

    assert clusters.version == 0
    assert set(clusters.labels) == {0}


def test_the_same_clustering_is_not_adopted_twice() -> None:
    clusters = _told(Clusters(), (DAY, 20), (NIGHT, 20))
    version = clusters.version

    _told(clusters, (DAY, 20), (NIGHT, 20))

    assert clusters.version == version


def test_a_clustering_much_like_the_old_one_is_not_worth_a_change() -> None:
    third = np.array([5.0, 5.0, -5.0])

    clusters = _told(Clusters(), (DAY, 30), (NIGHT, 30), (third, 30))

    # Splitting one of two clusters leaves mutual information above the authors' 0.6.
    assert clusters.version == 1
    assert set(clusters.labels) == {0, 1}


def test_labels_follow_from_the_contexts_alone() -> None:
    stretches = ((DAY, 15), (NIGHT, 25), (DAY, 12), (NIGHT, 18))
    asked = Clusters()
    rng = np.random.default_rng(3)
    for centre, count in stretches:
        asked.of(_near(centre, rng))
        _told(asked, (centre, count))
    silent = Clusters()
    for centre, count in stretches:
        _told(silent, (centre, count))

    assert asked.labels == silent.labels
    assert asked.of(_near(DAY, np.random.default_rng(7))) == silent.of(_near(DAY, np.random.default_rng(7)))


@pytest.mark.parametrize("count", [0, 40])
def test_without_clustering_all_contexts_are_one(count: int) -> None:
    clusters = _told(Clusters(enabled=False), (DAY, count), (NIGHT, count))

    assert set(clusters.labels) <= {0}
    assert clusters.of(_near(NIGHT, np.random.default_rng(0))) == 0

"""What the measured intervals become for the models, and that these follow from the intervals alone."""

from __future__ import annotations

import numpy as np
import pytest

from optimizers.onlinetune.clusters import Clusters
from optimizers.onlinetune.intervals import Expected, Interval, Suggestion, Target
from optimizers.onlinetune.performance import Performance
from tunewright.space import Float, SearchSpace
from tunewright.study import Objective

SPACE = SearchSpace([Float("a", 0.0, 1.0, default=0.2), Float("b", 0.0, 1.0, default=0.5)])
TARGET = Target(SPACE, SPACE.default(), Objective(metric="tps", direction="maximize"), ("rate",), seconds=60.0)


def _interval(
    a: float, performance: float | None = 100.0, rate: float = 1.0, expected: float | None = None, seconds: float = 60.0
) -> Interval:
    suggestion = None
    if expected is not None:
        suggestion = Suggestion(number=0, kind="safe", config={}, point=(), centre=(), reference_performance=expected)
    return Interval(
        suggestion=suggestion,
        config={"a": a, "b": 0.5},
        context=(rate,),
        performance=performance,
        seconds=seconds,
    )


def _told(*intervals: Interval) -> tuple[Performance, Clusters]:
    performance, clusters = Performance(TARGET, {}, "product"), Clusters()
    for number, interval in enumerate(intervals):
        performance.add(interval, number)
        clusters.add(interval.context)
    return performance, clusters


def test_intervals_become_logarithms_and_gains_over_what_was_expected() -> None:
    performance, _ = _told(_interval(0.2), _interval(0.6, 120.0, expected=100.0))

    np.testing.assert_allclose(performance.points, [[0.2, 0.5], [0.6, 0.5]])
    np.testing.assert_allclose(performance.column(0), np.log([100.0, 120.0]))
    np.testing.assert_allclose(performance.column(1), [0.0, np.log(1.2)])
    assert performance.references == 1


@pytest.mark.parametrize("measured", [None, 3.0])
def test_what_could_not_be_measured_and_what_is_worse_counts_as_half_of_the_reference(measured: float | None) -> None:
    performance, _ = _told(_interval(0.9, measured, expected=100.0))

    assert performance.column(0)[0] == pytest.approx(np.log(50.0))


def test_the_reference_itself_is_learnt_as_it_was_measured_however_far_the_load_falls() -> None:
    performance, _ = _told(_interval(0.2, 3.0, expected=100.0))

    assert performance.column(0)[0] == pytest.approx(np.log(3.0))


def test_what_was_expected_in_the_intervals_own_context_counts_and_how_surely() -> None:
    own = Expected(reference=20.0, doubt=0.5, gain=0.0)
    performance, _ = _told(_interval(0.9, 3.0, expected=100.0).model_copy(update={"expected": own}))

    assert performance.column(0)[0] == pytest.approx(np.log(20.0) + np.log(0.5) - 1.0)


def test_what_nobody_expected_anything_of_and_nobody_measured_teaches_nothing() -> None:
    performance, _ = _told(_interval(0.9, None))

    assert len(performance) == 0


def test_short_intervals_are_noisier_in_proportion() -> None:
    performance, _ = _told(_interval(0.2), _interval(0.2, seconds=10.0), _interval(0.2, seconds=0.01))

    np.testing.assert_allclose(performance.column(2), [1.0, 6.0, 60.0])


def test_a_cluster_with_few_intervals_of_its_own_thinks_what_the_session_thinks() -> None:
    performance, _ = _told(*[_interval(0.2) for _ in range(40)])
    labels = np.array([0] * 30 + [1] * 10)

    assert len(performance.members(labels, 1)) == 40
    assert len(performance.members(labels, 0)) == 30


def test_discoveries_and_the_reference_travel_to_other_clusters() -> None:
    others = [_interval(0.2), _interval(0.9, 150.0, expected=100.0), _interval(0.8, 101.0, expected=100.0)]
    performance, _ = _told(*others, *[_interval(0.3, 100.0, expected=100.0) for _ in range(20)])

    rows = performance._conditioned(np.arange(3, 23), np.zeros(1))

    assert list(rows) == [0, 1, *range(3, 23)]


def test_of_many_intervals_the_newest_and_those_in_nearest_contexts_decide() -> None:
    performance = Performance(TARGET, {}, "product")
    for number in range(700):
        performance.add(_interval(0.2, rate=float(number % 2)), number)

    rows = performance._conditioned(np.arange(700), performance.scale()(np.array([1.0])))

    assert len(rows) == 500
    assert set(range(450, 700)) <= set(rows)
    # All of the older ones at rate 1 come before any at rate 0.
    assert {row for row in range(450) if row % 2} <= set(rows)


def test_beliefs_do_not_depend_on_what_was_asked_before() -> None:
    rng = np.random.default_rng(0)
    intervals = [
        _interval(0.2 if rng.random() < 0.3 else float(rng.random()), float(100 + rng.normal()), float(rng.random()))
        for _ in range(30)
    ]
    silent, clusters = _told(*intervals)
    asked, asked_clusters = Performance(TARGET, {}, "product"), Clusters()
    for number, interval in enumerate(intervals):
        asked.add(interval, number)
        asked_clusters.add(interval.context)
        asked.posterior(asked_clusters, 0, (0.5,), number)

    one, other = (
        each.posterior(labels, 0, (0.5,), 30) for each, labels in ((silent, clusters), (asked, asked_clusters))
    )

    x = rng.random((5, 2))
    np.testing.assert_array_equal(one.improvement(x)[0], other.improvement(x)[0])
    assert one.reference == other.reference


def test_beliefs_of_a_cluster_do_not_depend_on_when_they_were_asked_for() -> None:
    rng = np.random.default_rng(0)
    rates = [*rng.random(20), *(5.0 + rng.random(25))]
    labels = [0] * 20 + [1] * 25
    silent, asked = Performance(TARGET, {}, "product"), Performance(TARGET, {}, "product")
    for number, rate in enumerate(rates):
        interval = _interval(0.2 if number % 3 == 0 else float(rng.random()), float(100 + rng.normal()), float(rate))
        silent.add(interval, number)
        asked.add(interval, number)
        asked.posterior(_Labelled(labels[: number + 1]), 0, (0.5,), number)

    one, other = (each.posterior(_Labelled(labels), 0, (0.5,), 45) for each in (silent, asked))

    np.testing.assert_array_equal(one.prior.logs, other.prior.logs)


class _Labelled(Clusters):
    """Clusters that were found."""

    def __init__(self, labels: list[int]) -> None:
        super().__init__()
        self.labels, self.version = labels, 1

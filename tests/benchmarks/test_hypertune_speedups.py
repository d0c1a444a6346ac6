"""Regret, speed-ups, ranks and intervals, against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks._speedups import (
    Outcome,
    anytime_regret,
    geometric_mean,
    improvements,
    interval,
    ranks,
    regret,
    speedup,
)


def _outcome(*steps: tuple[float, float], horizon: float = 100.0) -> Outcome:
    return Outcome(steps, horizon, trials=3, utilisation=1.0, thinking=0.0)


def test_only_improvements_within_the_horizon_are_steps() -> None:
    measured = [(1.0, 5.0), (2.0, 6.0), (3.0, 4.0), (9.0, 1.0)]

    assert improvements(measured, horizon=8.0) == [(1.0, 5.0), (3.0, 4.0)]


def test_regret_is_one_before_the_first_value_and_falls_to_nothing_at_the_best() -> None:
    outcome = _outcome((10.0, 9.0), (50.0, 3.0), (90.0, 1.0))

    found = regret(outcome, np.array([0.05, 0.1, 0.5, 1.0]), best=1.0, reference=5.0)

    assert found.tolist() == [1.0, 1.0, 0.5, 0.0]


def test_anytime_regret_is_the_area_under_the_curve() -> None:
    outcome = _outcome((20.0, 3.0), (60.0, 1.0))

    assert anytime_regret(outcome, best=1.0, reference=5.0) == pytest.approx((20 * 1 + 40 * 0.5) / 100)
    assert anytime_regret(_outcome(), best=1.0, reference=5.0) == 1.0


def test_speedup_is_the_rivals_time_to_its_final_value_over_ours() -> None:
    found = speedup(_outcome((5.0, 2.0), (10.0, 0.9)), _outcome((4.0, 2.0), (80.0, 1.0)))

    assert found is not None
    assert found.ratio == 8.0
    assert not found.ours_censored
    assert not found.rival_censored


def test_who_never_gets_there_counts_with_the_horizon() -> None:
    behind = speedup(_outcome((5.0, 2.0)), _outcome((50.0, 1.0)))
    ahead = speedup(_outcome((5.0, 2.0)), _outcome())

    assert behind is not None
    assert ahead is not None
    assert (behind.ratio, behind.ours_censored, behind.rival_censored) == (0.5, True, False)
    assert (ahead.ratio, ahead.ours_censored, ahead.rival_censored) == (20.0, False, True)
    assert speedup(_outcome(), _outcome()) is None


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks([0.3, 0.1, 0.3, 0.2]) == [3.5, 1.0, 3.5, 2.0]


def test_the_interval_holds_the_mean_and_closes_where_all_are_equal() -> None:
    spread = {"a": [1.0, 4.0, 2.0], "b": [8.0, 2.0, 4.0]}

    low, high = interval(spread)

    assert low < math.sqrt(2 * 4) < high
    assert interval({"a": [2.0] * 3, "b": [2.0] * 2}) == pytest.approx((2.0, 2.0))
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)

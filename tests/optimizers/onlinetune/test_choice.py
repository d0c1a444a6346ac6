"""The most promising safe candidate, or one at the border of the safe set."""

from __future__ import annotations

from typing import Any

import numpy as np

from optimizers.onlinetune.choice import Pick, pick
from optimizers.onlinetune.safety import Bounds

# Candidates on a line from the centre at 0; the last ones are not safe.
X = np.linspace(0.0, 1.0, 11)[:, None]
CENTRE = np.zeros(1)
ALL = np.ones(11, dtype=bool)


def _bounds(mean: Any, deviation: Any, safe: Any) -> Bounds:
    return Bounds(np.asarray(mean, dtype=float), np.asarray(deviation, dtype=float), 1.0, np.asarray(safe, dtype=bool))


def _pick(bounds: Bounds, allowed: Any = ALL, number: int = 0, may_expand: bool = True, seed: int = 0) -> Pick | None:
    return pick(bounds, X, CENTRE, allowed, 1.0, number, may_expand, np.random.default_rng(seed))


def test_nothing_safe_is_nothing_chosen() -> None:
    assert _pick(_bounds(X[:, 0], 0.1 + 0 * X[:, 0], np.zeros(11))) is None


def test_the_most_promising_is_taken_where_it_is_safe() -> None:
    bounds = _bounds(-((X[:, 0] - 0.3) ** 2), np.full(11, 0.01), X[:, 0] < 0.55)

    picked = [_pick(bounds, seed=seed) for seed in range(20)]

    assert set(picked) == {Pick(3, "safe")}


def test_on_the_way_to_what_is_not_safe_the_last_safe_point_is_explored() -> None:
    bounds = _bounds(X[:, 0], np.where(X[:, 0] > 0.45, 0.9, 0.01), X[:, 0] < 0.55)
    # Row 4 is safe, known and second to row 5; the best of all is far outside.
    bounds = _bounds(np.where(np.arange(11) == 5, -0.6, X[:, 0]), bounds.deviation, bounds.safe)

    assert _pick(bounds) == Pick(5, "expander")


def test_no_two_border_points_in_a_row() -> None:
    bounds = _bounds(np.where(np.arange(11) == 5, -0.6, X[:, 0]), np.where(X[:, 0] > 0.45, 0.9, 0.01), X[:, 0] < 0.55)

    picked = _pick(bounds, may_expand=False)

    assert picked is not None
    assert picked.kind == "safe"


def test_a_border_point_in_little_doubt_is_not_worth_it_at_first_but_later() -> None:
    mean = np.where(np.arange(11) == 5, 0.0, X[:, 0])
    deviation = np.where(np.arange(11) == 5, 0.03, 0.01)
    bounds = _bounds(mean, deviation, X[:, 0] < 0.55)

    early, late = _pick(bounds, number=0), _pick(bounds, number=1000)

    assert early == Pick(4, "safe")
    assert late == Pick(5, "expander")


def test_what_is_not_allowed_is_never_picked() -> None:
    bounds = _bounds(X[:, 0], np.full(11, 0.1), ALL)
    allowed = np.arange(11) % 2 == 0

    picked = [_pick(bounds, allowed & (np.arange(11) < 9), seed=seed) for seed in range(20)]

    assert {each.row for each in picked if each is not None} == {8}


def test_in_many_knobs_the_border_point_lies_on_the_way() -> None:
    rng = np.random.default_rng(0)
    x = np.vstack([0.5 + 0.2 * rng.uniform(-1, 1, (200, 5)), [[0.9, 0.5, 0.5, 0.5, 0.5]]])
    inside = x[:, 0] < 0.6
    bounds = Bounds(x[:, 0] * 10, np.where(x[:, 0] > 0.58, 5.0, 0.001), 1.0, inside)

    picked = pick(bounds, x, np.full(5, 0.5), np.ones(201, bool), 0.0, 0, True, rng)

    assert picked is not None
    assert inside[picked.row]
    assert x[picked.row, 0] > 0.55

"""Forests and processes as beliefs about every objective."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizers.beliefs import Belief, Beliefs, Columns, ForestBeliefs, ProcessBeliefs
from optimizers.evidence import Evidence
from optimizers.protocol import Problem
from tunewright.space import Categorical, Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace(Float("a", 0.0, 1.0), Float("b", 0.0, 1.0), Categorical("c", ["x", "y", "z"]))
KINDS = ["forest", "gp"]
LOSS = Objective(metric="loss")
NOBODY = np.empty((0, 3))


def beliefs(kind: str, known: Evidence) -> Beliefs:
    bounds = dict(known.bounds)
    return ForestBeliefs([1], 20, bounds) if kind == "forest" else ProcessBeliefs([1], {2: 3}, bounds)


def points(count: int, seed: int = 0) -> NDArray[np.float64]:
    x = np.random.default_rng(seed).random((count, 3))
    return np.array([SPACE.encode(SPACE.decode(point)) for point in x])


def outcome(x: NDArray[np.float64]) -> NDArray[np.float64]:
    effect = np.array([0.0, 50.0, 10.0])[(x[:, 2] * 3).astype(int)]
    return np.asarray(1000 + 100 * (x[:, 0] - 0.4) ** 2 + 20 * x[:, 1] + effect)


def evidence(x: NDArray[np.float64], objectives: list[Objective] | None = None, **losses: object) -> Evidence:
    """One loss for each point; nan is a failure."""
    found = Evidence(Problem(SPACE, objectives or [LOSS], Fidelity(name="epochs", max=1)))
    for row, point in enumerate(x):
        metrics = {name: float(np.asarray(values)[row]) for name, values in losses.items()}
        found.add(SPACE.decode(point), None if any(np.isnan(list(metrics.values()))) else metrics)
    return found


def belief(kind: str, known: Evidence, pending: NDArray[np.float64] = NOBODY) -> Belief:
    return beliefs(kind, known).given(known, pending, Columns.of(known, None), np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_follow_the_function_in_its_own_units(kind: str) -> None:
    x, unseen = points(60), points(200, seed=1)

    mean, variance = belief(kind, evidence(x, loss=outcome(x))).predict(unseen)

    residual = mean[:, 0] - outcome(unseen)
    assert mean.shape == variance.shape == (200, 1)
    assert residual.std() < 0.35 * outcome(unseen).std()
    assert (np.abs(residual) < 4 * np.sqrt(variance[:, 0]) + 1).mean() > 0.8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("y", [[3.0, 3.0, 3.0], [1e150, -1e150, 0.0], [1e-300, 2e-300, 3e-300], [1.0, 2.0, 1.0]])
def test_equal_repeated_or_extreme_outcomes_are_no_error(kind: str, y: list[float]) -> None:
    x = np.vstack([points(1)] * len(y))

    mean, variance = belief(kind, evidence(x, loss=y)).predict(points(10, seed=1))

    assert np.isfinite(mean).all()
    assert (variance >= 0).all()
    assert min(y) - 1e-6 * abs(min(y)) <= np.median(mean) <= max(y) + 1e-6 * abs(max(y))


@pytest.mark.parametrize("kind", KINDS)
def test_failures_are_bad(kind: str) -> None:
    x = points(60)

    known = evidence(x, loss=np.where(x[:, 0] < 0.5, np.nan, 1 - x[:, 0] + 0.3 * x[:, 1]))
    mean, _ = belief(kind, known).predict(np.array([[0.2, 0.5, 0.5], [0.8, 0.5, 0.5]]))

    assert mean[0, 0] > mean[1, 0] + 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_what_diverged_does_not_hide_the_rest(kind: str) -> None:
    x, unseen = points(60), points(200, seed=1)
    y = outcome(x)
    y[[3, 30]] = 1e12

    mean, _ = belief(kind, evidence(x, loss=y)).predict(unseen)

    assert np.corrcoef(mean[:, 0], outcome(unseen))[0, 1] > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_is_taken_for_the_median(kind: str) -> None:
    x = points(40)
    known = evidence(x, loss=outcome(x))
    best = x[[int(np.argmin(outcome(x)))]]

    alone, _ = belief(kind, known).predict(best)
    beside, _ = belief(kind, known, best).predict(best)

    assert alone[0, 0] < beside[0, 0] < np.median(outcome(x))


@pytest.mark.parametrize("kind", KINDS)
def test_rare_violation_is_not_taken_for_feasible(kind: str) -> None:
    # Nearly all costs lie at 0.1, and the few above the bound are so far out that they stretch the scale.
    x = points(120)
    cost = np.where(x[:, 0] > 0.9, 10.0, 0.1 + 0.001 * x[:, 1])
    known = evidence(x, [LOSS, Objective(metric="cost", bound=0.5)], loss=x[:, 1], cost=cost)

    mean, _ = belief(kind, known).predict(np.array([[0.97, 0.5, 0.5], [0.3, 0.5, 0.5]]))

    assert mean[0, 1] > 0.5 > mean[1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_goals_are_one_column_and_others_one_each(kind: str) -> None:
    x = points(60)
    known = evidence(x, [LOSS, Objective(metric="other")], loss=x[:, 0], other=1 - x[:, 0])
    at, rng = np.array([[0.1, 0.5, 0.5], [0.9, 0.5, 0.5]]), np.random.default_rng(0)

    both = beliefs(kind, known).given(known, NOBODY, Columns.of(known, None), rng).predict(at)[0]
    first = beliefs(kind, known).given(known, NOBODY, Columns.of(known, np.array([0.99, 0.01])), rng).predict(at)[0]

    assert both.shape == (2, 2)
    assert both[0, 0] < both[1, 0]
    assert both[0, 1] > both[1, 1]
    assert first.shape == (2, 1)
    assert first[0, 0] < first[1, 0]

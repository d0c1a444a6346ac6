"""Decisions rest on how results differ: not on their unit, nor on how far one that diverged is from all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optimizers.beliefs import Columns
from optimizers.evidence import Evidence
from optimizers.protocol import JobEnd, Problem, Report
from optimizers.registry import create
from tunewright.space import Config, Float, SearchSpace
from tunewright.study import Fidelity, Objective

SPACE = SearchSpace(Float("x", 0.0, 1.0), Float("y", 0.0, 1.0))
FIRST = 8
SMALL: dict[str, Any] = {"initial_trials": FIRST, "random_share": 0.0, "candidates": 60}
SEVERAL = {
    "bayes-gp": ("bayes", {**SMALL, "surrogate": "gp"}),
    "bayes-forest": ("bayes", {**SMALL, "surrogate": "forest"}),
    "bayes-xi": ("bayes", {**SMALL, "surrogate": "gp", "xi": 0.5}),
    "parego": ("bayes", {**SMALL, "surrogate": "gp", "several": "parego"}),
    "mobster": ("mobster", SMALL),
    "tpe": ("tpe", {"initial_trials": FIRST, "good_share": 0.3}),
    "evolution": ("evolution", {"initial_trials": FIRST, "population": 8, "tournament": 3}),
    "bohb": ("bohb", {"random_share": 0.0}),
}
ONE = {name: SEVERAL[name] for name in ("bayes-gp", "bayes-forest", "bayes-xi", "mobster")}


def decided(
    kind: tuple[str, dict[str, Any]], goals: int, unit: float = 1.0, diverged: float | None = None, bound: bool = False
) -> list[Config]:
    """Configurations of some trials, of which the fourth diverged in the first objective, if any did."""
    objectives = [Objective(metric="loss"), Objective(metric="size")][:goals]
    if bound:
        objectives.append(Objective(metric="cost", bound=0.6 * unit))
    name, options = kind
    optimizer = create(name, options, Problem(SPACE, objectives, Fidelity(name="epochs", max=3), seed=3))
    for _ in range(FIRST + 12):
        job = optimizer.next_job()
        assert job is not None
        x, y = float(job.config["x"]), float(job.config["y"])
        loss = (x - 0.3) ** 2 + (y - 0.6) ** 2 + 0.1 / job.end
        size = (x - 0.9) ** 2 + y
        if diverged is not None and job.trial == 3:
            # It ended soon: nothing is smaller.
            loss, size = diverged, -0.1
        metrics = {"loss": unit * loss, "size": unit * size, "cost": unit * x}
        optimizer.observe(Report(job.id, job.trial, job.end, metrics))
        optimizer.finish(job.id, JobEnd.COMPLETED)
    return [trial.config for trial in optimizer.trials]


@pytest.mark.parametrize(("kind", "goals"), [*((kind, 2) for kind in SEVERAL), *((kind, 1) for kind in ONE)])
def test_how_far_a_training_diverged_makes_no_difference(kind: str, goals: int) -> None:
    far, farther = (decided(SEVERAL[kind], goals, diverged=loss) for loss in (5.0, 1e30))

    assert far == farther


# A power of two changes no digit.
@pytest.mark.parametrize("unit", [2.0**-50, 2.0**50])
@pytest.mark.parametrize(
    ("kind", "goals", "bound"),
    [*((kind, 1, False) for kind in ONE), *((kind, 2, False) for kind in SEVERAL), ("bayes-forest", 1, True)],
)
def test_the_unit_makes_no_difference(kind: str, goals: int, bound: bool, unit: float) -> None:
    assert decided(SEVERAL[kind], goals, unit, bound=bound) == decided(SEVERAL[kind], goals, bound=bound)


def several(rows: list[tuple[float, float]]) -> Evidence:
    goals = [Objective(metric="loss"), Objective(metric="size")]
    evidence = Evidence(Problem(SPACE, goals, Fidelity(name="epochs", max=1)))
    for loss, size in rows:
        evidence.add({"x": 0.5, "y": 0.5}, {"loss": loss, "size": size})
    return evidence


ROWS = [*((float(loss), 0.5) for loss in (5, 3, 6, 1, 7, 2, 4)), (1e30, 0.0)]


@pytest.mark.parametrize("rows", [None, [0, 1, 7]])
def test_diverged_result_leaves_the_ranks_of_the_others(rows: list[int] | None) -> None:
    evidence = several(ROWS)

    ranked, _ = evidence.ranked(np.random.default_rng(0), None if rows is None else np.array(rows))

    others = [row for row in ranked.tolist() if row != 7]
    assert others == ([3, 5, 1, 6, 0, 2, 4] if rows is None else [1, 0])


def test_weighed_columns_keep_the_others_apart() -> None:
    evidence = several(ROWS)
    columns = Columns.of(evidence, np.array([0.5, 0.5]))

    weighed = columns(evidence.capped)[:, 0]

    assert len(np.unique(weighed[:7])) == 7
    assert np.ptp(weighed) < 2

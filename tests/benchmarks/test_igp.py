"""What the comparison of labelling strategies makes of campaigns, and a small run of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import igp
from models.active.learner import terrain
from models.active.student import Student
from models.data.graphs import load


def test_a_trace_tells_the_accuracy_that_a_budget_buys_in_whole_batches() -> None:
    trace = igp.Trace(np.array([0.0, 5.0, 12.5, 70.0]), np.array([0.3, 0.5, 0.6, 0.9]), exact=3.0)

    # Budgets are 6, 9, ... 60.
    assert trace.at()[[0, 2, 3, -1]].tolist() == [0.5, 0.5, 0.6, 0.6]


def test_what_it_costs_to_be_good_enough_is_the_largest_budget_where_it_never_is() -> None:
    trace = igp.Trace(np.array([0.0, 5.0, 12.5]), np.array([0.3, 0.5, 0.6]), exact=3.0)

    assert trace.until(0.6) == 12.5
    assert trace.until(0.7) == 60.0


def test_each_seed_draws_a_part_of_the_pool_for_its_own() -> None:
    ground = terrain(load("sbm"), igp.STEPS)

    drawn = [igp._drawn(ground, seed) for seed in (0, 0, 1)]

    assert [len(each.pool) for each in drawn] == [round(0.8 * len(ground.pool))] * 3
    assert all(np.isin(each.pool, ground.pool).all() and (np.diff(each.pool) > 0).all() for each in drawn)
    assert (drawn[0].pool == drawn[1].pool).all()
    assert (drawn[0].pool != drawn[2].pool).any()
    assert drawn[0].influence is ground.influence


@pytest.mark.parametrize("account", igp.ACCOUNTS)
def test_a_campaign_goes_to_the_largest_budget_whatever_it_asks(account: str) -> None:
    ground = terrain(load("sbm"), igp.STEPS)
    student = Student(ground.features)
    for query in ("relaxed", "exact", "either"):
        trace = igp._trace(ground, student, igp.Method("igp", query), account, 0)

        assert (np.diff(trace.spent) > 0).all()
        assert trace.spent[-2] < igp.BUDGETS[-1] * trace.exact <= trace.spent[-1]


def test_a_small_run_compares_all_methods_in_both_accounts(tmp_path: Path) -> None:
    file = tmp_path / "igp.json"

    igp.main(["--json", str(file)], igp.Scale(2, datasets=("sbm",)))

    result = json.loads(file.read_text())
    methods = {row["method"] for row in result["rows"]}
    assert methods == {method.name for method in (igp.IGP, *igp.RIVALS, *igp.ABLATIONS)}
    for account in igp.ACCOUNTS:
        gain = result["headline"][f"sbm_{account}_auc_gain_vs_best_baseline"]
        low, high = (result["headline"][f"sbm_{account}_auc_gain_vs_best_baseline_{end}"] for end in ("low", "high"))
        assert low <= gain <= high
        assert result["headline"][f"sbm_{account}_queries_to_95_percent_igp"] > 0

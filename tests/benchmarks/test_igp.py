"""What the comparison of labelling strategies makes of campaigns, and a small run of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import igp


def test_a_trace_tells_the_accuracy_that_a_budget_buys_in_whole_batches() -> None:
    exact = igp.Trace(np.array([0.0, 3.0, 6.0, 60.0]), np.array([0.3, 0.5, 0.6, 0.9]), relaxed=False)
    relaxed = igp.Trace(np.array([0.0, 12.0, 120.0]), np.array([0.3, 0.7, 0.8]), relaxed=True)

    # Of three classes 6 labels cost 12 questions, and 60 cost 120; the same labels are 9.5 and 95 bits.
    assert exact.at("questions", 3)[[0, 1, -1]].tolist() == [0.6, 0.6, 0.9]
    assert exact.at("bits", 3)[[0, 1, -1]].tolist() == [0.6, 0.6, 0.9]
    assert relaxed.at("questions", 3)[[0, 1, -1]].tolist() == [0.7, 0.7, 0.8]
    assert relaxed.at("bits", 3)[[0, 1, -1]].tolist() == [0.3, 0.7, 0.7]


def test_what_it_costs_to_be_good_enough_is_the_largest_budget_where_it_never_is() -> None:
    trace = igp.Trace(np.array([0.0, 3.0, 6.0]), np.array([0.3, 0.5, 0.6]), relaxed=False)

    assert trace.until(0.5, "questions", 3) == 6.0
    assert trace.until(0.5, "bits", 3) == pytest.approx(3 * np.log2(3))
    assert trace.until(0.7, "questions", 3) == 120.0


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

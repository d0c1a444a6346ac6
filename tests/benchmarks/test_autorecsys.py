"""The benchmark of click-through searches, as small as it gets: it ends, and its figures mean what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import autorecsys
from benchmarks._ctr_studies import Found, difference
from models.data.clicks import generate


def found(table, odds):
    from models.recsys.ctr.measures import auc

    judged = auc(odds, table.labels[table.rows("test")])
    return Found({}, 0.5, judged, 100.0, 1.0, odds)


def test_a_difference_of_the_same_trainings_is_nothing():
    table = generate(1_000)
    rng = np.random.default_rng(0)
    ours = [found(table, rng.standard_normal(100).astype(np.float32)) for _ in range(2)]

    assert difference(table, ours, ours, resamples=20) == (0.0, 0.0, 0.0)


def test_a_clear_difference_has_an_interval_above_nothing():
    table = generate(4_000)
    truth = table.truth[table.rows("test")].astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(len(truth)).astype(np.float32)

    mean, low, high = difference(table, [found(table, truth)], [found(table, noise)], resamples=50)

    assert 0.2 < low < mean < high


@pytest.mark.slow
def test_a_small_run_gives_every_headline(tmp_path):
    scale = autorecsys.Scale("generated", 400, chunks=3, chunk_rows=64, budget=5, seeds=1)

    autorecsys.main(["--quick", "--json", str(tmp_path / "found.json")], scale)

    result = json.loads((tmp_path / "found.json").read_text())
    assert set(result["headline"]) >= {
        *("auc_minus_best_tuned_baseline", "auc_minus_best_tuned_baseline_low", "parameters_share_at_equal_auc"),
        *("embedding_matters", "interaction_matters", "design_matters", "components_matters"),
    }
    assert 0 < result["headline"]["parameters_share_at_equal_auc"] <= 1
    assert len(result["rows"]) == 7 + 2 + 4 + 4

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import zoomer
from benchmarks._harness import Result
from benchmarks._zoomer_runs import Field, Run, difference, standard_error
from models.data.interactions import generate, split_globally


def test_every_recipe_is_trained_and_every_claim_has_its_figure(monkeypatch):
    monkeypatch.setattr(zoomer, "SAMPLER_SECONDS", 0.01)
    made = split_globally(generate(40, 30, 8, 2_000, seed=1))
    place = zoomer.Place("tiny", made, (2, 2), (2, 3), 256, 2, (1,), rows=200, baseline_full=5)
    result = Result("zoomer", "command")

    zoomer._compare(place, Field.of(place.name, place.split, place.rows, 20), result, "")

    assert {row["recipe"].split()[0] for row in result.rows} == {"zoomer", "graphsage", "pinsage", "han", "ablation"}
    assert {"auc_ceiling", "auc_minus_best_baseline", "auc_lost_with_uniform", "auc_lost_with_no_edge_level"} <= set(
        result.headline
    )
    low, gap, high = (result.headline[f"auc_minus_best_baseline{end}"] for end in ("_low", "", "_high"))
    assert low <= gap <= high
    assert all(result.headline[f"{method}_samples_per_second"] > 100 for method in ("roi", "uniform"))


def test_each_kind_is_searched_for_as_long_and_keeps_what_it_is():
    made = split_globally(generate(40, 30, 8, 2_000, seed=1))
    place = zoomer.Place("tiny", made, (2, 2), (2, 3), 256, 3, (1,), 200, 5, 0.5, (1, 2))
    result = Result("zoomer", "command")

    zoomer._compare_tuned(place, Field.of(place.name, place.split, place.rows, 20), result)

    rows = {str(row["recipe"]).split(",")[0]: row for row in result.rows}
    assert rows.keys() == {"zoomer", "graphsage", "pinsage", "han"}
    assert all(int(row["whole trainings"]) >= 1 for row in rows.values())
    methods = {"zoomer": "roi", "graphsage": "uniform", "pinsage": "importance", "han": "full"}
    assert all(f"method='{method}'" in str(rows[name]["settings"]) for name, method in methods.items())
    assert "levels=Levels(feature=False, edge=True, semantic=True, focal=False)" in str(rows["han"]["settings"])
    assert "levels=Levels(feature=False, edge=False, semantic=False" in str(rows["graphsage"]["settings"])
    low, gap, high = (result.headline[f"tuned_auc_minus_best_baseline{end}"] for end in ("_low", "", "_high"))
    assert low <= gap <= high


def test_the_speedup_is_counted_to_the_same_auc_within_a_standard_error():
    clicked = np.arange(2_000) % 2 == 0
    full = Run(seconds=[10, 20, 30], valid=[0.5, 0.6, 0.7], test=[0.5, 0.6, 0.7])
    small = Run(seconds=[1, 2, 3], valid=[0.5, 0.6, 0.6], test=[0.5, 0.6, 0.69])
    never = Run(seconds=[0.1, 0.2], valid=[0.5, 0.6], test=[0.5, 0.6])

    assert standard_error(0.7, clicked) == pytest.approx(0.0117, abs=5e-4)
    assert zoomer._speedup([full], [[small], [never]], clicked) == pytest.approx(10.0)
    assert zoomer._speedup([full], [[never]], clicked) is None


def test_a_difference_has_an_interval_around_it():
    rng = np.random.default_rng(0)
    clicked = rng.random(500) < 0.5
    good, bad = (clicked * shift + rng.standard_normal(500) for shift in (2.0, 0.0))

    gap, low, high = difference([good], [bad], clicked)

    assert 0 < low < gap < high


def test_an_interval_counts_what_another_seed_would_change():
    rng = np.random.default_rng(0)
    clicked = rng.random(500) < 0.5
    good, bad, chance = (clicked * shift + rng.standard_normal(500) for shift in (2.0, 0.0, 0.0))

    _, alike_low, alike_high = difference([good, good], [bad, bad], clicked)
    _, low, high = difference([good, chance], [bad, bad], clicked)

    assert high - low > 3 * (alike_high - alike_low)

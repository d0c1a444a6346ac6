from __future__ import annotations

import numpy as np
import pytest

from benchmarks import zoomer
from benchmarks._harness import Result
from benchmarks._zoomer_runs import Field, Run, difference, standard_error
from models.data.interactions import generate, split_globally


def test_every_recipe_is_trained_and_every_claim_has_its_figure():
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

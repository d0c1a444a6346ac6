"""The benchmark of PaSca runs part by part on small generated graphs; no figure is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _pasca_accuracy, _pasca_propagation, _pasca_search, pasca
from benchmarks._pasca_accuracy import Trained
from benchmarks._pasca_scale import Curve
from benchmarks._pasca_search import Search
from benchmarks.pasca import Scale
from models.data.graphs import Graph, sbm
from models.gnn.operators import normalised

TINY = Scale(
    *(2, 10, ("gcn", "jknet", "v3"), 2),
    *(18, 2, 4, False),
    *((3000, 20_000, 2.0), (2000, 10_000), (2000, 10_000)),
    *((2,), 1),
)
HEADLINES = {
    "accuracy": {"v3_minus_jknet_points", "gcn_citeseer_minus_literature", "gcn_pubmed_minus_literature"},
    "search": {"hypervolume_ratio_vs_random", "hypervolume_ratio_vs_nsga2", "front_dominates_named"},
    "scale": {"speedup_v3_vs_jknet"},
    "propagation": {f"propagation_{name}_gb_per_second" for name in ("ours", "scipy", "torch", "copy")},
    "workers": {"workers_speedup"},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEWRIGHT_CACHE_DIR", str(tmp_path / "cache"))

    def generated(name: str) -> Graph:
        return sbm(400, 3, name=name, seed=len(name))

    monkeypatch.setattr(_pasca_accuracy, "load", generated)


@pytest.mark.slow
@pytest.mark.parametrize("part", HEADLINES)
def test_each_part_measures_its_headline(part: str, tmp_path: Path) -> None:
    pasca.main(["--quick", "--part", part, "--json", str(tmp_path / "result.json")], TINY)

    found = json.loads((tmp_path / "result.json").read_text())
    assert found["rows"]
    assert HEADLINES[part] <= set(found["headline"])


def test_an_epoch_is_chosen_by_validation_and_tested_there() -> None:
    graph = sbm(400, 3, seed=1)

    class Learner:
        """Validation is best at epoch 10, test at epoch 20."""

        epoch = 0

        def fit(self) -> None:
            self.epoch += 1

        def scores(self) -> np.ndarray:
            right = np.eye(3, dtype=np.float32)[graph.labels]
            wrong = np.roll(right, 1, axis=1)
            made = wrong.copy()
            made[graph.valid] = (right if self.epoch == 10 else wrong)[graph.valid]
            made[graph.test] = (right if self.epoch == 20 else wrong)[graph.test]
            return made

    make: Callable = lambda graph, seed: Learner()  # noqa: E731
    found = _pasca_accuracy.trained(make, graph, 0, 30)

    assert (found.epoch, found.valid, found.test) == (10, 100.0, 0.0)


def test_each_product_makes_its_own_result() -> None:
    csr = normalised(sbm(400, 3, seed=1), "symmetric")
    x = np.ones((400, 16), dtype=np.float32)

    products = _pasca_propagation._products(csr, x)
    made, again, *others = (np.asarray(products[name]()) for name in ("ours", "ours", "scipy", "torch"))

    assert not np.shares_memory(made, again)
    for other in others:
        np.testing.assert_allclose(other, made, rtol=1e-5)


def test_products_are_timed_in_turns_by_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    ticks = iter(range(100))
    monkeypatch.setattr(_pasca_propagation.time, "process_time", lambda: next(ticks) ** 2)
    calls = {name: lambda name=name: called.append(name) for name in "abc"}

    found = _pasca_propagation._shortest(calls)

    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    # The nine take 1, 5, 9, ... 33 in the order of their calls.
    assert found == {"a": 1, "b": 5, "c": 9}


def test_a_curve_gives_the_first_time_at_which_an_accuracy_was_seen() -> None:
    curve = Curve([(1.0, 50.0), (2.0, 70.0), (3.0, 60.0), (4.0, 72.0)], 4, 0.5)

    assert curve.best == 72.0
    assert curve.seconds(60) == 2.0
    assert curve.seconds(71) == 4.0


def test_a_study_dominates_what_it_is_nowhere_worse_than_and_somewhere_better() -> None:
    found = Search(np.array([[0.2, 1.0, 1.0], [0.4, 0.0, 0.0]]), [])

    assert found.dominates(np.array([0.2, 1.5, 1.0]))
    assert not found.dominates(np.array([0.2, 1.0, 1.0]))
    assert not found.dominates(np.array([0.1, 2.0, 2.0]))
    assert 0 < found.volume < 1


def test_intervals_of_few_seeds_hold_what_is_true_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    ratios = [_pasca_search._ratio("ratio", np.exp(rng.normal(0.1, 0.05, 5))) for _ in range(250)]
    differences = []
    for _ in range(250):
        runs = {
            (name, method): [Trained(0.0, test, 0, 0.0, 0.0) for test in rng.normal(70, 1, 5)]
            for name in _pasca_accuracy.SETS
            for method in ("v3", "jknet", "gcn")
        }
        differences.append(_pasca_accuracy._headline(runs, 5))

    hit = [found["ratio_low"] <= np.exp(0.1) <= found["ratio_high"] for found in ratios]
    met = [found["v3_minus_jknet_points_low"] <= 0 <= found["v3_minus_jknet_points_high"] for found in differences]
    assert 0.91 < np.mean(hit) < 0.99
    assert 0.91 < np.mean(met) < 0.99
    assert all(found["ratio_low"] < found["ratio"] < found["ratio_high"] for found in ratios)

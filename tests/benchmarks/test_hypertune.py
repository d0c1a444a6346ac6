"""The benchmark's JSON: its headlines and rows, from a run that is as small as can be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import hypertune
from benchmarks._harness import Arguments, publish
from benchmarks.data import load
from benchmarks.peers import environment
from optimizers import registry
from optimizers.errors import OptimizerError

TINY = replace(hypertune.QUICK, tables=("xgboost_breast_cancer",), modelled=(), trainings={4: 3.0}, seeds=1)
ASKED = Arguments(quick=True, json=None, command="python -m benchmarks.hypertune --quick")


@pytest.fixture(autouse=True)
def _few_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypertune, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(hypertune, "OURS", ("hypertune", "random", "asha", "bohb"))


@pytest.mark.slow
def test_the_result_has_its_headlines_and_is_json(tmp_path: Path) -> None:
    race, result = hypertune.run(TINY, ASKED, peers="none")
    publish(result, tmp_path / "result.json", Console(quiet=True))

    written = json.loads((tmp_path / "result.json").read_text())
    assert not race.failed
    assert written["name"] == "hypertune"
    assert written["command"].endswith("--quick")
    assert {"speedup_vs_bohb_geomean", "speedup_vs_bohb_geomean_low", "speedup_vs_bohb_max", "regret_rank_mean"} <= set(
        written["headline"]
    )
    assert all(math.isfinite(value) for value in written["headline"].values())
    assert {row["method"] for row in written["rows"] if "rank_mean" in row} == set(hypertune.OURS)


@pytest.mark.slow
def test_an_interrupted_run_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = hypertune.run(TINY, ASKED, peers="none")

    def fail(*_: object) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr(hypertune, "_simulate", fail)
    _, second = hypertune.run(TINY, ASKED, peers="none", resume=True)

    assert second.headline == first.headline
    assert second.rows == first.rows


def test_a_method_that_is_missing_is_an_error_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypertune, "OURS", ("random", "no_such_method"))
    monkeypatch.setattr(hypertune, "QUICK", TINY)

    with pytest.raises(SystemExit, match=r'no_such_method: .*"no_such_method" is unknown'):
        hypertune.main(["--quick", "--peers", "none"])


def test_legs_that_cost_something_to_start_are_raced_by_who_counts_that_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypertune, "OURS", ("random",))

    free, dear = (hypertune.run(replace(TINY, start=start), ASKED, peers="none")[0] for start in (0.0, 1.0))

    ((freely,), (dearly,)) = (race.outcomes.values() for race in (free, dear))
    assert set(freely) == {"random"}
    assert set(dearly) == {"random", "hypertune: cost-aware"}
    assert [task.horizon for task in dear.tasks] == [2 * task.horizon for task in free.tasks]
    # The first whole training is there no sooner than after a start.
    assert dearly["random"][0].steps[0][0] > dear.tasks[0].start


def test_all_methods_and_ablations_are_in_the_registry() -> None:
    problem = load("mlp_diabetes").problem()

    for method in ("hypertune", "random", "asha", "hyperband", "bohb", "mobster", "tpe", *hypertune.SETTINGS):
        try:
            registry.create(method.split(":")[0], hypertune.SETTINGS.get(method, {}), problem)
        except OptimizerError as error:
            pytest.fail(f"{method}: {error}")


@pytest.mark.slow
def test_headlines_are_of_recorded_and_modelled_tables_together_and_apart() -> None:
    scale = replace(TINY, modelled=(("cell", 100),), trainings={2: 6.0})

    _, result = hypertune.run(scale, ASKED, peers="none")

    names = [f"{kind}speedup_vs_bohb_geomean" for kind in ("", "recorded_", "modelled_")]
    assert set(names) <= set(result.headline)
    assert result.headline["tasks"] == 2


def test_the_ladder_has_four_rungs_from_a_twenty_seventh() -> None:
    task = hypertune.Task(load("xgboost_diabetes"), workers=8, horizon=1.0)

    fidelity = task.problem(seed=3).fidelity
    assert (fidelity.min, fidelity.max) == (3, 81)


@pytest.mark.parametrize("method", ["hypertune", "dehb"])
def test_a_run_is_simulated_again_after_a_change_of_what_simulates_it(method: str) -> None:
    found = {str(file.relative_to(hypertune.ROOT)) for file in hypertune._sources(method, "xgboost_digits")}

    code = {"benchmarks/hypertune.py", "benchmarks/_speedups.py", "tunewright/space.py", "tunewright/study.py"}
    assert found >= code | {"optimizers/initial.py", "optimizers/candidates.py", "benchmarks/data/xgboost_digits.npz"}


def test_a_peer_is_simulated_again_after_a_change_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ENVIRONMENT", tmp_path)
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "scipy-1.0.dist-info").mkdir(parents=True)
    fingerprint = hypertune._fingerprint.__wrapped__
    peer, ours = (fingerprint(method, "xgboost_digits") for method in ("dehb", "hypertune"))

    (packages / "scipy-1.0.dist-info").rename(packages / "scipy-1.1.dist-info")

    assert fingerprint("dehb", "xgboost_digits") != peer
    assert fingerprint("hypertune", "xgboost_digits") == ours

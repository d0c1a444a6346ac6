"""The benchmarks of mixtures of experts run from end to end; how fast things are depends on the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the peers are transformers' blocks")

from benchmarks import alltoall, dts, moe_layer
from benchmarks._dts_runs import Curve, speedup
from benchmarks._moe_blocks import Shape


def test_a_speedup_is_the_cost_of_reaching_the_other_s_best_loss() -> None:
    fast = Curve([10, 20, 30], [5.0, 3.0, 2.0], [1.0, 2.0, 3.0], [1, 2, 3])
    slow = Curve([10, 20, 30], [6.0, 5.0, 4.0], [1.0, 2.0, 3.0], [1, 2, 3])

    assert speedup(fast, slow, "steps") == pytest.approx(30 / 15)
    assert speedup(slow, fast, "flops") == pytest.approx(1.5 / 3)
    assert slow.reaches(1.0, slow.steps) is None


@pytest.mark.slow
def test_the_layer_s_benchmark_finds_equal_results(tmp_path: Path) -> None:
    shapes = [Shape("switch", 64, 4, 1, 16, 64), Shape("mixtral", 64, 8, 2, 16, 56), Shape("qwen", 64, 16, 8, 16, 8)]

    moe_layer.main(["--json", str(tmp_path / "found.json")], moe_layer.Scale(shapes, turns=2, seconds=1.0))

    found = json.loads((tmp_path / "found.json").read_text())
    assert {"speedup_vs_einsum_max", "speedup_vs_best_peer_geomean"} <= set(found["headline"])
    assert found["headline"]["max_error"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 6])
def test_the_gates_benchmark_tunes_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    small = {**dts.TEXT, "dataset": "grammar", "steps": 2, "vocabulary": 300}
    monkeypatch.setattr(dts, "_text", lambda scale: dts.read_options(small))
    scale = dts.Scale(steps=2, units=3, seeds=(1,), budget=budget)

    dts.main(["--json", str(tmp_path / "found.json")], scale)

    found = json.loads((tmp_path / "found.json").read_text())
    assert {"dts_steps_speedup_vs_switch", "dts_flops_speedup_vs_switch"} <= set(found["headline"])
    assert {row["gate"] for row in found["rows"] if "gate" in row} == {"switch", "dense_to_sparse", *dts.OTHERS}


@pytest.mark.slow
def test_the_exchange_s_benchmark_runs_shaped_or_not(tmp_path: Path) -> None:
    scale = alltoall.Scale([(2, 2, "200mbit")], (64, 4096), 3)

    alltoall.main(["--json", str(tmp_path / "found.json")], scale)

    found = json.loads((tmp_path / "found.json").read_text())
    assert {"speedup_hier_max", "auto_behind_max"} <= set(found["headline"])
    assert {row["bytes"] for row in found["rows"]} == {64, 4096}

"""The benchmark of walks, small: every engine gives the same walks, and all headline figures are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _walks_baselines as baselines
from benchmarks import _walks_peers, walks
from models.data.edges import rmat
from models.walks.build import build_graph
from models.walks.kernels import decode
from models.walks.memory import LoadedGraph
from models.walks.rule import Rule

TINY = walks.Scale(12, 60_000, 5, 30.0, 10, 10, (), 1, (80_000,), 80_000, (1,), ratio=1.3)


@pytest.mark.parametrize("engine", [baselines.buckets, baselines.sogw, baselines.sgsc, baselines.mapped])
def test_baselines_take_the_same_walks(tmp_path: Path, engine) -> None:
    graph = build_graph(rmat(10, 8_000, seed=1), tmp_path / "graph", segment_bytes=2048)
    rule = Rule(0.5, 2.0, 6, seed=3)
    expected = LoadedGraph.of(graph).walk(rule)
    steps = int((expected[:, 1:] != 2**32 - 1).sum())
    task = baselines.Task(graph, rule, 60_000, tmp_path / "work", 60.0, steps)
    kept = []

    class Kept(baselines.AppendStore):
        def append_parts(self, names: list[str], array: np.ndarray, begins: np.ndarray) -> None:
            if names == ["steps-0"]:
                kept.append(array.copy())
            super().append_parts(names, array, begins)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "AppendStore", Kept)
        measured = engine(task)

    found = np.full_like(expected, 2**32 - 1)
    found[:, 0] = expected[:, 0]
    decode(np.concatenate(kept), found, np.ones(len(found), np.int64))
    assert np.array_equal(found, expected)
    assert measured.share == 1
    assert measured.bytes_read > 0


def test_what_a_stopped_baseline_would_have_read_counts_only_where_none_ran_to_its_end() -> None:
    def measured(seconds: float, share: float) -> baselines.Measured:
        return baselines.Measured(seconds, share, bytes_read=0, loads=0, reads=0, read_seconds=0.0)

    stopped, slower, whole = measured(10.0, 0.2), measured(30.0, 1.0), measured(20.0, 1.0)

    assert walks._best_whole([stopped, slower, whole]) is whole
    assert walks._best_whole([measured(11.0, 0.2), stopped]) is stopped


@pytest.mark.slow
def test_all_headline_figures_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_walks_peers, "pecanpy", lambda *_, **__: {"SparseOTF": 1e5, "PreComp": None})
    monkeypatch.chdir(Path(walks.__file__).parents[1])

    walks.main(["--json", str(tmp_path / "out.json")], TINY)

    headline = json.loads((tmp_path / "out.json").read_text())["headline"]
    assert set(headline) >= {
        "speedup_vs_sogw",
        "speedup_vs_best_disk_baseline",
        "bytes_read_ratio",
        "block_loads_ratio",
        "steps_per_second_vs_pecanpy",
        "steps_per_second_share_of_limit",
        "peak_rss_over_budget_mb",
    }

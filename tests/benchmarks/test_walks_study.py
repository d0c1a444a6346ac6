"""The study of node2vec against its default: nothing is judged by what was trained on, and it runs to its end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import walks_study
from benchmarks._equal_compute import held
from models.data.edges import EdgeList, communities
from models.walks.workload import Node2vecWorkload


def _keys(pairs: np.ndarray) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in pairs.tolist()}


def test_edges_put_aside_are_not_among_those_that_are_tuned_on() -> None:
    graph = communities(60)

    known, judged = walks_study.put_aside(graph, draw=0)

    ids = np.unique(known)
    hidden = ids[judged.hidden[judged.hidden_labels]]
    assert len(hidden)
    assert _keys(hidden) <= _keys(graph.edges)
    assert not _keys(hidden) & _keys(known)
    assert not _keys(ids[judged.hidden[~judged.hidden_labels]]) & _keys(graph.edges)
    assert _keys(known) < _keys(graph.edges)


def test_vertices_that_lose_all_their_edges_are_not_judged() -> None:
    star = np.array([[0, leaf] for leaf in range(1, 40)] + [[a, a + 1] for a in range(1, 39, 2)])
    graph = EdgeList(40, star, np.zeros((40, 0), np.bool_))

    known, judged = walks_study.put_aside(graph, draw=1)

    assert judged.seen.max() == len(np.unique(known)) - 1
    for pairs, labels in ((judged.known, judged.known_labels), (judged.hidden, judged.hidden_labels)):
        assert len(pairs) == len(labels)
        assert pairs.min() >= 0


def test_a_parameter_can_be_held() -> None:
    space = held(Node2vecWorkload.space, {"p": 1.0, "q": 1.0})

    configs = [space.decode(point) for point in np.random.default_rng(0).random((20, space.dimension))]

    assert {(config["p"], config["q"]) for config in configs} == {(1.0, 1.0)}
    assert len({config["rate"] for config in configs}) > 10
    assert space.names == Node2vecWorkload.space.names


@pytest.mark.slow
def test_the_whole_benchmark_publishes_its_headlines(tmp_path: Path) -> None:
    walks_study.main(["--json", str(tmp_path / "a.json")], walks_study.Scale(("communities",), draws=1, budget=1.0))

    found = json.loads((tmp_path / "a.json").read_text())
    (row,) = found["rows"]
    assert 50 < row["tuned AUC %"] <= 100
    assert row["defaults s"] >= row["study s"] > 0
    figure = "communities_tuned_minus_default_points"
    assert found["headline"][figure] == pytest.approx(row["tuned AUC %"] - row["default AUC %"])
    assert {f"{figure}_low", "communities_tuned_minus_first_order_points_high"} <= set(found["headline"])

"""Second-order PageRank by walks against its exact value on a small graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.walks import corpus as corpora
from models.walks import pagerank
from models.walks.errors import GraphError
from models.walks.format import Graph
from models.walks.pagerank import pagerank2
from tests.models.walks.graphs import skewed, tiny, transitions


def exact(graph: Graph, query: int, p: float, q: float, decay: float) -> np.ndarray:
    n = graph.vertices
    second = transitions(graph, p, q)
    first = (second.sum(axis=0) > 0).astype(float)[query]
    offsets, neighbours, _ = graph.load()
    first = np.zeros(n)
    first[neighbours[offsets[query] : offsets[query + 1]]] = 1 / (offsets[query + 1] - offsets[query])
    scores = np.zeros(n)
    scores[query] = 1
    pairs = np.zeros((n, n))
    pairs[query] = decay * first
    for _ in range(80):
        scores += pairs.sum(axis=0)
        pairs = decay * np.einsum("tv,tvx->vx", pairs, second)
    return (1 - decay) * scores


def test_scores_agree_with_the_exact_ones_within_their_errors(tmp_path: Path) -> None:
    graph = tiny(tmp_path / "graph")

    answers, outcome = pagerank2(graph, [6, 0], p=0.5, q=2.0, walks=20_000, directory=tmp_path)

    for answer, query in zip(answers, (6, 0), strict=True):
        truth = exact(graph, query, 0.5, 2.0, 0.85)
        assert answer.query == query
        assert answer.scores.sum() == pytest.approx(1, abs=0.02)
        assert (np.abs(answer.scores - truth[answer.vertices]) < 5 * answer.errors).all()
        assert (np.diff(answer.scores) <= 0).all()
    assert outcome.corpus.rows == 40_000
    assert list(tmp_path.iterdir()) == [graph.path]


def test_walks_counted_in_parts_give_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = skewed(tmp_path / "graph")
    whole, _ = pagerank2(graph, [8, 3, 5], walks=300)

    monkeypatch.setattr(corpora, "SHARD_ROWS", 128)
    monkeypatch.setattr(pagerank, "_COUNTING_BYTES", 100_000)
    parts, _ = pagerank2(graph, [8, 3, 5], walks=300)

    for one, other in zip(whole, parts, strict=True):
        assert one.query == other.query
        assert np.array_equal(one.vertices, other.vertices)
        assert np.array_equal(one.scores, other.scores)
        assert np.array_equal(one.errors, other.errors)


def test_no_walks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="walks: 0 must be at least 1"):
        pagerank2(tiny(tmp_path / "graph"), [1], walks=0)


def test_any_budget_gives_the_same_scores(tmp_path: Path) -> None:
    graph = skewed(tmp_path / "graph")

    (small,), _ = pagerank2(graph, [3], walks=200, memory_budget=180_000)
    (large,), _ = pagerank2(graph, [3], walks=200)

    assert np.array_equal(small.vertices, large.vertices)
    assert np.array_equal(small.scores, large.scores)


@pytest.mark.parametrize("queries", [[], [1, 1], [9], [-1]])
def test_queries_that_are_no_vertices_are_refused(tmp_path: Path, queries: list[int]) -> None:
    graph = tiny(tmp_path / "graph")

    with pytest.raises(GraphError, match="queries: must be distinct vertices, from 0 to 8"):
        pagerank2(graph, queries)

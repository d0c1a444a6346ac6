"""Vectors learnt from walks: deterministic, in pieces or whole, and good for what they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.data.edges import communities
from models.walks.build import build_graph
from models.walks.embed import embed
from models.walks.engine import walk
from models.walks.errors import GraphError
from models.walks.evaluation import Groups, Links, area_under_curve
from models.walks.memory import LoadedGraph
from models.walks.rule import Rule
from models.walks.skipgram import SkipGram, _dot

GRAPH = communities(200, 4)
LOADED = LoadedGraph.from_edges(GRAPH.edges, GRAPH.vertices)


def learnt(rounds: int, dimensions: int = 16, seed: int = 1) -> SkipGram:
    vectors = SkipGram.start(np.diff(LOADED.offsets), dimensions, seed)
    for turn in range(rounds):
        walks = LOADED.rows(Rule(length=20, seed=seed), turn * 200, (turn + 1) * 200)
        vectors.learn(walks, turn * 200, window=4, negatives=5, rate=0.1)
    return vectors


def test_groups_and_hidden_links_are_found_from_vectors() -> None:
    vectors = learnt(6).inner

    micro, macro = Groups.split(GRAPH, 0).f1(vectors)
    links = Links.split(GRAPH, 0)

    assert micro > 0.9
    assert macro > 0.9
    assert links.auc(vectors) > 0.7
    assert links.auc(np.random.default_rng(0).random((200, 16), np.float32)) < 0.65


def test_the_loss_falls() -> None:
    vectors = SkipGram.start(np.diff(LOADED.offsets), 16, 1)
    walks = LOADED.walk(Rule(length=20))

    losses = [vectors.learn(walks, 0, window=4, negatives=5, rate=rate) for rate in (1e-9, 0.1, 0.1, 0.1)]

    assert losses[0] == pytest.approx(6 * np.log(2), rel=0.05)
    assert losses[-1] < losses[0] - 0.3


def test_pieces_of_walks_give_the_vectors_of_the_whole() -> None:
    walks = LOADED.walk(Rule(length=20))
    whole, pieces = (SkipGram.start(np.diff(LOADED.offsets), 16, 1) for _ in range(2))

    whole.learn(walks, 0, window=4, negatives=2, rate=0.05)
    for first in (0, 70, 140):
        pieces.learn(walks[first : min(first + 70, 200)], first, window=4, negatives=2, rate=0.05)

    assert np.array_equal(whole.inner, pieces.inner)
    assert np.array_equal(whole.outer, pieces.outer)


def test_a_pair_moves_along_the_exact_gradient() -> None:
    vectors = SkipGram.start(np.array([1, 1]), 8, 1)
    vectors.inner[:], vectors.outer[:] = 0.1, np.float32([[0.2] * 8, [0.3] * 8])

    vectors.learn(np.array([[0, 1]], np.uint32), 0, window=1, negatives=0, rate=0.5)

    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    error = 0.5 * (1 - sigmoid(8 * 0.1 * 0.3))
    assert vectors.inner[0] == pytest.approx(0.1 + error * 0.3, rel=1e-5)
    assert vectors.outer[1] == pytest.approx(0.3 + error * 0.1, rel=1e-5)


def test_dot_products_are_right() -> None:
    left, right = np.random.default_rng(0).random((2, 24), np.float32)
    assert _dot(left, right) == pytest.approx(float(left @ right), rel=1e-5)


def test_area_under_the_curve_counts_ties_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    assert area_under_curve(scores, np.array([False, False, True, True])) == pytest.approx(0.875)


def test_hidden_links_are_not_seen_and_others_are_no_links() -> None:
    links = Links.split(GRAPH, 3)
    edges = {tuple(sorted(edge)) for edge in GRAPH.edges.tolist()}

    seen = {tuple(edge) for edge in links.seen.tolist()}
    assert not seen & {tuple(pair) for pair in links.hidden[links.hidden_labels].tolist()}
    assert not edges & {tuple(pair) for pair in links.hidden[~links.hidden_labels].tolist()}
    assert not edges & {tuple(pair) for pair in links.known[~links.known_labels].tolist()}
    assert links.hidden_labels.mean() == links.known_labels.mean() == 0.5


def test_vectors_are_written_from_a_corpus(tmp_path: Path) -> None:
    graph = build_graph(GRAPH.edges, tmp_path / "graph")
    walk(graph, tmp_path / "walks", Rule(length=10), walks_per_vertex=2)

    embed(graph.path, tmp_path / "walks", tmp_path / "vectors.npy", dimensions=16, epochs=2)

    assert np.load(tmp_path / "vectors.npy").shape == (200, 16)
    other = build_graph(GRAPH.edges[:50], tmp_path / "other")
    with pytest.raises(GraphError, match="are walks of another graph"):
        embed(other.path, tmp_path / "walks", tmp_path / "again.npy")
    with pytest.raises(GraphError, match=r"name the file \.npy"):
        embed(graph.path, tmp_path / "walks", tmp_path / "vectors.txt")
    with pytest.raises(GraphError, match="dimensions: 10 must be a multiple of 8"):
        embed(graph.path, tmp_path / "walks", tmp_path / "again.npy", dimensions=10)


def test_a_graph_without_groups_or_links_to_hide_is_refused() -> None:
    with pytest.raises(GraphError, match=r"data\.task: groups cannot be predicted"):
        Groups.split(type(GRAPH)(3, GRAPH.edges[:2], np.zeros((3, 0), np.bool_)), 0)
    with pytest.raises(GraphError, match="too few or too many to hide some"):
        Links.split(type(GRAPH)(3, np.array([[0, 1]]), np.zeros((3, 0), np.bool_)), 0)

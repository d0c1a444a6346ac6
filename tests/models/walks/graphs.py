"""Small graphs for tests, and their exact second-order transitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.walks.build import build_graph
from models.walks.format import Graph


def skewed(path: Path, n: int = 1500, edges: int = 20_000, segment_bytes: int = 1024, seed: int = 0) -> Graph:
    """A graph with hubs, dead ends where it is directed, and isolated vertices at its end."""
    ends = (np.random.default_rng(seed).random((edges, 2)) ** 2 * n).astype(np.int64)
    return build_graph(ends, path, segment_bytes=segment_bytes, vertices=n + 5)


def tiny(path: Path, *, directed: bool = False, weighted: bool = False) -> Graph:
    """Nine vertices with triangles, a leaf and different degrees."""
    pairs = [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (4, 5), (3, 5), (5, 6), (6, 0), (6, 7), (0, 4), (1, 8)]
    if directed:
        pairs += [(2, 0), (4, 3), (5, 0), (0, 5), (1, 0), (8, 1), (7, 2), (2, 1)]
    rows = np.array([(a, b, 0.5 + (3 * a + b) % 5) for a, b in pairs])
    return build_graph(rows if weighted else rows[:, :2].astype(int), path, directed=directed, weighted=weighted)


def transitions(graph: Graph, p: float, q: float) -> NDArray[np.float64]:
    """(n, n, n): probability of x, having come from t to v; rows without an edge t -> v are not meant."""
    offsets, neighbours, _ = graph.load()
    weights = np.fromfile(graph.path / "weights.bin", np.float32) if graph.weighted else np.ones(graph.edges)
    n = graph.vertices
    matrix = np.zeros((n, n))
    for v in range(n):
        matrix[v, neighbours[offsets[v] : offsets[v + 1]]] = weights[offsets[v] : offsets[v + 1]]
    found = np.zeros((n, n, n))
    for t in range(n):
        for v in range(n):
            bias = np.where(matrix[t] > 0, 1.0, 1 / q)
            bias[t] = 1 / p
            mass = bias * matrix[v]
            found[t, v] = mass / max(mass.sum(), 1e-300)
    return found

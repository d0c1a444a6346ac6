"""A short vector for every node of a graph, near to those of nodes with the same neighbours: it tells relevance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from models.recsys.graph import Adjacency

DIMENSIONS = 16
ROUNDS = 2


def node_profiles(adjacency: Adjacency, seed: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Random vectors spread along the edges (as in FastRP, Chen et al. 2019): a projection of the adjacency's powers.

    Every node starts with a random vector of its own; each round replaces it by the mean of its neighbours' vectors,
    weighted against popular neighbours, and the rounds are summed. Nodes without neighbours keep a small vector of
    their own, which is relevant to nobody.

    Returns:
        (nodes, dimensions) float32, of length 1, or near 0 for nodes without neighbours.
    """
    nodes = adjacency.pointers.shape[1] - 1
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((nodes, dimensions), dtype=np.float32) / np.float32(np.sqrt(dimensions))
    lonely = np.diff(adjacency.pointers, axis=1).sum(axis=0) == 0
    total = 0.1 * vectors
    for _ in range(ROUNDS):
        vectors = _spread(adjacency.pointers, adjacency.neighbours, vectors)
        vectors -= vectors[~lonely].mean(axis=0) if (~lonely).any() else 0
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        total += vectors
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6)
    total[lonely] *= 1e-3
    return np.ascontiguousarray(total, np.float32)


@kernel()
def _spread(
    pointers: NDArray[np.int64], neighbours: NDArray[np.int32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Each node's sum of its neighbours' vectors, each over the root of that neighbour's degree."""
    nodes, dimensions = vectors.shape
    degree = np.zeros(nodes, np.float32)
    for node in range(nodes):
        for kind in range(3):
            degree[node] += pointers[kind, node + 1] - pointers[kind, node]
    out = np.zeros_like(vectors)
    for node in range(nodes):
        for kind in range(3):
            for place in range(pointers[kind, node], pointers[kind, node + 1]):
                other = neighbours[place]
                scale = np.float32(1.0) / np.sqrt(degree[other] + np.float32(1.0))
                for d in range(dimensions):
                    out[node, d] += scale * vectors[other, d]
    return out

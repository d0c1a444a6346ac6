"""What vertex vectors are good for: predicting hidden edges, and predicting groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.data.edges import EdgeList
from models.walks.errors import GraphError

HIDDEN_SHARE = 0.2
MOST_PAIRS = 20_000
RIDGE = 1e-3
ITERATIONS = 60


@dataclass(frozen=True)
class Links:
    """Edges to walk on and edges to predict (node2vec, section 4.4).

    Attributes:
        seen: (m, 2) edges to walk on.
        known, hidden: (k, 2) pairs, half edges and half not, to fit the classifier and to test it.
        known_labels, hidden_labels: (k,) bool.
    """

    seen: NDArray[np.int64]
    known: NDArray[np.int64]
    known_labels: NDArray[np.bool_]
    hidden: NDArray[np.int64]
    hidden_labels: NDArray[np.bool_]

    @classmethod
    def split(cls, graph: EdgeList, seed: int, share: float = HIDDEN_SHARE) -> Links:
        """Hide a share of the edges; pairs that are none are drawn evenly."""
        rng = np.random.default_rng(seed)
        edges = np.unique(np.sort(graph.edges, axis=1), axis=0)
        edges = edges[edges[:, 0] != edges[:, 1]]
        order = rng.permutation(len(edges))
        count = int(share * len(edges))
        if count < 2 or len(edges) > graph.vertices * (graph.vertices - 1) // 4:
            raise GraphError(
                f"data: {len(edges)} edges of {graph.vertices} vertices are too few or too many to hide some"
            )
        hidden, seen = edges[order[:count]], edges[order[count:]]
        tested, fitted = hidden[:MOST_PAIRS], seen[: min(MOST_PAIRS, len(seen))]
        none = _no_edges(edges, graph.vertices, len(tested) + len(fitted), rng)
        return cls(
            seen,
            np.concatenate([fitted, none[len(tested) :]]),
            np.arange(2 * len(fitted)) < len(fitted),
            np.concatenate([tested, none[: len(tested)]]),
            np.arange(2 * len(tested)) < len(tested),
        )

    def auc(self, vectors: NDArray[np.float32]) -> float:
        """Area under the ROC curve of a logistic regression on products of two ends' vectors (Hadamard)."""
        scores = _fitted_scores(
            _hadamard(vectors, self.known), self.known_labels[:, None], _hadamard(vectors, self.hidden)
        )
        return area_under_curve(scores[:, 0], self.hidden_labels)


@dataclass(frozen=True)
class Groups:
    """Vertices whose groups are known, and others (the usual protocol on BlogCatalog: half and half)."""

    groups: NDArray[np.bool_]
    known: NDArray[np.int64]
    hidden: NDArray[np.int64]

    @classmethod
    def split(cls, graph: EdgeList, seed: int, share: float = 0.5) -> Groups:
        """Know the groups of a share of the vertices that have some.

        Raises:
            GraphError: the graph has no groups.
        """
        members = np.flatnonzero(graph.groups.any(axis=1)) if graph.groups.shape[1] else np.empty(0, np.int64)
        if len(members) < 4:
            raise GraphError("data.task: groups cannot be predicted, the graph has none; choose links")
        order = np.random.default_rng(seed).permutation(members)
        cut = int(share * len(order))
        return cls(graph.groups, order[:cut], order[cut:])

    def f1(self, vectors: NDArray[np.float32]) -> tuple[float, float]:
        """Micro and macro F1 of one-against-rest logistic regressions; as many groups are named as a vertex has."""
        rows = _scaled(vectors)
        scores = _fitted_scores(rows[self.known], self.groups[self.known], rows[self.hidden])
        truth = self.groups[self.hidden]
        rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1, kind="stable")
        named = rank < truth.sum(axis=1, keepdims=True)
        right, wrong = (named & truth).sum(axis=0), (named ^ truth).sum(axis=0)
        each = 2 * right / np.maximum(2 * right + wrong, 1)
        return float(2 * right.sum() / max(1, (2 * right + wrong).sum())), float(each.mean())


def area_under_curve(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Probability that a true pair scores above a false one, ties half."""
    values, place = np.unique(scores, return_inverse=True)
    counts = np.bincount(place, minlength=len(values))
    ranks = (np.cumsum(counts) - counts + (counts + 1) / 2)[place]
    positive = int(labels.sum())
    negative = len(labels) - positive
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _hadamard(vectors: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = _scaled(vectors)
    found: NDArray[np.float64] = rows[pairs[:, 0]] * rows[pairs[:, 1]] * np.sqrt(rows.shape[1])
    return found


def _scaled(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of length 1; float64, so that no library's rounding decides."""
    rows = vectors.astype(np.float64)
    found: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def _fitted_scores(
    rows: NDArray[np.float64], labels: NDArray[np.bool_], unseen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logistic regressions, one per column of labels (k, c), fitted together; scores (u, c) of unseen rows."""
    width, classes = rows.shape[1], labels.shape[1]
    truth = labels.astype(np.float64)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        matrix = flat.reshape(width + 1, classes)
        margins = rows @ matrix[:-1] + matrix[-1]
        chance = 1 / (1 + np.exp(-np.clip(margins, -500, 500)))
        error = (chance - truth) / len(rows)
        value = float((np.logaddexp(0, margins) - truth * margins).sum() / len(rows))
        slope = np.concatenate([rows.T @ error + RIDGE * matrix[:-1], error.sum(axis=0, keepdims=True)])
        return value + RIDGE / 2 * float(np.square(matrix[:-1]).sum()), slope.ravel()

    start = np.zeros((width + 1) * classes)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
    matrix = best.reshape(width + 1, classes)
    found: NDArray[np.float64] = unseen @ matrix[:-1] + matrix[-1]
    return found


def _no_edges(edges: NDArray[np.int64], vertices: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Distinct pairs (count, 2) that are no edges; edges are sorted, lower end first."""
    keys = edges[:, 0] * vertices + edges[:, 1]
    found: NDArray[np.int64] = np.empty(0, np.int64)
    while len(found) < count:
        pairs = np.sort(rng.integers(0, vertices, (2 * count, 2)), axis=1)
        drawn = pairs[pairs[:, 0] != pairs[:, 1]] @ np.array([vertices, 1])
        drawn = drawn[~np.isin(drawn, keys)]
        joined = np.concatenate([found, drawn])
        _, first = np.unique(joined, return_index=True)
        found = joined[np.sort(first)]
    found = found[:count]
    return np.stack([found // vertices, found % vertices], axis=1)

"""A graph with features and labels: what graph workloads learn from, and how one is made from a list of edges."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import WorkloadError

UNKNOWN = -1
PER_CLASS, VALID, TEST = 20, 500, 1000
# Bytes that are looked at together, where features may be larger than memory.
_BLOCK = 1 << 26

Nodes = NDArray[np.int64]
Part = NDArray[np.integer] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph without self-loops or double edges. Shared between callers: arrays are read only.

    Attributes:
        n: number of nodes.
        indptr: (n + 1,) int64; the neighbours of node i are `indices[indptr[i]:indptr[i + 1]]`, ascending.
        indices: (2 edges,) int32, each edge in both directions.
        features: (n, d) float32, in memory or memory-mapped.
        labels: (n,) int64 classes from 0; -1 where unknown.
        train, valid, test: int64 nodes, ascending, in at most one of the three, all of known label.
        name: for messages and tables.
    """

    n: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    n_classes: int
    train: Nodes
    valid: Nodes
    test: Nodes
    name: str

    @property
    def edges(self) -> int:
        """Number of undirected edges."""
        return len(self.indices) // 2

    @property
    def degrees(self) -> NDArray[np.int64]:
        """(n,) number of neighbours."""
        return np.diff(self.indptr)

    @cached_property
    def structure(self) -> str:
        """Digest of nodes and edges."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.indptr.data)
        digest.update(self.indices.data)
        return digest.hexdigest()

    @cached_property
    def key(self) -> str:
        """Digest of nodes, edges and features: what propagated features depend on."""
        digest = hashlib.blake2b(self.structure.encode(), digest_size=16)
        digest.update(repr(self.features.shape).encode())
        for rows in blocks(self.features):
            digest.update(np.ascontiguousarray(rows).data)
        return digest.hexdigest()


def blocks(features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Views of consecutive rows, each small enough to be read into memory."""
    rows = max(1, _BLOCK // max(1, features.shape[1] * features.itemsize))
    return [features[start : start + rows] for start in range(0, len(features), rows)]


def from_edges(
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    name: str,
    train: Part | None = None,
    valid: Part | None = None,
    test: Part | None = None,
    split_seed: int = 0,
    classes: int | None = None,
) -> Graph:
    """A checked graph from a list of edges.

    Directions are forgotten, self-loops and repeated edges dropped; nodes without an edge are kept.

    Args:
        source, target: (m,) node ids from 0.
        features: (n, d), finite.
        labels: (n,) classes from 0 without gaps, -1 where unknown.
        train, valid, test: the split, as node ids or as masks (n,) of bool; all three or none. None: see `resplit`,
            with `split_seed`.
        classes: how many there are, where labels are still to be given: then not every class has to be met, the split
            may lack parts, and without one all nodes of known class train. None, or no label is unknown: as the labels
            say.
    Raises:
        WorkloadError: ids out of range, features that are not finite, labels or splits that do not fit; says where.
    """
    features = _checked_features(features, name)
    labels, n_classes = _checked_labels(labels, len(features), name, classes)
    unfinished = classes is not None and bool((labels == UNKNOWN).any())
    indptr, indices = _adjacency(source, target, len(features), name)
    nothing = np.empty(0, dtype=np.int64)
    graph = Graph(len(features), indptr, indices, features, labels, n_classes, nothing, nothing, nothing, name)
    parts = {"train": train, "valid": valid, "test": test}
    if all(part is None for part in parts.values()):
        return replace(graph, train=np.flatnonzero(labels != UNKNOWN)) if unfinished else resplit(graph, split_seed)
    if not unfinished and any(part is None for part in parts.values()):
        raise WorkloadError(f"data.dataset: {name} gives a part of a split; give train, valid and test, or none")
    train, valid, test = (
        nothing if given is None else _checked_nodes(given, part, graph.n, name) for part, given in parts.items()
    )
    graph = replace(graph, train=train, valid=valid, test=test)
    check_split(graph, whole=not unfinished)
    return graph


def resplit(graph: Graph, seed: int, *, per_class: int = PER_CLASS, valid: int = VALID, test: int = TEST) -> Graph:
    """The graph with another random split, in the manner of Planetoid's (Yang et al., 2016).

    Args:
        per_class: nodes of each class to train on; at most half of those known.
        valid, test: nodes of any class. Where fewer are left, they are shared out in the same proportion.
    """
    rng = np.random.default_rng([seed, graph.n])
    order = rng.permutation(np.flatnonzero(graph.labels != UNKNOWN))
    train = [
        found[: min(per_class, max(1, len(found) // 2))]
        for label in range(graph.n_classes)
        if len(found := order[graph.labels[order] == label])
    ]
    chosen = np.concatenate([*train, np.empty(0, dtype=np.int64)])
    rest = order[~np.isin(order, chosen)]
    share = min(1.0, len(rest) / max(1, valid + test))
    first = int(valid * share)
    parts = (chosen, rest[:first], rest[first : first + int(test * share)])
    split = replace(graph, train=_sorted(parts[0]), valid=_sorted(parts[1]), test=_sorted(parts[2]))
    check_split(split)
    return split


def check_split(graph: Graph, *, whole: bool = True) -> None:
    """Raise a WorkloadError where the split cannot be trained on: says which part, and what to do.

    Args:
        whole: whether each part has nodes, and each class some to train on.
    """
    for part in ("train", "valid", "test"):
        nodes: Nodes = getattr(graph, part)
        if len(nodes) == 0:
            if not whole:
                continue
            raise WorkloadError(f"data.dataset: {graph.name} has no {part} nodes; give at least one")
        if nodes[0] < 0 or nodes[-1] >= graph.n:
            raise WorkloadError(
                f"data.dataset: {graph.name}: {part} names node {nodes[0] if nodes[0] < 0 else nodes[-1]}; "
                f"nodes go from 0 to {graph.n - 1}"
            )
        unknown = nodes[graph.labels[nodes] == UNKNOWN]
        if len(unknown):
            raise WorkloadError(
                f"data.dataset: {graph.name}: {part} node {unknown[0]} has no label; give it one or leave it out"
            )
    together = np.concatenate([graph.train, graph.valid, graph.test])
    values, counts = np.unique(together, return_counts=True)
    if len(values) and counts.max() > 1:
        raise WorkloadError(
            f"data.dataset: {graph.name}: node {values[counts.argmax()]} stands twice in the split; keep one"
        )
    missing = np.setdiff1d(np.arange(graph.n_classes), graph.labels[graph.train])
    if whole and len(missing):
        raise WorkloadError(
            f"data.dataset: {graph.name}: class {missing[0]} has no training node; label one, or leave the class out"
        )


def _adjacency(
    source: NDArray[np.integer], target: NDArray[np.integer], n: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    if source.ndim != 1 or source.shape != target.shape:
        raise WorkloadError(f"data.dataset: {name}: {source.shape} sources, {target.shape} targets; give one list each")
    if not np.issubdtype(source.dtype, np.integer) or not np.issubdtype(target.dtype, np.integer):
        raise WorkloadError(f"data.dataset: {name}: node ids of type {source.dtype} must be whole numbers from 0")
    for ids in (source, target):
        if len(ids) and (ids.min() < 0 or ids.max() >= n):
            place = int(np.flatnonzero((ids < 0) | (ids >= n))[0])
            raise WorkloadError(
                f"data.dataset: {name}: edge {place} joins {source[place]} and {target[place]}; "
                f"nodes go from 0 to {n - 1}: renumber them, or add the missing features"
            )
    # Numba is heavy, and this module is imported where workloads are declared.
    from models.data._adjacency import adjacency

    return adjacency(source, target, n)


def _checked_features(features: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    if features.ndim != 2 or 0 in features.shape:
        raise WorkloadError(f"data.dataset: {name}: features of shape {features.shape}; give (nodes, features)")
    if features.dtype.kind not in "biuf":
        raise WorkloadError(f"data.dataset: {name}: features of type {features.dtype}; give numbers")
    if features.dtype != np.float32:
        features = features.astype(np.float32)
    start = 0
    for rows in blocks(features):
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            node = start + int(bad.argmax())
            raise WorkloadError(f"data.dataset: {name}: the features of node {node} are not finite; fill them in")
        start += len(rows)
    return features


def _checked_labels(
    labels: NDArray[np.integer], n: int, name: str, classes: int | None
) -> tuple[NDArray[np.int64], int]:
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise WorkloadError(
            f"data.dataset: {name}: labels of shape {labels.shape} and type {labels.dtype} for {n} nodes; "
            "give each node a whole number, -1 where unknown"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < UNKNOWN:
        raise WorkloadError(f"data.dataset: {name}: label {lowest}; classes count from 0, -1 means unknown")
    if classes is not None and lowest == UNKNOWN and classes > 1:
        if highest >= classes:
            raise WorkloadError(
                f"data.dataset: {name}: labels go up to {highest}, but there are {classes} classes, from 0; name more"
            )
        return labels.astype(np.int64), classes
    if highest < 1:
        raise WorkloadError(f"data.dataset: {name}: labels name {highest + 1} classes; there is nothing to tell apart")
    found = np.unique(labels[labels != UNKNOWN])
    if len(found) <= highest:
        # Where ids stand in for classes there may be billions: too many to go through one by one.
        missing = int(np.argmax(found != np.arange(len(found))))
        raise WorkloadError(
            f"data.dataset: {name}: labels go up to {highest}, and no node is of class {missing}; "
            "number the classes from 0 without gaps"
        )
    return labels.astype(np.int64), highest + 1


def _checked_nodes(given: Part, part: str, n: int, name: str) -> Nodes:
    """Ids of one part of the split, ascending; whether they are in range is for `check_split`."""
    nodes = np.asarray(given)
    if nodes.dtype == np.bool_ and nodes.shape == (n,):
        return np.flatnonzero(nodes)
    if nodes.ndim != 1 or not (np.issubdtype(nodes.dtype, np.integer) or nodes.size == 0):
        raise WorkloadError(
            f"data.dataset: {name}: {part} of shape {nodes.shape} and type {nodes.dtype}; give a list of node ids, "
            f"or a mask of {n} booleans"
        )
    return _sorted(nodes.astype(np.int64))


def _sorted(nodes: Nodes) -> Nodes:
    return np.sort(np.asarray(nodes, dtype=np.int64))

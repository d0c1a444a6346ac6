"""A graph of users, queries and items, made of what was clicked and of nothing else.

Nodes of all three types share one numbering: users first, then queries, then items. Each edge type is stored as its
own rows of neighbours (CSR), the strongest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data.interactions import Interactions
from models.recsys.similarity import similar_pairs
from tunewright.errors import WorkloadError

TYPES = ("user", "query", "item")
# Clicks of one user that are further apart belong to two sessions.
SESSION_GAP_SECONDS = 1_800
SIMILAR_NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)
class EdgeType:
    """Edges of one meaning, from nodes of one type to nodes of one type.

    Attributes:
        source, target: node types.
        pointers: (nodes + 1,) int64; node n's neighbours are at pointers[n] to pointers[n + 1].
        neighbours: (edges,) int32 node numbers; the strongest first, of equal ones the latest.
        weights: (edges,) float32: clicks behind an edge; of similar nodes, their similarity (0 to 1).
    """

    name: str
    source: str
    target: str
    pointers: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Adjacency:
    """Neighbours of every node by the neighbours' type: what samplers read.

    Attributes:
        pointers: (3, nodes + 1) int64 into the two others, one row for each of `TYPES`.
        neighbours, weights: (edges,) int32 and float32; the strongest first.
    """

    pointers: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Graph:
    """Users, queries and items with edges between them.

    Attributes:
        users, queries, items: how many nodes of each type.
        edges: name -> edges.
    """

    users: int
    queries: int
    items: int
    edges: dict[str, EdgeType]

    @property
    def nodes(self) -> int:
        return self.users + self.queries + self.items

    def user_nodes(self, users: NDArray[np.int32]) -> NDArray[np.int32]:
        return users

    def query_nodes(self, queries: NDArray[np.int32]) -> NDArray[np.int32]:
        return queries + np.int32(self.users)

    def item_nodes(self, items: NDArray[np.int32]) -> NDArray[np.int32]:
        return items + np.int32(self.users + self.queries)

    def type_of(self, nodes: NDArray[np.int32]) -> NDArray[np.int64]:
        """Index into `TYPES` of each node."""
        return (nodes >= self.users).astype(np.int64) + (nodes >= self.users + self.queries)

    def adjacency(self, reach: int) -> Adjacency:
        """The `reach` strongest neighbours of each type for every node, over all edge types that lead there."""
        if reach < 1:
            raise WorkloadError(f"reach: {reach} must be at least 1")
        rows = [_merged([e for e in self.edges.values() if e.target == kind], self.nodes, reach) for kind in TYPES]
        shifts = np.cumsum([0, *(len(row[1]) for row in rows[:-1])])
        return Adjacency(
            np.stack([pointers + shift for (pointers, _, _), shift in zip(rows, shifts, strict=True)]),
            np.concatenate([neighbours for _, neighbours, _ in rows]),
            np.concatenate([weights for _, _, weights in rows]),
        )


def build_graph(train: Interactions, *, similar: bool = True, seed: int = 0) -> Graph:
    """The graph of the clicks to learn from (ZOOMER, section on graph construction).

    Edges, each in both directions: user - query, query - item and user - item of a click; item - item clicked one
    after the other in a session; and, if asked for, users and items with similar neighbours.

    Args:
        train: the training part of a split.
        similar: whether similar users and items are linked.
    Raises:
        WorkloadError: the interactions are not the training part of a split: rows to be judged by must not come in.
    """
    if train.part != "train":
        raise WorkloadError(
            f"graph: it is built from the training part of a split alone, not from the part {train.part!r}: "
            "split the interactions and give its train part"
        )
    clicks = train.take(train.clicked, "train")
    graph = Graph(train.users, train.queries, train.items, {})
    user, query, item = (
        graph.user_nodes(clicks.user),
        graph.query_nodes(clicks.query),
        graph.item_nodes(clicks.item),
    )
    before, after = _in_session(clicks)
    pairs = {
        ("user", "query"): (user, query),
        ("query", "item"): (query, item),
        ("user", "item"): (user, item),
    }
    for (a, b), (one, other) in pairs.items():
        _add(graph, f"{a}-{b}", a, b, one, other)
        _add(graph, f"{b}-{a}", b, a, other, one)
    _add(graph, "session", "item", "item", np.r_[item[before], item[after]], np.r_[item[after], item[before]])
    if similar:
        for kind, one, other in (("user", user, item), ("item", item, user)):
            left, right, likeness = similar_pairs(one, other, SIMILAR_NEIGHBOURS, seed)
            ends = np.r_[left, right], np.r_[right, left]
            _add(graph, f"similar-{kind}", kind, kind, *ends, np.r_[likeness, likeness])
    return graph


def _in_session(clicks: Interactions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of clicks, and of each one's next click in the same session (another item)."""
    order = np.lexsort((np.arange(len(clicks)), clicks.timestamp, clicks.user))
    user, time, item = clicks.user[order], clicks.timestamp[order], clicks.item[order]
    follows = (user[1:] == user[:-1]) & (time[1:] - time[:-1] <= SESSION_GAP_SECONDS) & (item[1:] != item[:-1])
    return order[:-1][follows], order[1:][follows]


def _add(
    graph: Graph,
    name: str,
    source: str,
    target: str,
    start: NDArray[np.int32],
    end: NDArray[np.int32],
    weight: NDArray[np.float32] | None = None,
) -> None:
    weights = np.ones(len(start), np.float32) if weight is None else weight
    combine = np.add if weight is None else np.maximum
    graph.edges[name] = EdgeType(name, source, target, *_rows(start, end, weights, graph.nodes, combine))


def _rows(
    start: NDArray[np.int32],
    end: NDArray[np.int32],
    weight: NDArray[np.float32],
    nodes: int,
    combine: np.ufunc,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """CSR rows of edges in the order of time; parallel edges become one."""
    key = start.astype(np.int64) * nodes + end
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if len(key) else np.zeros(0, np.int64)
    weights = combine.reduceat(weight[order], first).astype(np.float32) if len(key) else weight
    last = order[np.r_[first[1:], len(key)] - 1] if len(key) else order
    source, target = key[first] // nodes, (key[first] % nodes).astype(np.int32)
    strongest = np.lexsort((-last, -weights, source))
    pointers = np.searchsorted(source, np.arange(nodes + 1)).astype(np.int64)
    return pointers, target[strongest], weights[strongest]


def _merged(
    edges: list[EdgeType], nodes: int, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Rows over several edge types, cut to the `reach` strongest neighbours."""
    source = np.concatenate([np.repeat(np.arange(nodes, dtype=np.int32), np.diff(e.pointers)) for e in edges])
    neighbours = np.concatenate([e.neighbours for e in edges])
    weights = np.concatenate([e.weights for e in edges])
    if len(edges) > 1:
        # Reversed, so that the strongest of an edge type still count as the latest of equal ones.
        pointers, neighbours, weights = _rows(source[::-1], neighbours[::-1], weights[::-1], nodes, np.add)
    else:
        pointers = edges[0].pointers
    counts = np.diff(pointers)
    place = np.arange(len(neighbours)) - np.repeat(pointers[:-1], counts)
    near = place < reach
    cut = np.concatenate([[0], np.cumsum(np.minimum(counts, reach))]).astype(np.int64)
    return cut, neighbours[near], weights[near]

"""Which neighbours of a request are looked at: its region of interest, and three ways that look elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from models.recsys import sampling_kernels as kernels
from models.recsys.graph import Adjacency, Graph
from models.recsys.profiles import node_profiles
from tunewright.errors import WorkloadError

_WORD = 2**64 - 1

Method: TypeAlias = Literal["roi", "uniform", "importance", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
# So many of a node's strongest neighbours of each type are kept: the neighbour cache.
REACH = 100
# Beyond the first hop relevance is told among fewer: there are many more nodes to do it for.
FAR_REACH = 30
# Breaks ties between neighbours that are equally relevant.
NOISE = 0.02
WALKS, WALK_LENGTH = 60, 3


@dataclass(frozen=True, eq=False)
class Level:
    """Nodes that are the same number of hops away from their request's focal nodes.

    Attributes:
        nodes: (m,) int32.
        request: (m,) int64 the request that each belongs to.
        parent, kind: (m,) int64 row of the level before that each is a neighbour of, and its type (index into TYPES).
        weight: (m,) float32 weight of the edge to it. The focal nodes themselves have no parents.
    """

    nodes: NDArray[np.int32]
    request: NDArray[np.int64]
    parent: NDArray[np.int64]
    kind: NDArray[np.int64]
    weight: NDArray[np.float32]


class Sampler:
    """Draws the neighbourhood of requests: hop by hop, at most `scale[hop]` neighbours of each type for each node.

    The same seed, turn and requests always give the same draw; a region of interest does not depend on what else is in
    the batch. May be used by several threads.

    Args:
        method: `roi` keeps the neighbours most relevant to the request's focal vector (ZOOMER); `uniform` draws any
            (GraphSAGE); `importance` keeps those that random walks meet most often (PinSage); `full` takes all.
        scale: neighbours for each hop; a larger number than a node has takes all that it has.
        reach: of a node's neighbours, only so many of each type are known, the strongest.
    Raises:
        WorkloadError: unknown method, or a scale below 1.
    """

    def __init__(
        self, graph: Graph, method: Method, scale: Sequence[int], *, reach: int = REACH, seed: int = 0
    ) -> None:
        if method not in METHODS:
            raise WorkloadError(f"sampler: {method!r} is unknown; known: {', '.join(METHODS)}")
        if not scale or min(scale) < 1:
            raise WorkloadError(f"scale: {list(scale)} must hold a number of at least 1 for each hop")
        self.graph, self.method, self.scale = graph, method, tuple(int(k) for k in scale)
        self._seed = seed
        self._adjacency = graph.adjacency(reach)
        self.profiles = node_profiles(self._adjacency, seed) if method == "roi" else np.zeros((1, 1), np.float32)
        self._squares = np.square(self.profiles).sum(axis=1)
        if method == "importance":
            self._adjacency = _walked(self._adjacency, reach, seed)

    def draw(
        self,
        users: NDArray[np.int32],
        queries: NDArray[np.int32],
        *,
        hidden: NDArray[np.int32] | None = None,
        parted: NDArray[np.bool_] | None = None,
        turn: int = 0,
    ) -> list[Level]:
        """The neighbourhood of requests, the focal nodes first.

        Args:
            users, queries: (b,) node numbers of the requests' focal nodes; -1 stands for an unknown one, which has
                no neighbours and node number -1.
            hidden: (b,) item node that each request is not to see, -1 for none: in training the one that is asked
                about, clicked or not, so that no edge tells the answer.
            parted: (b,) whether the request's user and query are not to see each other: in training where they are
                neighbours by the click alone that is asked about. What is to be judged later has no such edge.
            turn: draws with another turn are independent.
        Returns:
            hops + 1 levels; level 0 holds users then queries, 2 b rows.
        """
        requests = np.arange(len(users), dtype=np.int64)
        nodes, request = np.r_[users, queries].astype(np.int32), np.r_[requests, requests]
        hidden = np.full(len(users), -1, np.int32) if hidden is None else hidden
        apart = np.full((len(users), 2), -1, np.int32)
        if parted is not None:
            apart[parted] = np.stack([users, queries], axis=1)[parted]
        focal = self._focal(users, queries)
        nothing = np.zeros(len(nodes), np.int64)
        levels = [Level(nodes, request, nothing, nothing, np.ones(len(nodes), np.float32))]
        for hop, k in enumerate(self.scale):
            seed = np.uint64((self._seed * 1_000_003 + turn * 16 + hop) & _WORD)
            picked, weights = self._pick(levels[-1], focal, hidden, apart, k, FAR_REACH if hop else REACH, seed)
            rows, kinds, places = np.nonzero(picked >= 0)
            levels.append(
                Level(picked[rows, kinds, places], levels[-1].request[rows], rows, kinds, weights[rows, kinds, places])
            )
        return levels

    def _focal(self, users: NDArray[np.int32], queries: NDArray[np.int32]) -> NDArray[np.float32]:
        """(b, d) focal vectors: the sum of the focal nodes' profiles."""
        if self.method != "roi":
            return np.zeros((len(users), 1), np.float32)
        total = np.zeros((len(users), self.profiles.shape[1]), np.float32)
        for nodes in (users, queries):
            total += np.where((nodes >= 0)[:, None], self.profiles[nodes], np.float32(0))
        return total

    def _pick(
        self,
        level: Level,
        focal: NDArray[np.float32],
        hidden: NDArray[np.int32],
        parted: NDArray[np.int32],
        k: int,
        look: int,
        seed: np.uint64,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        near = self._adjacency
        asked = (level.nodes, level.request, hidden, parted)
        graph = (near.pointers, near.neighbours, near.weights)
        if self.method == "roi":
            sight = (focal, self.profiles, self._squares)
            noise = np.float32(NOISE)
            return kernels.most_relevant(*asked, *graph, *sight, noise, look, k, seed)
        if self.method == "uniform":
            return kernels.any_of(*asked, *graph, k, seed)
        return kernels.first_of(*asked, *graph, k)


def _walked(adjacency: Adjacency, reach: int, seed: int) -> Adjacency:
    """Neighbours by how often short random walks from a node meet them (PinSage, section 3.1)."""
    nodes = adjacency.pointers.shape[1] - 1
    kinds = np.zeros(nodes, np.int8)
    for kind in range(3):
        low, high = adjacency.pointers[kind, 0], adjacency.pointers[kind, -1]
        kinds[adjacency.neighbours[low:high]] = kind
    counts, found, visits = kernels.walk(
        adjacency.pointers, adjacency.neighbours, kinds, WALKS, WALK_LENGTH, min(reach, WALKS), np.uint64(seed)
    )
    flat = counts.reshape(-1)
    pointers = np.concatenate([[0], np.cumsum(flat)]).astype(np.int64)
    rows = np.stack([pointers[kind * nodes : (kind + 1) * nodes + 1] for kind in range(3)])
    return Adjacency(rows, found, visits)

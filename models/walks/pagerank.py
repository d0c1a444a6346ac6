"""Second-order PageRank by walks (Wu, Bian and Zhang 2016): how close vertices are to a query, by second order.

From the query each walk goes on with probability `decay` per step; a vertex's score is the mean number of visits times
1 - decay, so that the scores of a graph without dead ends sum to 1.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.walks.engine import Outcome, Progress, walk
from models.walks.errors import GraphError
from models.walks.format import NO_VERTEX, Graph
from models.walks.rule import Rule

DECAY = 0.85
LENGTH = 80


@dataclass(frozen=True)
class Scores:
    """A query's answer; vertices that no walk met score 0.

    Attributes:
        vertices: (k,) by falling score, equal ones by number.
        scores: (k,) float64.
        errors: (k,) standard errors of the scores, from the walks' own spread.
    """

    query: int
    vertices: NDArray[np.int64]
    scores: NDArray[np.float64]
    errors: NDArray[np.float64]


def pagerank2(
    graph: Graph,
    queries: Sequence[int],
    *,
    p: float = 0.5,
    q: float = 2.0,
    decay: float = DECAY,
    walks: int = 10_000,
    seed: int = 0,
    memory_budget: int = 256 << 20,
    threads: int = 1,
    directory: Path | None = None,
    progress: Callable[[Progress], None] = lambda found: None,
) -> tuple[list[Scores], Outcome]:
    """Scores of all vertices near each query, in the order of the queries.

    Args:
        walks: per query; errors fall with the root of their number.
        directory: where the walks are kept while they are made; None: the system's temporary directory.
    Raises:
        GraphError: a query is no vertex or asked twice, or as `engine.walk`.
    """
    if not decay < 1:
        raise GraphError(f"decay: {decay!r} must be above 0 and below 1")
    work = Path(tempfile.mkdtemp(prefix="pagerank-", dir=directory))
    try:
        outcome = walk(
            graph,
            work / "walks",
            Rule(p, q, LENGTH, seed, decay),
            walks_per_vertex=walks,
            sources=np.array(queries, np.int64),
            memory_budget=memory_budget,
            threads=threads,
            progress=progress,
        )
        rows = np.concatenate([np.asarray(shard) for shard in outcome.corpus])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    order = np.argsort(np.argsort(queries))
    return [
        _scores(int(query), rows[int(at) :: len(queries)], decay) for query, at in zip(queries, order, strict=True)
    ], outcome


def _scores(query: int, rows: NDArray[np.uint32], decay: float) -> Scores:
    """Means over walks (r, columns), and their errors."""
    walk_of, column = np.nonzero(rows != NO_VERTEX)
    pairs = walk_of.astype(np.int64) << 32 | rows[walk_of, column]
    pairs, visits = np.unique(pairs, return_counts=True)
    vertices, place = np.unique(pairs & 0xFFFFFFFF, return_inverse=True)
    total = np.bincount(place, visits) / len(rows)
    squares = np.bincount(place, visits.astype(np.float64) ** 2) / len(rows)
    errors = np.sqrt(np.maximum(squares - total**2, 0) / len(rows))
    order = np.lexsort((vertices, -total))
    return Scores(query, vertices[order], (1 - decay) * total[order], (1 - decay) * errors[order])

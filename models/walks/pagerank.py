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

from models.walks.corpus import Corpus
from models.walks.engine import Outcome, Progress, walk
from models.walks.errors import GraphError
from models.walks.format import NO_VERTEX, Graph
from models.walks.rule import Rule

DECAY = 0.85
LENGTH = 80
# Counting takes up to so many bytes for each vertex of the walks that are counted at once.
_COUNTING_BYTES = 64


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
    if walks < 1:
        raise GraphError(f"walks: {walks} must be at least 1")
    asked = np.unique(np.asarray(queries, np.int64))
    if not len(asked) or len(asked) != len(queries) or asked[0] < 0 or asked[-1] >= graph.vertices:
        raise GraphError(f"queries: must be distinct vertices, from 0 to {graph.vertices - 1}, at least one")
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
        tallies = _tallies(outcome.corpus, len(queries), memory_budget)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    order = np.argsort(np.argsort(queries))
    return [
        tallies[int(at)].scores(int(query), walks, decay) for query, at in zip(queries, order, strict=True)
    ], outcome


def _tallies(corpus: Corpus, queries: int, memory: int) -> list[_Tally]:
    """Visits of each query's walks; walk i is of query i mod their number. Of the walks, a part is held at a time."""
    tallies = [_Tally() for _ in range(queries)]
    at_once = max(queries, memory // (_COUNTING_BYTES * corpus.columns))
    first = 0
    for shard in corpus:
        for start in range(0, len(shard), at_once):
            rows = np.asarray(shard[start : start + at_once])
            for query, tally in enumerate(tallies):
                tally.add(rows[(query - first) % queries :: queries])
            first += len(rows)
    return tallies


class _Tally:
    """How often walks came to each vertex they met, summed over walks, and the sum of the squares."""

    def __init__(self) -> None:
        self._vertices = np.empty(0, np.int64)
        self._visits: NDArray[np.float64] = np.empty(0)
        self._squares: NDArray[np.float64] = np.empty(0)

    def add(self, rows: NDArray[np.uint32]) -> None:
        """Count walks (r, columns)."""
        walk_of, column = np.nonzero(rows != NO_VERTEX)
        pairs = walk_of.astype(np.int64) << 32 | rows[walk_of, column]
        pairs, visits = np.unique(pairs, return_counts=True)
        self._vertices, place = np.unique(np.concatenate([self._vertices, pairs & 0xFFFFFFFF]), return_inverse=True)
        met = visits.astype(np.float64)
        self._visits = np.bincount(place, np.concatenate([self._visits, met])).astype(np.float64)
        self._squares = np.bincount(place, np.concatenate([self._squares, met**2])).astype(np.float64)

    def scores(self, query: int, walks: int, decay: float) -> Scores:
        """Means over so many walks, and their errors."""
        total, squares = self._visits / walks, self._squares / walks
        errors = np.sqrt(np.maximum(squares - total**2, 0) / walks)
        order = np.lexsort((self._vertices, -total))
        return Scores(query, self._vertices[order], (1 - decay) * total[order], (1 - decay) * errors[order])

"""Walks on a graph that is in memory as a whole: the same walks as the bi-block engine's, faster.

A step is two dependent reads at random places, so one walk alone waits for memory most of the time. Walks go in groups,
all of a group one trial at a time: a loop over the group asks for what the next loop reads, so that many reads are on
their way together. Membership is first asked of a filter, a bit per edge's hash, which answers most questions with one
read; what passes it is looked up in the list's hash table, as a binary search would take one read after another. Filter
and tables take 7 to 8 bytes an edge beside the 4 of the list itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel, prefetch
from models.walks.errors import GraphError
from models.walks.format import NO_VERTEX, Graph
from models.walks.kernels import contains
from models.walks.randomness import draw, mix, walk_key
from models.walks.rule import Rule

GROUP = 128
# Bits of the filter per edge, at least; a power of two of them in all.
FILTER_BITS = 8

_LOW = np.uint64(0xFFFFFFFF)
_32, _6, _63 = np.uint64(32), np.uint64(6), np.uint64(63)
_ONE = np.uint64(1)
_PER_32 = 1.0 / 4294967296.0
_OTHER = np.uint64(0xD6E8FEB86659FD93)
_SPREAD = np.uint64(2654435769)


@dataclass(frozen=True)
class LoadedGraph:
    """A graph in memory.

    Attributes:
        offsets: (n + 1,) int64; neighbours: (m,) uint32; alias: (m, 2) uint32 or (0, 2).
        edges_seen: the filter, uint64 words, a power of two of them.
        tables: (m + m // 2 + n,) uint32, each list once more as a hash table, never full: see `_table`.
    """

    offsets: NDArray[np.int64]
    neighbours: NDArray[np.uint32]
    alias: NDArray[np.uint32]
    directed: bool
    edges_seen: NDArray[np.uint64]
    tables: NDArray[np.uint32]

    @classmethod
    def of(cls, graph: Graph) -> LoadedGraph:
        """Load a graph, checked.

        Raises:
            GraphError: a checksum is wrong.
        """
        offsets, neighbours, alias = graph.load()
        return cls(offsets, neighbours, alias, graph.directed, *_index(offsets, neighbours))

    @classmethod
    def from_edges(cls, edges: NDArray[np.int64], vertices: int) -> LoadedGraph:
        """An undirected graph of edges (m, 2) that never was on disk; self loops and double edges are left out."""
        kept = edges[edges[:, 0] != edges[:, 1]]
        keys = np.unique(np.concatenate([kept[:, 0] * vertices + kept[:, 1], kept[:, 1] * vertices + kept[:, 0]]))
        offsets = np.searchsorted(keys, np.arange(vertices + 1) * vertices).astype(np.int64)
        neighbours = (keys % vertices).astype(np.uint32)
        return cls(offsets, neighbours, np.empty((0, 2), np.uint32), False, *_index(offsets, neighbours))

    @property
    def vertices(self) -> int:
        return len(self.offsets) - 1

    def walk(self, rule: Rule, *, walks_per_vertex: int = 1, threads: int = 1) -> NDArray[np.uint32]:
        """All walks (n * walks_per_vertex, length + 1), as `engine.walk` would write them."""
        return self.rows(rule, 0, self.vertices * walks_per_vertex, threads=threads)

    def rows(self, rule: Rule, first: int, end: int, *, threads: int = 1) -> NDArray[np.uint32]:
        """Walks `first` to `end` - 1.

        Raises:
            GraphError: threads below 1.
        """
        if threads < 1:
            raise GraphError(f"threads: {threads} must be at least 1")
        matrix = np.full((end - first, rule.length + 1), NO_VERTEX, np.uint32)
        cuts = np.linspace(0, end - first, threads + 1).astype(int).tolist()
        jobs = [(matrix[a:b], first + a) for a, b in pairwise(cuts) if b > a]
        if len(jobs) == 1:
            self._walk_rows(rule, *jobs[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda job: self._walk_rows(rule, *job), jobs))
        return matrix

    def _walk_rows(self, rule: Rule, matrix: NDArray[np.uint32], first: int) -> None:
        accept = rule.acceptance(len(self.alias) > 0)
        _walk(
            *(matrix, first, accept.thresholds, accept.extra, self.directed, np.uint64(rule.seed)),
            *(self.offsets, self.neighbours, self.alias, self.edges_seen, self.tables),
        )


def _index(offsets: NDArray[np.int64], neighbours: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """The filter and the tables."""
    words = 1 << max(0, int(np.ceil(np.log2(max(1, len(neighbours)) * FILTER_BITS / 64))))
    seen = np.zeros(words, np.uint64)
    tables = np.full(_table(len(offsets) - 1, len(neighbours)), NO_VERTEX, np.uint32)
    _fill(offsets, neighbours, seen, tables)
    return seen, tables


@kernel(inline=True)
def _bit(previous: Any, vertex: Any, mask: Any) -> Any:
    return mix((np.uint64(previous) << _32) | np.uint64(vertex)) & mask


@kernel(inline=True)
def _slot(vertex: Any, size: Any) -> Any:
    """Where a table of this size holds a vertex, or behind it: multiplicative hashing spreads runs of ids evenly."""
    return np.int64((((np.uint64(vertex) * _SPREAD) & _LOW) * np.uint64(size)) >> _32)


@kernel(inline=True)
def _table(vertex: Any, offset: Any) -> Any:
    """Where the table of a vertex, whose list begins at this offset, begins."""
    return offset + (offset >> 1) + vertex


@kernel()
def _fill(offsets: Any, neighbours: Any, seen: Any, tables: Any) -> Any:
    mask = np.uint64(len(seen)) * np.uint64(64) - _ONE
    for vertex in range(len(offsets) - 1):
        first, end = offsets[vertex], offsets[vertex + 1]
        begin, beyond = _table(vertex, first), _table(vertex + 1, end)
        for at in range(first, end):
            x = neighbours[at]
            bit = _bit(vertex, x, mask)
            seen[bit >> _6] |= _ONE << (bit & _63)
            slot = begin + _slot(x, beyond - begin)
            while tables[slot] != NO_VERTEX:
                slot = slot + 1 if slot + 1 < beyond else begin
            tables[slot] = x


@kernel()
def _walk(
    matrix: Any,
    first: Any,
    rule: Any,
    extra: Any,
    directed: Any,
    seed: Any,
    offsets: Any,
    neighbours: Any,
    alias: Any,
    seen: Any,
    tables: Any,
) -> Any:
    """Fill the matrix (rows, length + 1); row i is walk first + i, of the vertex of that number modulo n."""
    rows, length, vertices = len(matrix), matrix.shape[1] - 1, len(offsets) - 1
    row, hop, trial = np.empty(GROUP, np.int64), np.zeros(GROUP, np.int64), np.zeros(GROUP, np.int64)
    key, random = np.empty(GROUP, np.uint64), np.empty(GROUP, np.uint64)
    previous, current, start = np.zeros(GROUP, np.int64), np.zeros(GROUP, np.int64), np.zeros(GROUP, np.int64)
    degree, before, width = np.zeros(GROUP, np.int64), np.zeros(GROUP, np.int64), np.zeros(GROUP, np.int64)
    place, candidate, taken = np.empty(GROUP, np.int64), np.empty(GROUP, np.int64), np.empty(GROUP, np.int64)
    asked, slot, beyond = np.empty(GROUP, np.int64), np.empty(GROUP, np.int64), np.empty(GROUP, np.int64)
    following, lanes = 0, 0
    while True:
        while lanes < GROUP and following < rows:
            row[lanes], hop[lanes], trial[lanes] = following, 0, 0
            key[lanes] = walk_key(seed, np.uint64(first + following))
            vertex = (first + following) % vertices
            matrix[following, 0] = vertex
            previous[lanes], current[lanes], before[lanes], width[lanes] = vertex, vertex, 0, 0
            start[lanes], degree[lanes] = offsets[vertex], offsets[vertex + 1] - offsets[vertex]
            following, lanes = following + 1, lanes + 1
        if lanes == 0:
            break
        for g in range(lanes):
            random[g] = draw(key[g], (np.uint64(hop[g]) << _32) + np.uint64(trial[g]))
            area = degree[g] + (extra if hop[g] > 0 else 0.0)
            place[g] = np.int64(np.float64(np.int64(random[g] >> _32)) * _PER_32 * area)
            prefetch(neighbours, start[g] + place[g])
        if len(alias) > 0:
            _by_weight(lanes, random, place, start, degree, alias)
        for g in range(lanes):
            candidate[g] = neighbours[min(start[g] + place[g], len(neighbours) - 1)]
        questions = _judge(lanes, rule, hop, degree, place, random, previous, candidate, taken, asked)
        if questions > 0:
            _answer(
                questions, rule, random, previous, candidate, before, width, seen, tables, taken, asked, slot, beyond
            )
        if directed:
            for g in range(lanes):
                if place[g] >= degree[g] > 0:
                    taken[g] = 1 if contains(neighbours, start[g], degree[g], previous[g]) else 0
        if rule[3] <= _LOW:
            for g in range(lanes):
                if trial[g] == 0 and (draw(key[g], (np.uint64(hop[g]) << _32) | _LOW) & _LOW) >= rule[3]:
                    degree[g] = 0
        g = 0
        while g < lanes:
            ended = degree[g] == 0
            prefetch(offsets, candidate[g])
            if not ended:
                moved = taken[g]
                hop[g] += moved
                # Written also when nothing moved: what stands there is overwritten by the step that does.
                matrix[row[g], hop[g] + 1 - moved] = candidate[g]
                trial[g] = 0 if moved else trial[g] + 1
                previous[g] = current[g] if moved else previous[g]
                before[g] = start[g] if moved else before[g]
                width[g] = degree[g] if moved else width[g]
                current[g] = candidate[g] if moved else current[g]
                ended = hop[g] == length
            else:
                matrix[row[g], hop[g] + 1] = NO_VERTEX
            if ended:
                lanes -= 1
                row[g], hop[g], key[g], trial[g] = row[lanes], hop[lanes], key[lanes], trial[lanes]
                previous[g], current[g], before[g], width[g] = (
                    previous[lanes],
                    current[lanes],
                    before[lanes],
                    width[lanes],
                )
                degree[g], start[g], candidate[g], taken[g] = (
                    degree[lanes],
                    start[lanes],
                    candidate[lanes],
                    taken[lanes],
                )
            else:
                g += 1
        for g in range(lanes):
            start[g] = offsets[current[g]]
            degree[g] = offsets[current[g] + 1] - start[g]


@kernel()
def _by_weight(lanes: Any, random: Any, place: Any, start: Any, degree: Any, alias: Any) -> Any:
    """Turn an even draw into one by weight."""
    for g in range(lanes):
        if place[g] < degree[g]:
            entry = start[g] + place[g]
            if alias[entry, 0] != _LOW and (mix(random[g] ^ _OTHER) >> _32) >= alias[entry, 0]:
                place[g] = alias[entry, 1]


@kernel()
def _judge(
    lanes: Any,
    rule: Any,
    hop: Any,
    degree: Any,
    place: Any,
    random: Any,
    previous: Any,
    candidate: Any,
    taken: Any,
    asked: Any,
) -> Any:
    """Decide what needs no membership; returns how many do, their places in `asked`."""
    low, high = min(rule[1], rule[2]), max(rule[1], rule[2])
    questions = 0
    for g in range(lanes):
        share = random[g] & _LOW
        extra = place[g] >= degree[g]
        candidate[g] = previous[g] if extra else candidate[g]
        back = candidate[g] == previous[g]
        free = extra | (hop[g] == 0) | (degree[g] == 1)
        bound = rule[0] if back else low
        taken[g] = free | (share < bound)
        asked[questions] = g
        questions += (not free) & (not back) & (share >= low) & (share < high)
    return questions


@kernel()
def _answer(
    questions: Any,
    rule: Any,
    random: Any,
    previous: Any,
    candidate: Any,
    before: Any,
    width: Any,
    seen: Any,
    tables: Any,
    taken: Any,
    asked: Any,
    slot: Any,
    beyond: Any,
) -> Any:
    """Decide the asked lanes: ask the filter, then look up all that pass it, side by side and without branches."""
    mask = np.uint64(len(seen)) * np.uint64(64) - _ONE
    maybes = np.int64(0)
    for k in range(questions):
        bit = _bit(previous[asked[k]], candidate[asked[k]], mask)
        prefetch(seen, np.int64(bit >> _6))
        slot[k] = np.int64(bit)
    for k in range(questions):
        g, bit = asked[k], np.uint64(slot[k])
        taken[g] = (random[g] & _LOW) < rule[2]
        asked[maybes] = g
        maybes += np.int64((seen[bit >> _6] >> (bit & _63)) & _ONE)
    for k in range(maybes):
        g = asked[k]
        begin = _table(previous[g], before[g])
        beyond[k] = _table(previous[g] + 1, before[g] + width[g])
        slot[k] = begin + _slot(candidate[g], beyond[k] - begin)
        prefetch(tables, slot[k])
    while maybes > 0:
        left = np.int64(0)
        for k in range(maybes):
            g, at = asked[k], slot[k]
            found = np.int64(tables[at])
            hit = found == candidate[g]
            taken[g] = (random[g] & _LOW) < (rule[1] if hit else rule[2])
            asked[left], beyond[left] = g, beyond[k]
            slot[left] = at + 1 if at + 1 < beyond[k] else _table(previous[g], before[g])
            left += (not hit) & (found != NO_VERTEX)
        maybes = left

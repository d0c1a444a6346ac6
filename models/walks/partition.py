"""How a memory budget is spent: blocks, spans, and bytes for walks.

A block is what is loaded at once as the ancillary side of a pair; a span is a run of consecutive blocks that stays in
memory as the current side. GraSorw has both of one size. Here the span takes most of the budget and blocks stream
past it in small slots: like in a nested-loop join, pairing everything then reads about half as much (each byte that is
streamed meets a current side nearly twice as large).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.walks.errors import GraphError
from models.walks.format import Graph

PAGE = 4096
SPAN_SHARE, BLOCK_SHARE, LOG_SHARE = 0.62, 0.1, 0.08
MIN_WALK_BYTES = 64 << 10


@dataclass(frozen=True)
class Plan:
    """A budget, spent.

    Attributes:
        first_vertex, first_edge: (b + 1,) int64 of blocks.
        first_block: (s + 1,) int64 of spans.
        span_of: (b,) the span of each block.
        span_bytes, block_bytes: the most that a span, a block takes in memory.
        walk_bytes, log_bytes: for walks in memory, and for steps that wait to be written.
    """

    first_vertex: NDArray[np.int64]
    first_edge: NDArray[np.int64]
    first_segment: NDArray[np.int64]
    first_block: NDArray[np.int64]
    span_of: NDArray[np.int64]
    span_bytes: int
    block_bytes: int
    walk_bytes: int
    log_bytes: int

    @property
    def blocks(self) -> int:
        return len(self.span_of)

    @property
    def spans(self) -> int:
        return len(self.first_block) - 1


def plan(graph: Graph, memory_budget: int, block_bytes: int | None = None) -> Plan:
    """Cut a graph for a budget in bytes.

    Args:
        block_bytes: most of a block, where it is to be chosen; None: a share of the budget.
    Raises:
        GraphError: the budget is too small for this graph; says the least.
    """
    sizes = _segment_bytes(graph)
    largest = int(sizes.max()) + 4 * PAGE
    least = minimum_budget(graph)
    if memory_budget < least:
        raise GraphError(
            f"memory_budget: {memory_budget:,} bytes; this graph needs at least {least:,}, for a span, two blocks (the "
            f"largest segment has {largest:,}) and walks"
        )
    walks = max(MIN_WALK_BYTES, int(memory_budget * (1 - SPAN_SHARE - 2 * BLOCK_SHARE)))
    room = memory_budget - walks
    block = min(room // 3, max(largest, int(memory_budget * BLOCK_SHARE) if block_bytes is None else block_bytes))
    if int(sizes.sum()) + 4 * PAGE <= room:
        first = np.array([0, len(sizes)])
        block = 0
    else:
        first = _greedy(sizes, block - 4 * PAGE)
    totals = np.concatenate([[0], np.cumsum(sizes)])[first]
    of_blocks = np.diff(totals)
    span = _greedy(of_blocks, room - 2 * block - 4 * PAGE)
    of_spans = np.add.reduceat(of_blocks, span[:-1])
    return Plan(
        first_vertex=graph.segments.first_vertex[first],
        first_edge=graph.segments.first_edge[first],
        first_segment=first,
        first_block=span,
        span_of=np.repeat(np.arange(len(span) - 1), np.diff(span)),
        span_bytes=int(of_spans.max()),
        block_bytes=int(of_blocks.max()),
        walk_bytes=walks - int(memory_budget * LOG_SHARE),
        log_bytes=int(memory_budget * LOG_SHARE),
    )


def minimum_budget(graph: Graph) -> int:
    """The least budget that `plan` accepts for a graph, in bytes."""
    largest = int(_segment_bytes(graph).max()) + 4 * PAGE
    return int((3 * largest + MIN_WALK_BYTES) / (SPAN_SHARE + 2 * BLOCK_SHARE)) + PAGE


def _segment_bytes(graph: Graph) -> NDArray[np.int64]:
    table = graph.segments
    found: NDArray[np.int64] = 8 * (np.diff(table.first_vertex) + 1) + graph.entry_bytes * np.diff(table.first_edge)
    return found


def _greedy(sizes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Firsts (k + 1,) of runs of consecutive items, each as long as fits, at least one item."""
    firsts, total = [0], 0
    for i, size in enumerate(sizes.tolist()):
        if i > firsts[-1] and total + size > most:
            firsts.append(i)
            total = 0
        total += size
    return np.array([*firsts, len(sizes)])

"""The limit that memory sets: two dependent random reads a step, and nothing else."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from models.compiled import kernel
from models.walks.memory import LoadedGraph


def steps_per_second_limit(graph: LoadedGraph, length: int, threads: int, repeats: int) -> float:
    """Steps per second of one walk at a time per thread, each step an offset and a neighbour that depends on it."""
    starts = np.array_split(np.arange(graph.vertices), threads)
    _chase(starts[0][:10], length, graph.offsets, graph.neighbours)
    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            began = time.perf_counter()
            list(pool.map(lambda part: _chase(part, length, graph.offsets, graph.neighbours), starts))
            rates.append(graph.vertices * length / (time.perf_counter() - began))
    return statistics.median(rates)


@kernel()
def _chase(starts: Any, length: Any, offsets: Any, neighbours: Any) -> Any:
    total, edges = 0, len(neighbours)
    for start in starts:
        vertex = start
        for step in range(length):
            # Spread over all lists, as steps of a walk are; a product in place of a remainder, which would cost more.
            place = ((offsets[vertex] + step) * 2654435761) & 0xFFFFFFFF
            vertex = np.int64(neighbours[(place * edges) >> 32])
        total += vertex
    return total

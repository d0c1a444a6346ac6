"""The loop from a list of edges to sorted neighbour lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel


def adjacency(
    source: NDArray[np.integer], target: NDArray[np.integer], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Neighbour lists of the undirected simple graph (`Graph.indptr`, `Graph.indices`); ids are in range."""
    indptr, indices = _filled(source, target, n)  # type: ignore[no-untyped-call]
    return indptr, indices[: int(indptr[-1])].copy() if len(indices) > indptr[-1] else indices


@kernel()
def _filled(source, target, n):  # type: ignore[no-untyped-def]
    starts = np.zeros(n + 1, np.int64)
    for edge in range(len(source)):
        if source[edge] != target[edge]:
            starts[source[edge] + 1] += 1
            starts[target[edge] + 1] += 1
    for node in range(n):
        starts[node + 1] += starts[node]
    indices = np.empty(starts[n], np.int32)
    place = starts[:-1].copy()
    for edge in range(len(source)):
        u, v = source[edge], target[edge]
        if u != v:
            indices[place[u]] = v
            place[u] += 1
            indices[place[v]] = u
            place[v] += 1
    # Each list is sorted and freed of repetitions where it stands; what is kept moves to the front.
    indptr = np.zeros(n + 1, np.int64)
    kept = 0
    for node in range(n):
        row = np.sort(indices[starts[node] : starts[node + 1]])
        last = np.int32(-1)
        for other in row:
            if other != last:
                indices[kept] = other
                kept += 1
                last = other
        indptr[node + 1] = kept
    return indptr, indices

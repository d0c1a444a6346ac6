"""What operators spend their time in: sparse times dense, and counting triangles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel, prefetch

# Floats of a cache line. From so many features on, the beginnings of rows of x are asked for so many entries before
# they are needed: with fewer, asking costs as much as waiting, and the rest of a long row comes by itself.
_LINE, _ASKED_FROM, _ASKED, _AHEAD = 16, 64, 128, 8
# Blocks of rows that threads take: enough that a hub's block does not keep the others waiting.
BLOCKS = 64


def multiply(indptr: Any, indices: Any, values: Any, x: Any, out: Any) -> None:
    """A sparse matrix times x, into out; bit for bit the same for any number of threads.

    Args:
        indptr, indices, values: of the matrix (see `operators.CSR`), which need not be square.
        x: (columns, d) float32, contiguous.
        out: (rows, d) float32, contiguous.
    """
    rows = len(out)
    # Blocks of equal work: an entry costs as much as a row's beginning.
    work = indptr + np.arange(rows + 1)
    bounds = np.searchsorted(work, np.linspace(0, work[-1], BLOCKS + 1).astype(np.int64))
    bounds[0], bounds[-1] = 0, rows
    _multiply_blocks(indptr, indices, values, x, out, bounds)  # type: ignore[no-untyped-call]


# The loop over features is innermost, over contiguous memory: the compiler makes vector instructions of it. Four
# entries at a time, so that the sum is read and written a quarter as often.
@kernel(parallel=True)
def _multiply_blocks(indptr, indices, values, x, out, bounds):  # type: ignore[no-untyped-def]
    d, last = x.shape[1], len(indices) - 1
    features = x.reshape(-1)
    for block in numba.prange(len(bounds) - 1):
        for row in range(bounds[block], bounds[block + 1]):
            total = out[row]
            total[:] = 0.0
            place, end = indptr[row], indptr[row + 1]
            while place + 4 <= end:
                if d >= _ASKED_FROM:
                    for ahead in range(place + _AHEAD, place + _AHEAD + 4):
                        first = np.int64(indices[min(ahead, last)]) * d
                        for line in range(first, first + min(d, _ASKED), _LINE):
                            prefetch(features, line)
                p, q, r, s = x[indices[place]], x[indices[place + 1]], x[indices[place + 2]], x[indices[place + 3]]
                a, b, e, f = values[place], values[place + 1], values[place + 2], values[place + 3]
                for column in range(d):
                    total[column] += (a * p[column] + b * q[column]) + (e * r[column] + f * s[column])
                place += 4
            while place < end:
                p, a = x[indices[place]], values[place]
                for column in range(d):
                    total[column] += a * p[column]
                place += 1


def count_triangles(indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
    """(2 edges,) how many triangles each edge is a side of; lists are sorted."""
    counts: NDArray[np.float32] = _count_triangles(indptr, indices)  # type: ignore[no-untyped-call]
    return counts


@kernel(parallel=True)
def _count_triangles(indptr, indices):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(indices), np.float32)
    for u in numba.prange(len(indptr) - 1):
        for place in range(indptr[u], indptr[u + 1]):
            v = indices[place]
            mine, other = indices[indptr[u] : indptr[u + 1]], indices[indptr[v] : indptr[v + 1]]
            short, long = (mine, other) if len(mine) <= len(other) else (other, mine)
            low, common = 0, 0
            for node in short:
                low += np.searchsorted(long[low:], node)
                if low == len(long):
                    break
                common += long[low] == node
            counts[place] = common
    return counts


def with_loops(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32] | None,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    kept: float,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """(1 - kept) diag(left) (A + I) diag(right) + kept I, rows ascending; holds nothing large beside the result.

    Args:
        indptr, indices: the graph's neighbour lists.
        weights: (2 edges,) of A; None: all 1.
        left, right: (n,).
    """
    given = np.empty(0, dtype=np.float32) if weights is None else weights
    made = _with_loops(indptr, indices, given, left, right, kept)  # type: ignore[no-untyped-call]
    return made[0], made[1], made[2]


@kernel(parallel=True)
def _with_loops(indptr, indices, weights, left, right, kept):  # type: ignore[no-untyped-def]
    n = len(indptr) - 1
    starts = indptr + np.arange(n + 1)
    columns, values = np.empty(starts[n], np.int32), np.empty(starts[n], np.float32)
    for row in numba.prange(n):
        place = starts[row]
        looped = False
        for entry in range(indptr[row], indptr[row + 1] + 1):
            last = entry == indptr[row + 1]
            if not looped and (last or indices[entry] > row):
                columns[place] = row
                values[place] = (1 - kept) * left[row] * right[row] + kept
                place += 1
                looped = True
            if not last:
                column = indices[entry]
                weight = weights[entry] if len(weights) else np.float32(1)
                columns[place] = column
                values[place] = (1 - kept) * left[row] * right[column] * weight
                place += 1
    return starts, columns, values


def threads_at_most(count: int) -> int:
    """Let kernels use so many threads, or as many as there are; returns how many were allowed before."""
    before: int = numba.get_num_threads()
    limit: Callable[[int], None] = numba.set_num_threads
    limit(max(1, min(count, numba.config.NUMBA_NUM_THREADS)))
    return before

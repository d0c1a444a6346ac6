"""Alias tables (Walker 1977, Vose 1991): one neighbour by weight, from two random numbers, in constant time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel


def build(offsets: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Tables of some lists.

    Args:
        offsets: (k + 1,) where each list begins, from 0.
        weights: (m,) above zero.
    Returns:
        (m, 2): the entry stays if 32 random bits are below the first number (2**32 - 1: always), else it is the one
        at the second number's position of the same list.
    """
    table = np.empty((len(weights), 2), np.uint32)
    _build(offsets, weights, table)
    return table


@kernel()
def _build(offsets: Any, weights: Any, table: Any) -> Any:
    for vertex in range(len(offsets) - 1):
        start, degree = offsets[vertex], offsets[vertex + 1] - offsets[vertex]
        share = np.empty(degree, np.float64)
        total = 0.0
        for i in range(degree):
            total += weights[start + i]
        small, large = np.empty(degree, np.int64), np.empty(degree, np.int64)
        smalls = larges = 0
        for i in range(degree):
            share[i] = weights[start + i] / total * degree
            table[start + i, 0] = 4294967295
            table[start + i, 1] = i
            if share[i] < 1.0:
                small[smalls] = i
                smalls += 1
            else:
                large[larges] = i
                larges += 1
        while smalls > 0 and larges > 0:
            smalls -= 1
            low, high = small[smalls], large[larges - 1]
            table[start + low, 0] = np.uint32(min(4294967295.0, share[low] * 4294967296.0))
            table[start + low, 1] = high
            share[high] -= 1.0 - share[low]
            if share[high] < 1.0:
                larges -= 1
                small[smalls] = high
                smalls += 1

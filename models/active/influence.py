"""How much of what a node comes to be is due to which other node (IGP, section 3.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.data.graph import Graph
from models.gnn.operators import normalised
from tunewright.errors import WorkloadError

# Shares below this are dropped at each step: they are many, and together next to nothing.
NEGLIGIBLE = 1e-4


def influence(graph: Graph, steps: int) -> Any:
    """The share of each node in what others become by propagation.

    After k steps of propagation the derivative of u's features by v's is the entry (u, v) of the operator's k-th power,
    for it is linear; divided by the row's sum it is v's influence on u.

    Args:
        steps: k, 1 or more.
    Returns:
        (n, n) scipy.sparse.csc_array, float64; each row sums to 1.
    Raises:
        WorkloadError: steps is below 1.
    """
    from scipy import sparse

    if steps < 1:
        raise WorkloadError(f"influence: {steps} steps of propagation; give 1 or more")
    step = normalised(graph, "symmetric")
    operator = sparse.csr_array((step.values.astype(np.float64), step.indices, step.indptr), shape=(graph.n, graph.n))
    power = operator
    for _ in range(steps - 1):
        power = _pruned(power @ operator)
    return _by_row_sums(power).tocsc()


def _pruned(matrix: Any) -> Any:
    shares = _by_row_sums(matrix)
    matrix.data[shares.data < NEGLIGIBLE] = 0.0
    matrix.eliminate_zeros()
    return matrix


def _by_row_sums(matrix: Any) -> Any:
    scaled = matrix.copy()
    scaled.data /= np.repeat(np.asarray(matrix.sum(axis=1)).ravel(), np.diff(matrix.indptr))
    return scaled

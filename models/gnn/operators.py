"""Graph operators, and what features become under them (PaSca, section 4.1).

An operator is a sparse matrix that mixes each node's features with its neighbours'; `propagate` applies it again and
again. It does so before training, once, and not in every epoch: that is where SGAP's speed comes from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.graph import Graph
from tunewright.errors import WorkloadError

KINDS = ("symmetric", "random_walk", "ppr", "triangle")
DEFAULT_ALPHA = 0.1


@dataclass(frozen=True, eq=False)
class CSR:
    """A square sparse matrix of which only the non-zero entries are kept.

    Attributes:
        indptr: (n + 1,) int64; row i has the entries `indptr[i]` to `indptr[i + 1]`.
        indices: columns, int32, ascending in each row.
        values: float32.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    def transposed(self) -> CSR:
        """The matrix mirrored at its diagonal."""
        from scipy import sparse

        turned = sparse.csr_array((self.values, self.indices, self.indptr), shape=(self.n, self.n)).T.tocsr()
        turned.sort_indices()
        return CSR(turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data)


def normalised(graph: Graph, kind: str, r: float = 0.5, alpha: float = DEFAULT_ALPHA) -> CSR:
    """The graph's operator of a kind; every node also has a loop to itself, so that none loses its own features.

    symmetric    D^(r-1) (A + I) D^(-r); with r = 0.5 the operator of GCN, with r = 0 averages over the neighbourhood
    random_walk  D^-1 (A + I): averages over the neighbourhood
    ppr          (1 - alpha) symmetric + alpha I: keeps a share of each node's own features at every step
    triangle     symmetric, where an edge weighs as many triangles as it is a side of (Monti et al., 2018)

    Args:
        r: how a hub's features are shared between senders and receivers, 0 to 1.
        alpha: share that stays at the node, 0 to 1.
    Raises:
        WorkloadError: kind, r or alpha is not one of these.
    """
    if kind not in KINDS:
        raise WorkloadError(f"operator: {kind!r} is unknown; known: {', '.join(KINDS)}")
    if not 0 <= r <= 1 or not 0 <= alpha <= 1:
        raise WorkloadError(f"operator: r ({r}) and alpha ({alpha}) must be from 0 to 1")
    from models.gnn._kernels import count_triangles, with_loops

    weights = count_triangles(graph.indptr, graph.indices) if kind == "triangle" else None
    own = graph.degrees.astype(np.float64) if weights is None else _row_sums(graph, weights)
    degree: NDArray[np.float64] = 1.0 + own
    left: NDArray[np.float64] = degree ** (-1.0 if kind == "random_walk" else r - 1.0)
    right: NDArray[np.float64] = np.ones(graph.n) if kind == "random_walk" else degree**-r
    kept = alpha if kind == "ppr" else 0.0
    return CSR(*with_loops(graph.indptr, graph.indices, weights, left, right, kept))


def _row_sums(graph: Graph, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    sums = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    return np.asarray(sums[graph.indptr[1:]] - sums[graph.indptr[:-1]])


def apply(csr: CSR, x: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """The operator times x, with as many threads as numba may use; equal to the last bit for any number of them.

    Args:
        x: (n, d) float32; rows are read in no order, so a memory-mapped x should fit the system's page cache.
        out: (n, d) to write to; a new array by default.
    Returns:
        (n, d) float32.
    """
    if x.ndim != 2 or len(x) != csr.n:
        raise WorkloadError(f"propagation: features of shape {x.shape} for a graph of {csr.n} nodes; give (n, d)")
    from models.gnn._kernels import multiply

    x = np.ascontiguousarray(x, dtype=np.float32)
    made = np.empty_like(x) if out is None else out
    multiply(csr.indptr, csr.indices, csr.values, x, made)
    return made


def propagate(csr: CSR, x: NDArray[np.float32], k: int) -> list[NDArray[np.float32]]:
    """X_0 to X_k, where X_0 = x and X_(i+1) is the operator times X_i.

    Raises:
        WorkloadError: k is negative.
    """
    if k < 0:
        raise WorkloadError(f"propagation: {k} steps; give 0 or more")
    steps = [x]
    for _ in range(k):
        steps.append(apply(csr, steps[-1]))
    return steps


def propagate_out_of_core(
    csr: CSR, x: NDArray[np.float32], files: Sequence[Path], *, memory: int
) -> list[NDArray[np.float32]]:
    """As `propagate` for features larger than memory: each step goes to its own file, some columns at a time.

    Columns of x are taken together as many as fit: they are read once, propagated through all steps in memory and
    written to each step's file. What is held beside the operator is three such blocks.

    Args:
        x: (n, d), usually memory-mapped.
        files: of X_1 to X_k, made or overwritten.
        memory: bytes for the three blocks.
    Returns:
        X_0 to X_k; from X_1 on memory-mapped, read only.
    Raises:
        WorkloadError: not even one column fits, or the disk is full.
    """
    columns = memory // (3 * csr.n * 4)
    if columns < 1:
        raise WorkloadError(
            f"propagation: a memory of {memory} bytes is smaller than one block; "
            f"give at least {3 * csr.n * 4} for {csr.n} nodes"
        )
    made = [reserved(file, x.shape) for file in files]
    for start in range(0, x.shape[1], columns):
        part = slice(start, start + columns)
        here = np.ascontiguousarray(x[:, part])
        there = np.empty_like(here)
        for step in made:
            apply(csr, here, there)
            step[:, part] = there
            here, there = there, here
    for step in made:
        step.flush()
    return [x, *(np.load(file, mmap_mode="r") for file in files)]


def reserved(file: Path, shape: tuple[int, ...]) -> Any:
    """A memory-mapped float32 array in a file whose place on disk is taken: a full disk would kill whoever writes.

    Raises:
        WorkloadError: the disk has no room for it.
    """
    made = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    try:
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    except OSError as error:
        raise WorkloadError(f"{file}: {file.stat().st_size} bytes are needed there: {error.strerror}") from error
    return made

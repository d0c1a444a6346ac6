"""An operator in parts, for a graph that several workers propagate on.

Before a step each part is sent those rows of other parts that its own nodes are joined to: its halo. What comes out is,
bit for bit, what `operators.apply` makes of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.gnn.operators import CSR
from tunewright.errors import WorkloadError

# What SciPy orders: its indices are 32 bits wide.
_MOST_ORDERED = 2**31 - 1

Nodes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of an operator that belong to one worker.

    Attributes:
        nodes: (m,) its nodes, ascending.
        indptr, indices, values: their rows, as in `CSR`; but columns count its own nodes first, then its halo.
        halo: (h,) nodes of other parts that its rows refer to, those of each part together, ascending.
        sent: for each part, which of its own rows (from 0, ascending) are in that one's halo.
    """

    nodes: Nodes
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    halo: Nodes
    sent: Sequence[Nodes]

    @property
    def column_bytes(self) -> int:
        """Bytes that one column of features takes while it is propagated: own rows and halo, before and after."""
        return 2 * 4 * (len(self.nodes) + len(self.halo))


def split(csr: CSR, count: int) -> list[Part]:
    """An operator in parts of about equal work, with few entries that lead from part to part.

    Parts are stretches of an order of the nodes: their own, or that of a walk through the graph in breadth (reverse
    Cuthill-McKee), whichever cuts less.

    Args:
        csr: of symmetric pattern, as every graph's operator is.
    Raises:
        WorkloadError: there are fewer nodes than parts, or no parts.
    """
    if not 1 <= count <= csr.n:
        raise WorkloadError(f"parts: {count} for a graph of {csr.n} nodes; give 1 to {csr.n}")
    owner = min((_stretches(csr, order, count) for order in _orders(csr)), key=lambda found: _cut(csr, found))
    nodes = [np.flatnonzero(owner == index) for index in range(count)]
    rows = [_rows(csr, own) for own in nodes]
    halos = [_halo(columns, owner, index) for index, (_, columns, _) in enumerate(rows)]
    place = np.empty(csr.n, dtype=np.int32)
    parts = []
    for index, (own, (indptr, columns, values), halo) in enumerate(zip(nodes, rows, halos, strict=True)):
        place[own] = np.arange(len(own))
        sent = [place[other[owner[other] == index]].astype(np.int64) for other in halos]
        place[halo] = len(own) + np.arange(len(halo))
        parts.append(Part(own, indptr, place[columns], values, halo, sent))
    return parts


class PartialFeatures:
    """A part's rows of the features, from step to step.

    Args:
        own: (m, d) float32, the part's rows of X_0.
    """

    def __init__(self, part: Part, own: NDArray[np.float32]) -> None:
        self._part = part
        shape = (len(part.nodes) + len(part.halo), own.shape[1])
        self._here, self._next = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._here[: len(part.nodes)] = own

    def rows(self, other: int) -> NDArray[np.float32]:
        """What another part needs of these rows before the next step."""
        return self._here[self._part.sent[other]]

    def step(self, halo: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Propagate once.

        Args:
            halo: `rows` of the other parts, in the parts' order; those that have none to send may be left out.
        Returns:
            (m, d), to be read before the step after the next, which overwrites it.
        """
        from models.gnn._kernels import multiply

        part = self._part
        own = len(part.nodes)
        if halo:
            np.concatenate(halo, out=self._here[own:])
        made = self._next[:own]
        multiply(part.indptr, part.indices, part.values, self._here, made)
        self._here, self._next = self._next, self._here
        return made


def _orders(csr: CSR) -> list[Nodes]:
    orders: list[Nodes] = [np.arange(csr.n)]
    if len(csr.indices) <= _MOST_ORDERED:
        from scipy import sparse
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        indptr = csr.indptr.astype(np.int32)
        pattern = sparse.csr_matrix((csr.values, csr.indices, indptr), shape=(csr.n, csr.n))
        orders.append(reverse_cuthill_mckee(pattern, symmetric_mode=True).astype(np.int64))
    return orders


def _stretches(csr: CSR, order: Nodes, count: int) -> NDArray[np.int32]:
    """(n,) the part of each node, where parts are consecutive in an order. Behind a hub one may be without nodes."""
    # As in the kernel: an entry costs as much as a row's beginning.
    work = np.concatenate([[0], np.cumsum(np.diff(csr.indptr)[order] + 1)])
    bounds = np.searchsorted(work, np.linspace(0, work[-1], count + 1).astype(np.int64))
    bounds[0], bounds[-1] = 0, csr.n
    owner = np.empty(csr.n, dtype=np.int32)
    for index, (start, stop) in enumerate(pairwise(bounds)):
        owner[order[start:stop]] = index
    return owner


def _cut(csr: CSR, owner: NDArray[np.int32]) -> int:
    """How many entries lead from part to part."""
    return int((np.repeat(owner, np.diff(csr.indptr)) != owner[csr.indices]).sum())


def _rows(csr: CSR, nodes: Nodes) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Some rows of an operator, their entries in the same order: sums must not change in their last bits."""
    lengths = np.diff(csr.indptr)[nodes]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    entries = np.arange(indptr[-1]) + np.repeat(csr.indptr[nodes] - indptr[:-1], lengths)
    return indptr, csr.indices[entries], csr.values[entries]


def _halo(columns: NDArray[np.int32], owner: NDArray[np.int32], index: int) -> Nodes:
    found = np.unique(columns[owner[columns] != index]).astype(np.int64)
    return found[np.argsort(owner[found], kind="stable")]

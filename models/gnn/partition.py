"""An operator in parts, for a graph that several workers propagate on.

Each part has consecutive nodes. Before a step it is sent those rows of other parts that its own nodes are joined to:
its halo. What comes out is, bit for bit, what `operators.apply` makes of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.gnn.operators import CSR
from tunewright.errors import WorkloadError


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of an operator that belong to one worker.

    Attributes:
        start, stop: its nodes.
        indptr, indices, values: its rows, as in `CSR`; but columns count its own nodes first, then its halo.
        halo: (h,) int64, ascending: nodes of other parts that its rows refer to.
        sent: for each part, which of its own rows (from 0, ascending) are in that one's halo.
    """

    start: int
    stop: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    halo: NDArray[np.int64]
    sent: Sequence[NDArray[np.int64]]

    @property
    def n(self) -> int:
        """How many nodes it has."""
        return self.stop - self.start

    @property
    def column_bytes(self) -> int:
        """Bytes that one column of features takes while it is propagated: own rows and halo, before and after."""
        return 2 * 4 * (self.n + len(self.halo))


def split(csr: CSR, count: int) -> list[Part]:
    """An operator in parts of about equal work; nodes keep their order, so near ones should have near numbers.

    Raises:
        WorkloadError: there are fewer nodes than parts, or no parts.
    """
    if not 1 <= count <= csr.n:
        raise WorkloadError(f"parts: {count} for a graph of {csr.n} nodes; give 1 to {csr.n}")
    # As in the kernel: an entry costs as much as a row's beginning. Behind a hub a part may be left without nodes.
    work = csr.indptr + np.arange(csr.n + 1)
    bounds = np.searchsorted(work, np.linspace(0, work[-1], count + 1).astype(np.int64))
    bounds[0], bounds[-1] = 0, csr.n
    halos = [_halo(csr, int(start), int(stop)) for start, stop in pairwise(bounds)]
    return [_part(csr, bounds, halos, index) for index in range(count)]


class PartialFeatures:
    """A part's rows of the features, from step to step.

    Args:
        own: (n, d) float32, the part's rows of X_0.
    """

    def __init__(self, part: Part, own: NDArray[np.float32]) -> None:
        self._part = part
        shape = (part.n + len(part.halo), own.shape[1])
        self._here, self._next = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._here[: part.n] = own

    def rows(self, other: int) -> NDArray[np.float32]:
        """What another part needs of these rows before the next step."""
        return self._here[self._part.sent[other]]

    def step(self, halo: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Propagate once.

        Args:
            halo: `rows` of the other parts, in the parts' order; those that have none to send may be left out.
        Returns:
            (n, d), to be read before the step after the next, which overwrites it.
        """
        from models.gnn._kernels import multiply

        part = self._part
        if halo:
            np.concatenate(halo, out=self._here[part.n :])
        made = self._next[: part.n]
        multiply(part.indptr, part.indices, part.values, self._here, made)
        self._here, self._next = self._next, self._here
        return made


def _halo(csr: CSR, start: int, stop: int) -> NDArray[np.int64]:
    columns = csr.indices[csr.indptr[start] : csr.indptr[stop]]
    return np.unique(columns[(columns < start) | (columns >= stop)]).astype(np.int64)


def _part(csr: CSR, bounds: NDArray[np.int64], halos: Sequence[NDArray[np.int64]], index: int) -> Part:
    start, stop = int(bounds[index]), int(bounds[index + 1])
    first, last = csr.indptr[start], csr.indptr[stop]
    columns, halo = csr.indices[first:last], halos[index]
    own = (columns >= start) & (columns < stop)
    local = np.where(own, columns - start, stop - start + np.searchsorted(halo, columns)).astype(np.int32)
    return Part(
        start,
        stop,
        csr.indptr[start : stop + 1] - first,
        local,
        csr.values[first:last],
        halo,
        [other[(other >= start) & (other < stop)] - start for other in halos],
    )

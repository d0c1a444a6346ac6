"""Sparse matrices in PyTorch's graph of derivatives, multiplied by the room's own kernel."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.gnn._kernels import multiply
from models.gnn.operators import CSR

# Features of which fewer entries are not 0 are kept sparse.
SPARSE_BELOW = 0.15


class SparseMatrix:
    """An operator: `matrix @ x` for dense x, with derivatives for x."""

    def __init__(self, csr: CSR, *, symmetric: bool = False) -> None:
        self.forward = csr
        self.backward = csr if symmetric else csr.transposed()

    def __matmul__(self, x: Tensor) -> Tensor:
        made: Tensor = _Apply.apply(x, self)  # type: ignore[no-untyped-call]
        return made


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: SparseMatrix) -> Tensor:
        ctx.matrix = matrix
        return _product(matrix.forward.indptr, matrix.forward.indices, matrix.forward.values, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        turned = ctx.matrix.backward
        return _product(turned.indptr, turned.indices, turned.values, grads[0]), None


class Inputs(Protocol):
    """The features of all nodes, as a model's first layer sees them."""

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""

    def dropped(self, share: float, random: torch.Generator) -> Inputs:
        """With a share of the entries left out, the others scaled up."""

    def linear(self, layer: nn.Linear) -> Tensor:
        """(n, width) what a layer makes of them."""


def inputs(features: NDArray[np.float32]) -> Inputs:
    """(n, d) features, sparse where that pays."""
    if np.count_nonzero(features) > SPARSE_BELOW * features.size:
        return DenseInputs(torch.from_numpy(np.array(features)))
    return SparseInputs.of(features)


class DenseInputs:
    """Features as a matrix."""

    def __init__(self, x: Tensor) -> None:
        self._x = x

    @property
    def nbytes(self) -> int:
        """Of the matrix."""
        return self._x.numel() * 4

    def dropped(self, share: float, random: torch.Generator) -> DenseInputs:
        """See `Inputs`."""
        if share == 0:
            return self
        kept = torch.rand(self._x.shape, generator=random) >= share
        return DenseInputs(self._x * kept / (1 - share))

    def linear(self, layer: nn.Linear) -> Tensor:
        """See `Inputs`."""
        made: Tensor = layer(self._x)
        return made


class SparseInputs:
    """Features of which only the entries that are not 0 are kept, in both orders: by node and by feature."""

    def __init__(self, pattern: tuple[NDArray[Any], ...], values: NDArray[np.float32]) -> None:
        self._pattern, self._values = pattern, values

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> SparseInputs:
        """From a dense matrix."""
        rows, columns = np.nonzero(features)
        indptr = np.searchsorted(rows, np.arange(len(features) + 1)).astype(np.int64)
        turn = np.argsort(columns, kind="stable")
        turned = np.searchsorted(columns[turn], np.arange(features.shape[1] + 1)).astype(np.int64)
        pattern = (indptr, columns.astype(np.int32), turned, rows[turn].astype(np.int32), turn)
        return cls(pattern, features[rows, columns])

    @property
    def nbytes(self) -> int:
        """Of the entries, by node."""
        return sum(array.nbytes for array in self._pattern[:2]) + self._values.nbytes

    def dropped(self, share: float, random: torch.Generator) -> SparseInputs:
        """See `Inputs`."""
        if share == 0:
            return self
        kept = torch.rand(len(self._values), generator=random).numpy() >= share
        return SparseInputs(self._pattern, self._values * kept / np.float32(1 - share))

    def linear(self, layer: nn.Linear) -> Tensor:
        """See `Inputs`."""
        made: Tensor = _Features.apply(layer.weight.T, self._pattern, self._values)  # type: ignore[no-untyped-call]
        return made + layer.bias


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, pattern: Any, values: Any) -> Tensor:
        ctx.pattern, ctx.values = pattern, values
        return _product(pattern[0], pattern[1], values, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        _, _, indptr, indices, turn = ctx.pattern
        return _product(indptr, indices, ctx.values[turn], grads[0]), None, None


def _product(indptr: Any, indices: Any, values: Any, x: Tensor) -> Tensor:
    dense = x.detach().contiguous().numpy()
    out = np.empty((len(indptr) - 1, dense.shape[1]), dtype=np.float32)
    multiply(indptr, indices, values, dense, out)
    return torch.from_numpy(out)

"""Which pairs of fields meet, and the functions by which they do: one number for each row and pair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.data._click_table import Clicks

Pair: TypeAlias = tuple[int, int]

# Joint categories beyond so many are hashed together when pairs are ranked.
_CELLS, _PRIOR = 1 << 18, 8.0
_CONCAT_UNITS = 8


@lru_cache(maxsize=4)
def ranked_pairs(table: Clicks) -> tuple[Pair, ...]:
    """All pairs of fields, those first whose joint categories tell most beyond the two fields by themselves.

    Of the training rows, the first half gives the effects of both fields, one after the other, and then each joint
    category's mean residual, all shrunk towards 0; a pair is worth the squared error that the residuals' means take
    away in the second half. Of two fields one of which follows from the other, nothing is left to tell.
    """
    codes = table.codes[table.rows("train")].astype(np.int64)
    labels = table.labels[table.rows("train")].astype(np.float64)
    half, sizes = len(labels) // 2, table.sizes
    centred = labels - labels[:half].mean()
    effects = [_shrunk(codes[:, field], centred, half, size) for field, size in enumerate(sizes)]
    gains = {}
    for first, second in combinations(range(len(sizes)), 2):
        left = centred - effects[first]
        left -= _shrunk(codes[:, second], left, half, sizes[second])
        cells = min(sizes[first] * sizes[second], _CELLS)
        joint = (codes[:, first] * sizes[second] + codes[:, second]) % cells
        found = _shrunk(joint, left, half, cells)
        gains[first, second] = float(np.mean(left[half:] ** 2 - (left - found)[half:] ** 2))
    return tuple(sorted(gains, key=lambda pair: (-gains[pair], pair)))


def _shrunk(cell: NDArray[np.int64], values: NDArray[np.float64], half: int, cells: int) -> NDArray[np.float64]:
    """(n,) mean of the first half's values in each row's cell, as if `_PRIOR` more rows there had been 0."""
    total = np.bincount(cell[:half], values[:half], minlength=cells)
    count = np.bincount(cell[:half], minlength=cells)
    found: NDArray[np.float64] = (total / (count + _PRIOR))[cell]
    return found


class Pairs(nn.Module):
    """Numbers (n, pairs) for tokens (n, fields, width).

    - `inner`:    e_i . e_j                                  (factorisation machine)
    - `fwfm`:     r_ij e_i . e_j                             (Pan et al. 2018)
    - `hadamard`: w_ij . (e_i * e_j)
    - `outer`:    e_i' W_ij e_j, a weight for each cell of the outer product
    - `concat`:   v_ij . relu(W_ij [e_i, e_j]), a small network for each pair

    Args:
        pairs: positions of the tokens that meet; at least one.
    """

    def __init__(self, function: str, pairs: Sequence[Pair], width: int, random: torch.Generator) -> None:
        super().__init__()
        self.count = len(pairs)
        self._function = function
        self._first = torch.tensor([pair[0] for pair in pairs])
        self._second = torch.tensor([pair[1] for pair in pairs])
        p = self.count
        if function == "fwfm":
            self.weight = nn.Parameter(torch.ones(p))
        elif function == "hadamard":
            self.weight = nn.Parameter(1 + 0.1 * torch.empty(p, width).normal_(generator=random))
        elif function == "outer":
            # Begins near the inner product.
            noise = torch.empty(p, width, width).normal_(0.0, 0.1 * width**-0.5, generator=random)
            self.weight = nn.Parameter(torch.eye(width) + noise)
        elif function == "concat":
            hidden = torch.empty(p, 2 * width, _CONCAT_UNITS).normal_(0.0, width**-0.5, generator=random)
            self.hidden = nn.Parameter(hidden)
            self.weight = nn.Parameter(torch.empty(p, _CONCAT_UNITS).normal_(0.0, 0.3, generator=random))

    def forward(self, tokens: Tensor) -> Tensor:
        """Interactions (n, pairs)."""
        if self._function in ("inner", "fwfm"):
            products = (tokens @ tokens.transpose(1, 2))[:, self._first, self._second]
            return products * self.weight if self._function == "fwfm" else products
        first, second = tokens.index_select(1, self._first), tokens.index_select(1, self._second)
        if self._function == "hadamard":
            return (first * second * self.weight).sum(dim=2)
        # Pairs stand first: one batched product for all of them.
        if self._function == "outer":
            return (torch.bmm(first.transpose(0, 1), self.weight).transpose(0, 1) * second).sum(dim=2)
        both = torch.cat([first, second], dim=2).transpose(0, 1)
        hidden: Any = torch.relu(torch.bmm(both, self.hidden))
        found: Tensor = (hidden * self.weight[:, None, :]).sum(dim=2).transpose(0, 1)
        return found

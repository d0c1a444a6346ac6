"""What is known of each node as rows of one embedding table, of which a step touches only those that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.compiled import kernel
from models.data.interactions import Field, Interactions

PADDING, UNKNOWN_USER, UNKNOWN_QUERY, UNKNOWN_ITEM, RESERVED = 0, 1, 2, 3, 4
_EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class Features:
    """Table rows of every node: its own number first, then its fields.

    Attributes:
        codes: (nodes + 3, fields) int64 rows of the embedding table; 0 pads. The last three rows stand for an unknown
            user, query and item, of which nothing is known.
        rows: how many rows the embedding table has.
    """

    codes: NDArray[np.int64]
    rows: int

    @property
    def fields(self) -> int:
        return int(self.codes.shape[1])

    def unknown(self, kind: int) -> int:
        """Row of `codes` that stands for an unknown node of a type (index into TYPES)."""
        return len(self.codes) - 3 + kind


def read_features(table: Interactions) -> Features:
    """Rows for users, queries and items, in the order of the graph's nodes."""
    counts = (table.users, table.queries, table.items)
    nodes, width = sum(counts), 1 + max(len(table.user_fields), len(table.item_fields))
    codes = np.full((nodes + 3, width), PADDING, np.int64)
    codes[:nodes, 0] = RESERVED + np.arange(nodes)
    codes[nodes:, 0] = [UNKNOWN_USER, UNKNOWN_QUERY, UNKNOWN_ITEM]
    rows = RESERVED + nodes
    for first, fields in ((0, table.user_fields), (table.users + table.queries, table.item_fields)):
        for column, field in enumerate(fields.values(), start=1):
            codes[first : first + len(field.codes), column] = _rows_of(field, rows)
            rows += field.size
    return Features(codes, rows)


def _rows_of(field: Field, shift: int) -> NDArray[np.int64]:
    """Code 0, unknown, is padding: nothing is learned from it."""
    codes = field.codes.astype(np.int64)
    return np.where(codes == 0, PADDING, codes + shift)


class EmbeddingTable:
    """Rows of numbers that are learned, with row-wise Adagrad: one accumulated square for each row.

    Only the rows that a step looks up are copied out, learned from and written back, so a step takes no longer in a
    table of millions. Row 0 stays zero.
    """

    def __init__(self, rows: int, dimensions: int, random: torch.Generator) -> None:
        self.weight = torch.empty(rows, dimensions).normal_(0.0, 0.1, generator=random)
        self.weight[PADDING] = 0.0
        self.squares = torch.zeros(rows)
        self._place = np.full(rows, -1, np.int64)
        self._rows: Tensor | None = None
        self._local: Tensor | None = None

    def look_up(self, codes: list[NDArray[np.int64]], *, learn: bool) -> tuple[Tensor, list[Tensor]]:
        """Rows for codes of any shape.

        Returns:
            (u, d) the different rows, a leaf of the gradient's graph where `learn`; and each code's place in it.
        """
        flat = np.concatenate([code.ravel() for code in codes])
        rows, places = _numbered(flat, self._place)
        index = torch.from_numpy(rows)
        local = self.weight[index]
        if learn:
            self._rows, self._local = index, local.requires_grad_()
        ends = np.cumsum([code.size for code in codes])[:-1]
        shaped = [part.reshape(code.shape) for part, code in zip(np.split(places, ends), codes, strict=True)]
        return local, [torch.from_numpy(part) for part in shaped]

    def update(self, rate: float, decay: float) -> None:
        """Learn from the gradients of the rows looked up last."""
        assert self._rows is not None
        assert self._local is not None
        assert self._local.grad is not None
        rows, gradient = self._rows, self._local.grad + decay * self._local.detach()
        squares = self.squares[rows] + gradient.square().mean(dim=1)
        self.squares[rows] = squares
        self.weight[rows] -= rate * gradient / (squares.sqrt() + _EPSILON)[:, None]
        self.weight[PADDING] = 0.0
        self._rows = self._local = None

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "squares": self.squares}

    def load(self, state: dict[str, Any]) -> None:
        self.weight.copy_(state["weight"])
        self.squares.copy_(state["squares"])


@kernel()
def _numbered(codes: NDArray[np.int64], place: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Different codes, in the order first met, and each code's place among them; `place` is left as found."""
    rows = np.empty(min(len(codes), len(place)), np.int64)
    places = np.empty(len(codes), np.int64)
    met = 0
    for at in range(len(codes)):
        code = codes[at]
        if place[code] < 0:
            place[code] = met
            rows[met] = code
            met += 1
        places[at] = place[code]
    for at in range(met):
        place[rows[at]] = -1
    return rows[:met].copy(), places

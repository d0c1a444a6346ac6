"""Embedding tables by width, and which rows of them a batch has touched.

Fields of the same width share one table, each with an offset of its own, so that a batch is one look-up per width. The
first column of every table is the linear part's weight: it is found by the same look-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tunewright.errors import WorkloadError
from tunewright.space import Config

# Fields with fewer categories are never hashed: there is nothing to save.
HASHED_FROM = 64


def field_widths(config: Config, fields: Sequence[str], sizes: Sequence[int]) -> dict[str, int]:
    """Width of each field's embedding; 0 drops the field.

    Raises:
        WorkloadError: a width is given for a field that the table lacks, or every field is dropped.
    """
    chosen = {name.removeprefix("width_"): value for name, value in config.items() if name.startswith("width_")}
    chosen.pop("power", None)
    unknown = sorted(set(chosen) - set(fields))
    if unknown:
        raise WorkloadError(
            f'parameter "width_{unknown[0]}": the table has no such field (it has {", ".join(fields)}): '
            "build the space with ctr_space(fields)"
        )
    if config["widths"] == "by_field":
        widths = {name: int(chosen.get(name, 16)) for name in fields}
    else:
        power = float(config.get("width_power", 0.0))
        widest, largest = int(config["width"]), max(sizes)
        widths = {
            name: max(1, round(widest * (size / largest) ** power)) for name, size in zip(fields, sizes, strict=True)
        }
    if not any(widths.values()):
        raise WorkloadError("parameters width_...: every field has width 0 and is dropped: keep at least one")
    return widths


@dataclass(frozen=True)
class Columns:
    """Where the kept fields' rows lie.

    Attributes:
        fields: kept fields' numbers in the table of clicks, by falling width.
        widths: of each of them.
        groups: (first, one past last, width) of each run of fields with one width.
        rows: number of rows of each group's table.
        places: for each kept field, the row of each of its codes.
    """

    fields: tuple[int, ...]
    widths: tuple[int, ...]
    groups: tuple[tuple[int, int, int], ...]
    rows: tuple[int, ...]
    places: tuple[NDArray[np.int64], ...]

    def index(self, codes: NDArray[np.int32]) -> Tensor:
        """(n, kept) int64 rows of the groups' tables for codes (n, fields)."""
        found = [places[codes[:, field]] for field, places in zip(self.fields, self.places, strict=True)]
        return torch.from_numpy(np.stack(found, axis=1))


def lay_out(widths: Mapping[str, int], sizes: Sequence[int], hash_share: float) -> Columns:
    """Order fields by width and give each its rows; large fields are hashed to a share of their categories."""
    named = list(widths.values())
    kept = sorted((field for field, width in enumerate(named) if width), key=lambda field: -named[field])
    groups: list[tuple[int, int, int]] = []
    rows: list[int] = []
    places: list[NDArray[np.int64]] = []
    for position, field in enumerate(kept):
        if not groups or groups[-1][2] != named[field]:
            groups.append((position, position, named[field]))
            rows.append(0)
        size = sizes[field]
        slots = size if size < HASHED_FROM else max(HASHED_FROM // 2, int(np.ceil(size * hash_share)))
        places.append(rows[-1] + _hashed(size, min(slots, size)))
        rows[-1] += min(slots, size)
        groups[-1] = (groups[-1][0], position + 1, named[field])
    return Columns(tuple(kept), tuple(named[field] for field in kept), tuple(groups), tuple(rows), tuple(places))


def _hashed(size: int, slots: int) -> NDArray[np.int64]:
    if slots == size:
        return np.arange(size)
    mixed = (np.arange(size, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(slots)).astype(np.int64)


class Table(nn.Module):
    """One embedding table that is learned row by row: in training only the rows of the batch get a gradient.

    Attributes:
        weight: (rows, width) float32; no parameter, for no optimizer of torch's updates it.
        touched, leaf: rows of the last batch and their values, which hold the gradient after `backward`.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.touched: Tensor = torch.empty(0, dtype=torch.int64)
        self.leaf: Tensor = torch.empty(0)

    def forward(self, index: Tensor) -> Tensor:
        """(n, f, width) rows for an index (n, f)."""
        if not self.training:
            return functional.embedding(index, self.weight)
        seen = torch.zeros(len(self.weight), dtype=torch.bool)
        seen[index.flatten()] = True
        self.touched = seen.nonzero()[:, 0]
        place = torch.empty(len(self.weight), dtype=torch.int64)
        place[self.touched] = torch.arange(len(self.touched))
        self.leaf = self.weight[self.touched].requires_grad_()
        return functional.embedding(place[index], self.leaf)


class Embeddings(nn.Module):
    """Tokens of one width from fields of several widths, and the linear part.

    Args:
        linear: whether there is a linear part.
        tokens: whether anything reads the embeddings; without, tables hold the linear weights alone.
        deviation: of the initial embeddings; linear weights begin at 0.
        random: gives the initial values.
    """

    def __init__(
        self, columns: Columns, *, linear: bool, tokens: bool, deviation: float, random: torch.Generator
    ) -> None:
        super().__init__()
        self.columns = columns
        self._linear, self._tokens = int(linear), tokens
        self.width = max(columns.widths)
        self.tables = nn.ModuleList()
        self._projections = nn.ParameterList()
        for (first, last, width), rows in zip(columns.groups, columns.rows, strict=True):
            own = width if tokens else 0
            weight = torch.zeros(rows, self._linear + own)
            weight[:, self._linear :].normal_(0.0, deviation, generator=random)
            self.tables.append(Table(weight))
            if tokens and width != self.width:
                start = torch.empty(last - first, width, self.width)
                self._projections.append(nn.Parameter(start.normal_(0.0, width**-0.5, generator=random)))

    @property
    def size(self) -> int:
        """Numbers in the tables."""
        return sum(table.weight.numel() for table in self.tables if isinstance(table, Table))

    def forward(self, index: Tensor) -> tuple[Tensor | None, Tensor]:
        """Tokens (n, kept, width) and the linear part's sum (n,) for an index (n, kept) of `Columns.index`."""
        linear = torch.zeros(len(index))
        found: list[Tensor] = []
        projections = iter(self._projections)
        for (first, last, width), table in zip(self.columns.groups, self.tables, strict=True):
            rows = table(index[:, first:last])
            if self._linear:
                linear = linear + rows[:, :, 0].sum(dim=1)
            if self._tokens:
                own = rows[:, :, self._linear :]
                found.append(own if width == self.width else torch.einsum("nfw,fwd->nfd", own, next(projections)))
        return (torch.cat(found, dim=1) if self._tokens else None), linear

"""Where edges come from: files of several kinds, arrays, generators; all as pieces of (sources, targets, weights)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.walks import text
from models.walks.errors import GraphError

Ids: TypeAlias = Literal["numbers", "relabel", "names"]
# Largest vertex number: one more stands for "no vertex" in a corpus.
MAX_VERTEX = 2**32 - 2
PIECE_EDGES = 1 << 16


@dataclass(frozen=True)
class Piece:
    """Some edges.

    Attributes:
        edges: (k, 2) int64 ids.
        weights: (k,) float32; (0,) without weights.
        where: says where edge number `row` stands, for messages.
    """

    edges: NDArray[np.int64]
    weights: NDArray[np.float32]
    where: Callable[[int], str]


Edges: TypeAlias = Path | str | NDArray[Any] | Iterable[NDArray[Any]]


def pieces(edges: Edges, weighted: bool, ids: Ids, names: dict[str, int]) -> Iterator[Piece]:
    """Edges piece by piece, checked.

    Args:
        edges: a file (text, .csv, .npy of (m, 2) or (m, 3), .parquet), an array (m, 2) or (m, 3), or arrays.
        names: filled where ids are names, in the order of their first appearance.
    Raises:
        GraphError: a line or row is no edge, an id is negative or too large, a weight is not above zero.
    """
    for piece in _read(edges, weighted, ids, names):
        _check(piece, weighted, ids)
        yield piece


def _read(edges: Edges, weighted: bool, ids: Ids, names: dict[str, int]) -> Iterator[Piece]:
    if isinstance(edges, (str, Path)):
        path = Path(edges)
        if not path.is_file():
            raise GraphError(f"{path}: there is no such file of edges")
        if path.suffix == ".npy":
            yield from _arrays([np.load(path, mmap_mode="r", allow_pickle=False)], weighted, str(path))
        elif path.suffix in (".parquet", ".pq"):
            yield from _parquet(path, weighted)
        elif ids == "names":
            yield from _named(path, weighted, names)
        else:
            for found, weights, line in text.read_text(path, weighted):
                yield Piece(found, weights, _line(path, line))
    elif isinstance(edges, np.ndarray):
        yield from _arrays([edges], weighted, "edges")
    else:
        yield from _arrays(edges, weighted, "edges")


def _line(path: Path, first: int) -> Callable[[int], str]:
    return lambda row: f"{path}, line {text.line_of(path, first, row)}"


def _row(what: str, first: int) -> Callable[[int], str]:
    return lambda row: f"{what}, row {first + row}"


def _arrays(arrays: Iterable[NDArray[Any]], weighted: bool, what: str) -> Iterator[Piece]:
    first = 0
    for array in arrays:
        if array.ndim != 2 or array.shape[1] < 2 + weighted or array.shape[1] > 3:
            raise GraphError(f"{what}: shape {array.shape} must be (edges, {3 if weighted else '2 or 3'})")
        if not weighted and not np.issubdtype(array.dtype, np.integer):
            raise GraphError(f"{what}: {array.dtype} must be whole numbers; pass weighted=True for (edges, 3)")
        for start in range(0, len(array), PIECE_EDGES):
            part = np.asarray(array[start : start + PIECE_EDGES])
            ends = part[:, :2]
            if ends.dtype == np.uint64 and len(ends) and ends.max() > np.uint64(2**63 - 1):
                raise GraphError(f"{what}: an id is above 2**63 - 1; number the vertices from 0")
            if not np.issubdtype(ends.dtype, np.integer) and not np.array_equal(ends, np.floor(ends)):
                raise GraphError(f"{what}: ids must be whole numbers")
            weights = part[:, 2].astype(np.float32) if weighted else np.empty(0, np.float32)
            yield Piece(ends.astype(np.int64), weights, _row(what, first + start))
        first += len(array)


def _parquet(path: Path, weighted: bool) -> Iterator[Piece]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise GraphError(f"{path}: reading Parquet needs pyarrow; install tunewright[parquet]") from None
    file, first = parquet.ParquetFile(path), 0
    columns = file.schema_arrow.names[: 2 + weighted]
    if len(columns) < 2 + weighted:
        raise GraphError(f"{path}: needs {2 + weighted} columns, has {len(columns)}")
    for batch in file.iter_batches(batch_size=PIECE_EDGES, columns=columns):
        if any(column.null_count for column in batch.columns):
            raise GraphError(
                f"{path}: rows {first} to {first + len(batch)} hold an empty cell; every edge needs both ids"
            )
        arrays = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        if not all(np.issubdtype(array.dtype, np.integer) for array in arrays[:2]):
            raise GraphError(f"{path}: columns {columns[:2]} must be whole numbers")
        weights = arrays[2].astype(np.float32) if weighted else np.empty(0, np.float32)
        yield Piece(np.stack(arrays[:2], axis=1).astype(np.int64), weights, _row(str(path), first))
        first += len(batch)


def _named(path: Path, weighted: bool, names: dict[str, int]) -> Iterator[Piece]:
    for pairs, weights, line in text.read_names(path, weighted):
        numbers = [(names.setdefault(a, len(names)), names.setdefault(b, len(names))) for a, b in pairs]
        edges = np.array(numbers, np.int64).reshape(-1, 2)
        yield Piece(edges, np.array(weights, np.float32), _line(path, line))


def _check(piece: Piece, weighted: bool, ids: Ids) -> None:
    if ids == "numbers":
        wrong = np.flatnonzero((piece.edges < 0).any(axis=1))
        if len(wrong):
            raise GraphError(
                f"{piece.where(int(wrong[0]))}: a vertex id is negative; pass ids='relabel' to number anew"
            )
        wrong = np.flatnonzero((piece.edges > MAX_VERTEX).any(axis=1))
        if len(wrong):
            raise GraphError(
                f"{piece.where(int(wrong[0]))}: a vertex id is above {MAX_VERTEX}; pass ids='relabel' to number anew"
            )
    if weighted:
        wrong = np.flatnonzero(~(np.isfinite(piece.weights) & (piece.weights > 0)))
        if len(wrong):
            value = piece.weights[wrong[0]]
            raise GraphError(f"{piece.where(int(wrong[0]))}: weight {value:g} must be a finite number above zero")

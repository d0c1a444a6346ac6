"""Where edges come from: files of several kinds, arrays, generators; all as pieces of (sources, targets, weights)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
_BINARY = (".npy", ".parquet", ".pq")


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
        names: filled where ids are names, in the order of their first appearance; they are read from text alone.
    Raises:
        GraphError: a line or row is no edge, an id is negative or too large, a weight is not above zero, a file cannot
            be read, or names are asked for where ids are numbers.
    """
    for piece in _read(edges, weighted, ids, names):
        _check(piece, weighted, ids)
        yield piece


def _read(edges: Edges, weighted: bool, ids: Ids, names: dict[str, int]) -> Iterator[Piece]:
    path = Path(edges) if isinstance(edges, (str, Path)) else None
    what = "edges" if path is None else str(path)
    if path is not None and not path.is_file():
        raise GraphError(f"{what}: there is no such file of edges")
    if ids == "names" and (path is None or path.suffix in _BINARY):
        raise GraphError(f"{what}: ids='names' reads words of a text file, not numbers; pass ids='relabel' instead")
    if isinstance(edges, np.ndarray):
        yield from _arrays([edges], weighted, what)
    elif path is None:
        yield from _arrays(edges, weighted, what)  # type: ignore[arg-type]
    elif path.suffix == ".npy":
        yield from _arrays([_mapped(path)], weighted, what)
    elif path.suffix in _BINARY:
        yield from _parquet(path, weighted)
    elif ids == "names":
        yield from _named(path, weighted, names)
    else:
        for found, weights, line in text.read_text(path, weighted):
            yield Piece(found, weights, _line(path, False, line))


def _line(path: Path, named: bool, first: int) -> Callable[[int], str]:
    return lambda row: f"{path}, line {text.line_of(path, named, first, row)}"


def _row(what: str, first: int) -> Callable[[int], str]:
    return lambda row: f"{what}, row {first + row}"


def _arrays(arrays: Iterable[NDArray[Any]], weighted: bool, what: str) -> Iterator[Piece]:
    first = 0
    for array in arrays:
        if array.ndim != 2 or array.shape[1] < 2 + weighted or array.shape[1] > 3:
            raise GraphError(f"{what}: shape {array.shape} must be (edges, {3 if weighted else '2 or 3'})")
        if not np.issubdtype(array.dtype, np.integer):
            if not weighted:
                raise GraphError(f"{what}: {array.dtype} must be whole numbers; pass weighted=True for (edges, 3)")
            if not np.issubdtype(array.dtype, np.floating):
                raise GraphError(f"{what}: {array.dtype} must be numbers; convert them to float64")
        for start in range(0, len(array), PIECE_EDGES):
            part = np.asarray(array[start : start + PIECE_EDGES])
            yield _piece(part.T, weighted, _row(what, first + start))
        first += len(array)


def _piece(columns: Sequence[NDArray[Any]] | NDArray[Any], weighted: bool, where: Callable[[int], str]) -> Piece:
    # Each column by itself: side by side, int64 and uint64 would become float64, which merges large ids.
    edges = np.stack([_whole(column, where) for column in columns[:2]], axis=1)
    return Piece(edges, text.float32(columns[2]) if weighted else np.empty(0, np.float32), where)


def _whole(ids: NDArray[Any], where: Callable[[int], str]) -> NDArray[np.int64]:
    """A column of ids as int64; a float's are taken up to where it still tells each from the next."""
    if np.issubdtype(ids.dtype, np.floating):
        bound = 2.0 ** min(53, np.finfo(ids.dtype).nmant + 1)
        wrong = ~((ids == np.floor(ids)) & (np.abs(ids) <= bound))
        remedy = f"must be a whole number up to {bound:.0f} where ids are {ids.dtype}; give ids as int64"
    else:
        wrong = ids > np.uint64(2**63 - 1) if ids.dtype == np.uint64 else np.zeros(len(ids), np.bool_)
        remedy = "is above 2**63 - 1; number the vertices from 0"
    if wrong.any():
        row = int(wrong.argmax())
        raise GraphError(f"{where(row)}: id {ids[row]} {remedy}")
    return ids.astype(np.int64)


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise GraphError(f"{path}: cannot be read as .npy: {error}; save the edges anew with numpy.save") from error


def _parquet(path: Path, weighted: bool) -> Iterator[Piece]:
    names, batches = _batches(path, 2 + weighted)
    first = 0
    for batch in batches:
        if any(column.null_count for column in batch.columns):
            raise GraphError(
                f"{path}: rows {first} to {first + len(batch)} hold an empty cell; every edge needs both ids"
            )
        arrays = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        if not all(np.issubdtype(array.dtype, np.integer) for array in arrays[:2]):
            raise GraphError(f"{path}: columns {names[:2]} must be whole numbers")
        if weighted and arrays[2].dtype.kind not in "iuf":
            raise GraphError(f"{path}: column {names[2]!r} must be numbers, the edges' weights")
        yield _piece(arrays, weighted, _row(str(path), first))
        first += len(batch)


def _batches(path: Path, columns: int) -> tuple[list[str], Iterator[Any]]:
    """Names of a Parquet file's first columns, and its rows in batches of these."""
    try:
        from pyarrow import lib, parquet
    except ImportError:
        raise GraphError(f"{path}: reading Parquet needs pyarrow; install tunewright[parquet]") from None

    def batches() -> Iterator[Any]:
        try:
            yield from file.iter_batches(batch_size=PIECE_EDGES, columns=names)
        except (OSError, lib.ArrowException) as error:
            raise GraphError(f"{path}: cannot be read as Parquet: {error}; write the file anew") from error

    try:
        file = parquet.ParquetFile(path)
    except (OSError, lib.ArrowException) as error:
        raise GraphError(f"{path}: cannot be read as Parquet: {error}; write the file anew") from error
    names = file.schema_arrow.names[:columns]
    if len(names) < columns:
        raise GraphError(f"{path}: needs {columns} columns, has {len(names)}")
    return names, batches()


def _named(path: Path, weighted: bool, names: dict[str, int]) -> Iterator[Piece]:
    for pairs, weights, line in text.read_names(path, weighted):
        numbers = [(names.setdefault(a, len(names)), names.setdefault(b, len(names))) for a, b in pairs]
        edges = np.array(numbers, np.int64).reshape(-1, 2)
        yield Piece(edges, text.float32(weights), _line(path, True, line))


def _check(piece: Piece, weighted: bool, ids: Ids) -> None:
    if ids != "relabel":
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

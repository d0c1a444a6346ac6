"""From an edge list to a graph on disk, in bounded memory: spool, sort externally, merge, cut into segments."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.walks import alias as alias_tables
from models.walks import format as layout
from models.walks.errors import GraphError, storage_errors
from models.walks.external_sort import KEY, WEIGHTED, ExternalSorter
from models.walks.format import Graph, Segments, segment_checksum, write_manifest
from models.walks.sources import Edges, Ids, pieces
from models.walks.text import float32

MIN_MEMORY = 1 << 20
SEGMENT_BYTES = 1 << 16
# A graph with so many vertices per edge is one whose ids are no numbering.
MAX_SPARSENESS, SMALL = 64, 10_000_000
_SHIFT, _MASK = np.uint64(32), np.uint64(2**32 - 1)

Progress = Callable[[str, int], None]


def build_graph(
    edges: Edges,
    path: Path | str,
    *,
    memory_budget: int = 256 << 20,
    directed: bool = False,
    weighted: bool = False,
    ids: Ids = "numbers",
    vertices: int | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    progress: Progress = lambda stage, edges: None,
) -> Graph:
    """Write a graph to a new directory; it is there as a whole or not at all.

    Self loops are left out, equal edges merged (their weights summed); both are counted.

    Args:
        edges: see `sources.pieces`; each edge of an undirected graph is given once, in either direction or both.
        memory_budget: bytes for sorting, at least 1 MiB; names (`ids="names"`) must fit into half of it.
        ids: "numbers" 0 to 2**32 - 2 that are the vertices; "relabel": any 64-bit numbers; "names": words in a text.
        vertices: how many there are, where isolated ones follow the largest id; None: largest id + 1.
        progress: told the stage ("read", "sort", "cut") and the edges it has done.
    Raises:
        GraphError: the edges cannot be used, the path is taken, or the disk is full.
    """
    target = Path(path)
    if memory_budget < MIN_MEMORY:
        raise GraphError(f"memory_budget: {memory_budget:,} bytes; building needs at least {MIN_MEMORY:,}")
    if target.exists():
        raise GraphError(f"{target}: already exists; remove it, or choose another name")
    if segment_bytes < 64:
        raise GraphError(f"segment_bytes: {segment_bytes} must be at least 64")
    target.parent.mkdir(parents=True, exist_ok=True)
    with storage_errors(target, "free some and build again"):
        work = Path(tempfile.mkdtemp(prefix=f".building-{target.name}-", dir=target.parent))
        try:
            job = _Build(work, memory_budget, directed, weighted, progress)
            n = job.spool(edges, ids, vertices)
            m = job.merge(n)
            graph = job.cut(n, m, segment_bytes)
            write_manifest(graph, job.result)
            job.result.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Graph.open(target)


class _Build:
    def __init__(self, work: Path, memory: int, directed: bool, weighted: bool, progress: Progress) -> None:
        self._work, self._memory, self._progress = work, memory, progress
        self._directed, self._weighted = directed, weighted
        self._dtype = WEIGHTED if weighted else KEY
        self.result = work / "graph"
        self.result.mkdir()
        self._runs = work / "runs"
        self._runs.mkdir()
        self._sorter = ExternalSorter(self._runs, self._dtype, memory // 2)
        self._given = self._self_loops = 0

    def spool(self, edges: Edges, ids: Ids, vertices: int | None) -> int:
        """Bring all edges into the sorter under their final numbers; returns the number of vertices."""
        names: dict[str, int] = {}
        checked = self._counted(pieces(edges, self._weighted, ids, names), names)
        if ids == "relabel":
            n = self._relabel(checked)
        else:
            largest = -1
            for found, weights in checked:
                largest = max(largest, int(found.max(initial=-1)))
                self._take(found, weights)
            n = largest + 1
        if ids == "names":
            (self.result / layout.NAMES).write_text("".join(f"{name}\n" for name in names), "utf-8")
        if vertices is not None and vertices < n:
            raise GraphError(f"vertices: {vertices} is below the largest id + 1, {n}")
        n = n if vertices is None else vertices
        if n == 0:
            raise GraphError("edges: there are none; a graph needs one")
        if n > SMALL and n > MAX_SPARSENESS * max(1, self._given):
            raise GraphError(
                f"edges: ids reach {n - 1:,} with {self._given:,} edges; pass ids='relabel' to number anew"
            )
        return n

    def _counted(self, source: Iterable[Any], names: dict[str, int]) -> Iterator[tuple[Any, Any]]:
        for piece in source:
            self._given += len(piece.edges)
            # About what Python keeps for a name and its number.
            if len(names) * 150 > self._memory // 2:
                raise GraphError(f"memory_budget: {self._memory:,} bytes are too few for {len(names):,} names")
            self._progress("read", self._given)
            yield piece.edges, piece.weights

    def _take(self, edges: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        kept = edges[:, 0] != edges[:, 1]
        self._self_loops += len(edges) - int(np.count_nonzero(kept))
        ends, kept_weights = edges[kept].astype(np.uint64), weights[kept] if self._weighted else weights
        self._sorter.add(self._records(ends[:, 0], ends[:, 1], kept_weights))
        if not self._directed:
            self._sorter.add(self._records(ends[:, 1], ends[:, 0], kept_weights))

    def _records(self, source: Any, target: Any, weights: NDArray[np.float32]) -> NDArray[Any]:
        keys = (source << _SHIFT) | target
        if not self._weighted:
            return keys  # type: ignore[no-any-return]
        records = np.empty(len(keys), WEIGHTED)
        records["key"], records["weight"] = keys, weights
        return records

    def _relabel(self, source: Iterator[tuple[Any, Any]]) -> int:
        """Number the ids that occur by their order; they are found by sorting, and looked up in passes over them."""
        spooled, runs = self._work / "spool", self._work / "id-runs"
        runs.mkdir()
        row = np.dtype([("ends", "<i8", 2), ("weight", "<f4")])
        sorter = ExternalSorter(runs, KEY, self._memory // 4)
        with spooled.open("wb") as file:
            for edges, weights in source:
                rows = np.zeros(len(edges), row)
                rows["ends"] = edges
                if self._weighted:
                    rows["weight"] = weights
                rows.tofile(file)
                # The sign bit turned, so that unsigned order is signed order.
                sorter.add(np.unique(edges).view(np.uint64) ^ np.uint64(1 << 63))
        n, last = 0, None
        with (self.result / layout.IDS).open("wb") as file:
            for keys in sorter.merged():
                found = np.unique(keys)
                found = found[1:] if last is not None and found[0] == last else found
                last = keys[-1]
                (found ^ np.uint64(1 << 63)).view(np.int64).tofile(file)
                n += len(found)
        size, at = max(1_024, self._memory // 8 // row.itemsize), 0
        while len(rows := np.fromfile(spooled, row, size, offset=at * row.itemsize)):
            at += len(rows)
            self._take(_numbers(rows["ends"], self.result / layout.IDS, size), rows["weight"])
        spooled.unlink()
        return n

    def merge(self, n: int) -> int:
        """Write offsets, neighbours and weights; returns the number of edges."""
        with (
            (self.result / layout.NEIGHBOURS).open("wb") as neighbours,
            (self.result / layout.WEIGHTS).open("wb") as weights,
            (self.result / layout.OFFSETS).open("wb") as offsets,
        ):
            m, vertex = 0, 0
            np.zeros(1, np.uint64).tofile(offsets)
            for keys, values in _distinct(self._sorter.merged()):
                (keys & _MASK).astype(np.uint32).tofile(neighbours)
                if self._weighted:
                    _summed(keys, values).tofile(weights)
                vertex = _write_offsets(offsets, vertex, (keys >> _SHIFT).astype(np.int64), m)
                m += len(keys)
                self._progress("sort", m)
            _fill(offsets, n - vertex, m)
        if not self._weighted:
            (self.result / layout.WEIGHTS).unlink()
        shutil.rmtree(self._runs)
        return m

    def cut(self, n: int, m: int, segment_bytes: int) -> Graph:
        """Cut the lists into segments, and write checksums and alias entries of each."""
        vertices, edges, checksums = [0], [0], []
        alias_path = self.result / layout.ALIAS
        while vertices[-1] < n:
            start = vertices[-1]
            offsets = self._segment_offsets(start, segment_bytes)
            first, last = int(offsets[0]), int(offsets[-1])
            neighbours = self._read(layout.NEIGHBOURS, np.uint32, first, last)
            table = np.empty((0, 2), np.uint32)
            if self._weighted:
                table = alias_tables.build(offsets - first, self._read(layout.WEIGHTS, np.float32, first, last))
                with alias_path.open("ab") as file:
                    table.tofile(file)
            checksums.append(segment_checksum(offsets, neighbours, table))
            vertices.append(start + len(offsets) - 1)
            edges.append(last)
            self._progress("cut", last)
        given = m if self._directed else m // 2
        return Graph(
            path=self.result,
            vertices=n,
            edges=m,
            directed=self._directed,
            weighted=self._weighted,
            segments=Segments(np.array(vertices), np.array(edges), np.array(checksums, np.uint32)),
            checksum=0,
            self_loops=self._self_loops,
            duplicates=self._given - self._self_loops - given,
        )

    def _segment_offsets(self, start: int, segment_bytes: int) -> NDArray[np.int64]:
        """Offsets from a vertex on, as many lists as a segment holds, at least one."""
        most = segment_bytes // 4
        found = np.fromfile(self.result / layout.OFFSETS, np.int64, most + 1, offset=8 * start)
        lists = int(np.searchsorted(found, found[0] + most, side="right")) - 1
        return found[: max(1, lists) + 1]

    def _read(self, name: str, dtype: Any, first: int, last: int) -> NDArray[Any]:
        return np.fromfile(self.result / name, dtype, last - first, offset=first * np.dtype(dtype).itemsize)


def _numbers(ends: NDArray[np.int64], ids: Path, size: int) -> NDArray[np.int64]:
    """Positions (k, 2) of ids in the sorted file, by one pass over it."""
    wanted, back = np.unique(ends, return_inverse=True)
    numbers = np.empty(len(wanted), np.int64)
    done = base = 0
    while done < len(wanted):
        part = np.fromfile(ids, np.int64, size, offset=8 * base)
        upto = int(np.searchsorted(wanted, part[-1], side="right"))
        numbers[done:upto] = base + np.searchsorted(part, wanted[done:upto])
        done, base = upto, base + len(part)
    return numbers[back].reshape(ends.shape)


def _distinct(source: Iterator[NDArray[Any]]) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float64]]]:
    """Distinct keys and the sums of their weights; equal keys come in one piece."""
    for records in source:
        if records.dtype == KEY:
            keep = np.empty(len(records), np.bool_)
            keep[0] = True
            np.not_equal(records[1:], records[:-1], out=keep[1:])
            yield records[keep], np.empty(0)
        else:
            keys, first = np.unique(records["key"], return_index=True)
            yield keys, np.add.reduceat(records["weight"].astype(np.float64), first)


def _summed(keys: NDArray[np.uint64], sums: NDArray[np.float64]) -> NDArray[np.float32]:
    weights = float32(sums)
    wrong = np.flatnonzero(~np.isfinite(weights))
    if len(wrong):
        key, value = int(keys[wrong[0]]), sums[wrong[0]]
        raise GraphError(
            f"edges: the weights from vertex {key >> 32} to {key & int(_MASK)} (as the graph numbers them) sum to "
            f"{value:g}, too large for a float32; divide all weights by a number"
        )
    return weights


def _write_offsets(file: Any, vertex: int, sources: NDArray[np.int64], base: int) -> int:
    """Write the ends of all lists before the last source's, given the ends of the first `vertex` are written."""
    owners, first = np.unique(sources, return_index=True)
    for owner, start in _gaps(vertex, owners, base + first):
        if isinstance(owner, int):
            _fill(file, owner, start)
        else:
            start.tofile(file)
    return int(owners[-1])


def _gaps(vertex: int, owners: NDArray[np.int64], starts: NDArray[np.int64]) -> Iterator[tuple[Any, Any]]:
    # Lists `vertex` .. owner - 1 end where owner's begins. A long gap of vertices without edges is written in pieces.
    counts = np.diff(owners, prepend=vertex)
    wide = np.flatnonzero(counts > 1 << 16)
    at = 0
    for gap in wide:
        yield None, np.repeat(starts[at:gap], counts[at:gap]).astype(np.uint64)
        yield int(counts[gap]), int(starts[gap])
        at = int(gap) + 1
    yield None, np.repeat(starts[at:], counts[at:]).astype(np.uint64)


def _fill(file: Any, count: int, value: int) -> None:
    while count > 0:
        part = min(count, 1 << 16)
        np.full(part, value, np.uint64).tofile(file)
        count -= part

"""Parts of a graph brought into memory, past the page cache, with an account of what that cost.

Reads go by O_DIRECT where the file system has it, else through the page cache, which is told to drop what was read.
Either way a block that is loaded twice is read from disk twice, as it would be from a graph that no cache can hold.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.walks.errors import GraphError
from models.walks.format import ALIAS, NEIGHBOURS, OFFSETS, Graph
from models.walks.partition import PAGE, Plan

CURRENT, ANCILLARY = 0, (1, 2)
# Two lists this close are read together: a second read would take longer than what lies between.
NEAR_PAGES = 16


@dataclass
class Traffic:
    """What reading the graph took.

    Attributes:
        bytes_read, reads: bytes and system calls.
        loads: contiguous parts loaded as a whole: a block, or a span.
        block_loads, sparse_loads: blocks loaded as a whole (a span counts its blocks), and by single lists.
        seconds: spent in reads, also those that walking went on beside.
    """

    bytes_read: int = 0
    reads: int = 0
    loads: int = 0
    block_loads: int = 0
    sparse_loads: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class DirectFile:
    """A file read in whole pages into page-aligned memory."""

    def __init__(self, path: Path, traffic: Traffic) -> None:
        self._path, self._traffic = path, traffic
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
            self._cached = not hasattr(os, "O_DIRECT")
        except OSError:
            self._file, self._cached = os.open(path, os.O_RDONLY), True
        self.size = os.fstat(self._file).st_size

    def read(self, into: memoryview, first_page: int) -> None:
        """Fill memory from a page on; what lies behind the file's end stays as it is.

        Raises:
            GraphError: the file ends early, or cannot be read.
        """
        at, wanted, done = first_page * PAGE, min(len(into), self.size - first_page * PAGE), 0
        while done < wanted:
            try:
                got = os.preadv(self._file, [into[done:]], at + done)
            except OSError as error:
                raise GraphError(f"{self._path}: cannot be read at byte {at + done}: {error.strerror}") from error
            if got == 0:
                raise GraphError(f"{self._path}: ends at byte {at + done}, before its end: it was cut off")
            done += got
            self._traffic.reads += 1
        self._traffic.bytes_read += done
        if self._cached:
            os.posix_fadvise(self._file, at, wanted, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        os.close(self._file)


class _Arena:
    """Memory for the same file in all regions: one for the span, two for blocks."""

    def __init__(self, file: DirectFile, sizes: tuple[int, int, int]) -> None:
        self._file = file
        pages = [size // PAGE + 3 if size else 0 for size in sizes]
        self.first_page = np.concatenate([[0], np.cumsum(pages)])
        self._memory = memoryview(mmap.mmap(-1, max(1, int(self.first_page[-1])) * PAGE))

    def view(self, dtype: type) -> NDArray[Any]:
        return np.frombuffer(self._memory, dtype)

    def load(self, region: int, start: int, end: int) -> int:
        """Read bytes start to end; returns by how many bytes their place in memory is ahead of that in the file."""
        first, base = start // PAGE, int(self.first_page[region])
        if end > start:
            self._file.read(self._memory[base * PAGE : (base + (end - 1) // PAGE + 1 - first) * PAGE], first)
        return (base - first) * PAGE

    def load_pages(self, region: int, start: int, pages: NDArray[np.int64]) -> None:
        """Read single pages (sorted) of a stretch that begins at byte `start` to where `load` would put them."""
        first, base = start // PAGE, int(self.first_page[region])
        for begin, end in _runs(pages):
            self._file.read(self._memory[(base + begin - first) * PAGE : (base + end - first) * PAGE], begin)


class GraphReader:
    """The regions of memory that walks run on.

    Attributes:
        ranges: (3, 6) int64, one row per region; see `kernels`. An empty region holds no vertex.
        offsets, neighbours, alias, pages: memory of all regions.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self._graph, self._plan = graph, plan
        self.traffic = Traffic()
        self._files = [DirectFile(graph.path / name, self.traffic) for name in (OFFSETS, NEIGHBOURS)]
        if graph.weighted:
            self._files.append(DirectFile(graph.path / ALIAS, self.traffic))
        self._offsets, self._neighbours, *rest = [
            _Arena(file, self._sizes(unit, vertices))
            for file, unit, vertices in zip(self._files, (8, 4, 8), (True, False, False), strict=False)
        ]
        self._alias = rest[0] if rest else None
        self.ranges = np.zeros((3, 6), np.int64)
        self.offsets = self._offsets.view(np.int64)
        self.neighbours = self._neighbours.view(np.uint32)
        self.alias = np.empty((0, 2), np.uint32)
        if self._alias is not None:
            self.alias = self._alias.view(np.uint32).reshape(-1, 2)
        self.pages = np.zeros(int(self._neighbours.first_page[-1]) + 1, np.uint8)
        self._checked = np.zeros(len(graph.segments), np.bool_)

    def _sizes(self, unit: int, vertices: bool) -> tuple[int, int, int]:
        """Most bytes of the span and of each block in one file."""
        firsts = self._plan.first_vertex if vertices else self._plan.first_edge
        spans = int(np.diff(firsts[self._plan.first_block]).max()) + vertices
        block = int(np.diff(firsts).max()) + vertices if self._plan.spans > 1 else 0
        return unit * spans, unit * block, unit * block

    def load(self, region: int, first_block: int, end_block: int) -> float:
        """Bring blocks as a whole into a region; each segment is checked the first time. Returns seconds."""
        began = time.perf_counter()
        self._load_offsets(region, first_block, end_block, sparse=False)
        first, last = self._plan.first_edge[[first_block, end_block]].tolist()
        self._neighbours.load(region, 4 * first, 4 * last)
        if self._alias is not None:
            self._alias.load(region, 8 * first, 8 * last)
        self._check(region, first_block, end_block)
        self.traffic.loads += 1
        self.traffic.block_loads += end_block - first_block
        return self._timed(began)

    def load_lists(self, region: int, block: int, vertices: NDArray[np.int64]) -> float:
        """Bring the lists of some vertices (sorted) of a block into a region; for graphs without weights."""
        began = time.perf_counter()
        self._load_offsets(region, block, block + 1, sparse=True)
        at = vertices + self.ranges[region, 2]
        starts, ends = self.offsets[at], self.offsets[at + 1]
        starts, ends = starts[ends > starts] * 4 // PAGE, (ends[ends > starts] * 4 - 1) // PAGE + 1
        first_byte = 4 * int(self._plan.first_edge[block])
        base = int(self._neighbours.first_page[region])
        self.pages[base : self._neighbours.first_page[region + 1]] = 0
        marks = np.zeros((4 * int(self._plan.first_edge[block + 1])) // PAGE - first_byte // PAGE + 3, np.int64)
        np.add.at(marks, starts - first_byte // PAGE, 1)
        np.add.at(marks, ends - first_byte // PAGE, -1)
        pages = np.flatnonzero(np.cumsum(marks)) + first_byte // PAGE
        pages = _joined(pages)
        self._neighbours.load_pages(region, first_byte, pages)
        self.pages[base + pages - first_byte // PAGE] = 1
        self.traffic.sparse_loads += 1
        self.traffic.loads += 1
        return self._timed(began)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _load_offsets(self, region: int, first_block: int, end_block: int, sparse: bool) -> None:
        plan = self._plan
        first, end = plan.first_vertex[[first_block, end_block]].tolist()
        shift = self._offsets.load(region, 8 * first, 8 * (end + 1)) // 8
        start = 4 * int(plan.first_edge[first_block])
        edge = int(self._neighbours.first_page[region]) - start // PAGE
        alias = 0
        if self._alias is not None:
            alias = int(self._alias.first_page[region]) - 2 * start // PAGE
        self.ranges[region] = first, end, shift, edge * PAGE // 4, alias * PAGE // 8, sparse

    def _check(self, region: int, first_block: int, end_block: int) -> None:
        table, (_, _, vertex_shift, edge_shift, alias_shift, _) = self._graph.segments, self.ranges[region].tolist()
        for segment in range(*self._plan.first_segment[[first_block, end_block]].tolist()):
            if not self._checked[segment]:
                v = slice(
                    table.first_vertex[segment] + vertex_shift, table.first_vertex[segment + 1] + 1 + vertex_shift
                )
                first, last = int(table.first_edge[segment]), int(table.first_edge[segment + 1])
                neighbours = self.neighbours[first + edge_shift : last + edge_shift]
                alias = self.alias[first + alias_shift : last + alias_shift] if len(self.alias) else self.alias
                self._graph.check(segment, self.offsets[v], neighbours, alias)
                self._checked[segment] = True

    def _timed(self, began: float) -> float:
        seconds = time.perf_counter() - began
        self.traffic.seconds += seconds
        return seconds


def _runs(pages: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and end of each run of consecutive pages."""
    if len(pages):
        breaks = np.flatnonzero(np.diff(pages) > 1) + 1
        for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(pages)], strict=True):
            yield int(pages[first]), int(pages[last - 1]) + 1


def _joined(pages: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pages, and those of short gaps between them."""
    if len(pages) < 2:
        return pages
    gaps = np.diff(pages)
    near = np.flatnonzero((gaps > 1) & (gaps <= NEAR_PAGES))
    between = [np.arange(pages[i] + 1, pages[i + 1]) for i in near]
    return np.sort(np.concatenate([pages, *between])) if between else pages

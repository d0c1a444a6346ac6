"""Sorting edges that do not fit in memory: sorted runs on disk, merged in one pass or several.

An edge is one 64-bit key, source in the upper half, with a float32 weight beside it where the graph has weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY = np.dtype("<u8")
WEIGHTED = np.dtype([("key", "<u8"), ("weight", "<f4")])
# More runs than this are merged in several passes, so that each still reads in long stretches.
MAX_RUNS = 64
MIN_RECORDS = 1_024


class ExternalSorter:
    """Takes records in any order and gives them back sorted by key, within a memory budget.

    Args:
        directory: where runs are written; the caller removes it.
        dtype: KEY or WEIGHTED.
        memory: bytes to use; sorting needs about three times a run.
    """

    def __init__(self, directory: Path, dtype: np.dtype[Any], memory: int) -> None:
        self._directory, self._dtype = directory, dtype
        self._capacity = max(MIN_RECORDS, memory // (4 * dtype.itemsize))
        self._buffer = np.empty(self._capacity, dtype)
        self._used = self._made = 0
        self._runs: list[Path] = []

    def add(self, records: NDArray[Any]) -> None:
        """Take records (n,) of the sorter's dtype."""
        while len(records):
            taken = min(len(records), self._capacity - self._used)
            self._buffer[self._used : self._used + taken] = records[:taken]
            self._used += taken
            records = records[taken:]
            if self._used == self._capacity:
                self._write_run()

    def merged(self) -> Iterator[NDArray[Any]]:
        """All records, sorted, equal keys next to each other in one piece; once."""
        if not self._runs:
            yield from _nonempty(_sorted(self._buffer[: self._used]))
            return
        self._write_run()
        self._buffer = np.empty(0, self._dtype)
        while len(self._runs) > MAX_RUNS:
            group, self._runs = self._runs[:MAX_RUNS], self._runs[MAX_RUNS:]
            path = self._new_run()
            with path.open("wb") as file:
                for piece in _merge(group, self._dtype, self._capacity):
                    piece.tofile(file)
            for old in group:
                old.unlink()
        yield from _merge(self._runs, self._dtype, self._capacity)

    def _write_run(self) -> None:
        if self._used:
            _sorted(self._buffer[: self._used]).tofile(self._new_run())
            self._used = 0

    def _new_run(self) -> Path:
        self._made += 1
        self._runs.append(self._directory / f"run-{self._made}")
        return self._runs[-1]


def _sorted(records: NDArray[Any]) -> NDArray[Any]:
    if records.dtype == KEY:
        return np.sort(records)
    # Weights break ties, so that sums of equal edges do not depend on how runs were cut.
    return records[np.lexsort((records["weight"], records["key"]))]


def _keys(records: NDArray[Any]) -> NDArray[np.uint64]:
    return records if records.dtype == KEY else records["key"]


def _nonempty(records: NDArray[Any]) -> Iterator[NDArray[Any]]:
    if len(records):
        yield records


class _Run:
    """A run read piece by piece."""

    def __init__(self, path: Path, dtype: np.dtype[Any], piece: int) -> None:
        self._path, self._dtype, self._piece, self._at = path, dtype, piece, 0
        self.records = np.empty(0, dtype)
        self.ended = False
        self.fill()

    def fill(self) -> None:
        """Read a piece more behind what is left."""
        more = np.fromfile(self._path, self._dtype, self._piece, offset=self._at * self._dtype.itemsize)
        self._at += len(more)
        self.ended = len(more) < self._piece
        self.records = np.concatenate([self.records, more]) if len(self.records) else more

    def take(self, count: int) -> NDArray[Any]:
        taken, self.records = self.records[:count], self.records[count:]
        return taken


def _merge(paths: Sequence[Path], dtype: np.dtype[Any], capacity: int) -> Iterator[NDArray[Any]]:
    """Merge runs: what is below the smallest last key of all unfinished pieces can go out, sorted as one array."""
    piece = max(MIN_RECORDS // 4, capacity // (2 * len(paths)))
    runs = [_Run(path, dtype, piece) for path in paths]
    while runs:
        open_runs = [run for run in runs if not run.ended]
        if open_runs:
            bound = min(_keys(run.records)[-1] for run in open_runs)
            parts = [run.take(int(np.searchsorted(_keys(run.records), bound))) for run in runs]
        else:
            parts = [run.take(len(run.records)) for run in runs]
        yield from _nonempty(_sorted(np.concatenate(parts)))
        for run in open_runs:
            # The bound's own key waits: its equals may follow. A run of nothing but it still grows by a piece.
            if len(run.records) < piece or _keys(run.records)[0] == bound == _keys(run.records)[-1]:
                run.fill()
        runs = [run for run in runs if len(run.records) or not run.ended]

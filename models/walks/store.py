"""Append-only files of walks and steps, with a bounded buffer in memory and commits that survive a kill.

A commit writes out all buffers and then, in one rename, a journal with each file's length. After a kill, files are cut
back to the lengths of the last commit, and files it does not know are removed. What is taken is deleted only after
the next commit. The promise is for a process that dies; a machine that loses power may lose the last commits.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.walks.errors import GraphError, storage_errors

JOURNAL, LOCK = "journal.json", "lock"


class AppendStore:
    """Named sequences of bytes, each appended to, then taken as a whole.

    Args:
        directory: made if missing; the store's own.
        buffer_bytes: what may wait in memory before it is written.

    Attributes:
        bytes_written, bytes_read: to and from disk.
    """

    def __init__(self, directory: Path, buffer_bytes: int) -> None:
        self._directory, self._limit = directory, buffer_bytes
        self._waiting: dict[str, bytearray] = {}
        self._sizes: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._buffered = 0
        self._taken: set[str] = set()
        self._generations: dict[str, int] = {}
        self.bytes_written = self.bytes_read = 0
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out, which would cut back and remove files that this one is writing.

        The lock ends with the process, however that ends.

        Raises:
            GraphError: another process works here.
        """
        with (self._directory / LOCK).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GraphError(
                    f"{self._directory}: another process walks here; wait for it, end it, or choose another place"
                ) from None
            yield

    def length(self, name: str) -> int:
        """Bytes that a sequence holds."""
        return self._sizes.get(name, 0)

    def append(self, name: str, array: NDArray[Any]) -> None:
        """Put a contiguous array behind a sequence; it is copied."""
        if array.size:
            self._append(name, array.reshape(-1).view(np.uint8).data)

    def append_parts(self, names: Sequence[str], array: NDArray[Any], begins: NDArray[np.int64]) -> None:
        """Put parts of a contiguous array behind sequences: items begins[i] to begins[i + 1] behind names[i]."""
        data = array.reshape(-1).view(np.uint8).data
        bounds = (begins * (array.nbytes // max(1, len(array)))).tolist()
        for i in np.flatnonzero(np.diff(begins)).tolist():
            self._append(names[i], data[bounds[i] : bounds[i + 1]])

    def _append(self, name: str, data: memoryview) -> None:
        waiting = self._waiting.get(name)
        if waiting is None:
            self._waiting[name] = bytearray(data)
        else:
            waiting += data
        self._sizes[name] = self._sizes.get(name, 0) + len(data)
        self._buffered += len(data)
        if self._buffered > self._limit:
            self._spill(self._limit // 4)

    def take(self, name: str, dtype: Any, piece: int) -> Iterator[NDArray[Any]]:
        """All of a sequence in pieces of (at most) `piece` items; it is empty at once, and may be appended to anew."""
        written, waiting = self._written.pop(name, 0), self._waiting.pop(name, bytearray())
        self._sizes.pop(name, None)
        self._buffered -= len(waiting)
        file = self._file(name)
        self._generations[name] = self._generations.get(name, 0) + 1
        if written:
            self._taken.add(file.name)
        return self._pieces(file, written, waiting, np.dtype(dtype), piece)

    def _pieces(
        self, file: Path, written: int, waiting: bytearray, dtype: np.dtype[Any], piece: int
    ) -> Iterator[NDArray[Any]]:
        rest: NDArray[Any] = np.frombuffer(waiting, dtype)
        for part in self._from_disk(file, written // dtype.itemsize, dtype, piece):
            # The last part from disk is filled up, as whoever works on pieces works on few large ones best.
            room = piece - len(part)
            yield np.concatenate([part, rest[:room]]) if room and len(rest) else part
            rest = rest[room:]
        for start in range(0, len(rest), piece):
            yield rest[start : start + piece]

    def _from_disk(self, file: Path, items: int, dtype: np.dtype[Any], piece: int) -> Iterator[NDArray[Any]]:
        if not items:
            return
        with file.open("rb") as opened:
            while items:
                part = np.fromfile(opened, dtype, min(piece, items))
                if not len(part):
                    raise GraphError(f"{file}: is shorter than it was written; start the walk anew")
                items -= len(part)
                self.bytes_read += part.nbytes
                yield part
            # What has been read once need not stay in the page cache.
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def commit(self, state: dict[str, Any]) -> None:
        """Make everything appended so far, and `state`, what a later `restore` gives."""
        with storage_errors(self._directory, "free some and walk again with the same arguments: it resumes"):
            self._spill(0)
            body = {"state": state, "lengths": self._written, "generations": self._generations}
            new = self._directory / f"{JOURNAL}.new"
            new.write_text(json.dumps(body))
            new.rename(self._directory / JOURNAL)
        for name in self._taken:
            (self._directory / name).unlink(missing_ok=True)
        self._taken.clear()

    def restore(self) -> dict[str, Any] | None:
        """Go back to the last commit; returns its state, None (and an empty store) where there is none.

        Raises:
            GraphError: files are missing or shorter than the commit says.
        """
        journal = self._directory / JOURNAL
        body: dict[str, Any] = json.loads(journal.read_text()) if journal.exists() else {}
        self._written = dict(body.get("lengths", {}))
        self._sizes, self._generations = dict(self._written), dict(body.get("generations", {}))
        known = {self._file(name): size for name, size in self._written.items()}
        for path in self._directory.iterdir():
            if path not in known and path.name not in (JOURNAL, LOCK):
                path.unlink()
        for path, size in known.items():
            if not path.exists() or path.stat().st_size < size:
                raise GraphError(f"{path}: is missing or shorter than the journal says; remove {self._directory}")
            os.truncate(path, size)
        return body.get("state")

    def remove(self) -> None:
        """Delete the store and its directory."""
        shutil.rmtree(self._directory)

    def _spill(self, target: int) -> None:
        """Write the longest buffers until what waits is below the target."""
        sizes = {name: len(parts) for name, parts in self._waiting.items()}
        with storage_errors(self._directory, "free some and walk again with the same arguments: it resumes"):
            for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
                if self._buffered <= target and target:
                    break
                _write(self._file(name), self._waiting.pop(name), self._written.get(name, 0))
                self._written[name] = self._written.get(name, 0) + sizes[name]
                self._buffered -= sizes[name]
                self.bytes_written += sizes[name]

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.{self._generations.get(name, 0)}"


def _write(file: Path, data: bytearray, at: int) -> None:
    """Write to a place of a file, made if missing; by plain system calls, as there are many short pieces."""
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | (0 if at else os.O_TRUNC), 0o666)
    try:
        rest = memoryview(data)
        while rest:
            done = os.pwrite(opened, rest, at)
            rest, at = rest[done:], at + done
    finally:
        os.close(opened)

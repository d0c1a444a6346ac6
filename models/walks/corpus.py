"""Walks on disk: shards of rows in the order of the walks, whatever the order in which their steps were taken.

    corpus.json              rows, columns, shard rows, and what made them
    walks-00000.npy ...      (shard rows, length + 1) uint32; 2**32 - 1 behind the end of a walk

Walk i of a graph with n vertices starts at vertex i mod n. While walking, steps are logged by piece, a part of a shard
that fits in memory; at the end each piece is put together and appended to its shard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from models.walks.errors import GraphError, storage_errors
from models.walks.format import NO_VERTEX
from models.walks.kernels import STRIDE, by_piece, decode, noted, whole_records
from models.walks.store import AppendStore

MANIFEST = "corpus.json"
SHARD_ROWS = 1 << 18


@dataclass(frozen=True)
class Corpus:
    """Walks that have been written.

    Attributes:
        rows: walks; columns: length + 1, the start first.
        made_by: graph's checksum, p, q, seed and the like.
    """

    path: Path
    rows: int
    columns: int
    shard_rows: int
    made_by: dict[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> Corpus:
        """Open a corpus.

        Raises:
            GraphError: there is none, or a shard is missing.
        """
        path = Path(path)
        try:
            body = json.loads((path / MANIFEST).read_text())
            corpus = cls(path, **{name: body[name] for name in ("rows", "columns", "shard_rows", "made_by")})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GraphError(
                f"{path}: holds no finished walks ({error}); make some by `tunewright graph walk`"
            ) from error
        for shard in corpus.shards:
            if not shard.is_file():
                raise GraphError(f"{shard}: is missing; walk again")
        return corpus

    @property
    def shards(self) -> list[Path]:
        """Files in the order of their walks."""
        return [self.path / f"walks-{i:05}.npy" for i in range(-(-self.rows // self.shard_rows))]

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        """Shards (k, columns), mapped, not read."""
        for shard in self.shards:
            try:
                yield np.load(shard, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError) as error:
                raise GraphError(f"{shard}: is cut off or no shard of walks ({error}); walk again") from error


def piece_rows(rows: int, columns: int, memory: int) -> int:
    """Rows per piece: a shard or a half, a quarter, ... of one, so that a piece fits."""
    found = SHARD_ROWS
    while found > 1 and min(found, rows) * columns * 4 > memory:
        found //= 2
    return found


def log_name(piece: int) -> str:
    """The step log of a piece in the store."""
    return f"steps-{piece}"


class StepLog:
    """Steps on their way to the logs of their pieces.

    They are noted as they come, and sorted by piece when the room is used up: one append a piece for many moves.

    Args:
        rows, pieces: walks per piece, and how many of these.
        memory: bytes, half for the notes and half for sorting them.
    """

    def __init__(self, store: AppendStore, rows: int, pieces: int, memory: int) -> None:
        self._store, self._rows = store, rows
        self._names = [log_name(piece) for piece in range(pieces)]
        self._notes = np.empty(max(memory // 8, 3 + STRIDE), np.uint32)
        self._used = 0

    def add(self, states: NDArray[np.uint64], steps: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
        """Note the steps of `kernels.advance`; `states` are those after them."""
        first = 0
        while True:
            first, self._used = noted(states, steps, counts, first, self._rows, self._notes, self._used)
            if first == len(counts):
                return
            self.flush()

    def flush(self) -> None:
        """Hand all that is noted to the store."""
        words, begins = by_piece(self._notes[: self._used], len(self._names))
        self._store.append_parts(self._names, words, begins)
        self._used = 0


def write(
    target: Path,
    store: AppendStore,
    *,
    rows: int,
    columns: int,
    per_piece: int,
    starts: NDArray[np.int64],
    made_by: dict[str, Any],
    progress: Callable[[int], None] = lambda rows: None,
) -> tuple[Corpus, int]:
    """Put all logged steps together and write the corpus; may be done again after a kill.

    Args:
        starts: (k,) where walks start: walk i at starts[i mod k].
    Returns:
        The corpus, and how many walks ended early (dead ends, decay).
    """
    early = 0
    with storage_errors(target, "free some and walk again with the same arguments: it resumes"):
        target.mkdir(parents=True, exist_ok=True)
        for first_shard in range(0, rows, SHARD_ROWS):
            shard_rows = min(SHARD_ROWS, rows - first_shard)
            with (target / f"walks-{first_shard // SHARD_ROWS:05}.npy").open("wb") as file:
                _header(file, shard_rows, columns)
                for first in range(first_shard, first_shard + shard_rows, per_piece):
                    here = min(per_piece, rows - first)
                    early += _piece(file, store, first, here, columns, starts, first // per_piece)
                    progress(first + here)
        body = {"rows": rows, "columns": columns, "shard_rows": SHARD_ROWS, "made_by": made_by}
        new = target / f"{MANIFEST}.new"
        new.write_text(json.dumps(body) + "\n")
        new.rename(target / MANIFEST)
    return Corpus.open(target), early


def _header(file: IO[bytes], rows: int, columns: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<u4", "fortran_order": False, "shape": (rows, columns)})


def _piece(
    file: IO[bytes], store: AppendStore, first: int, rows: int, columns: int, starts: NDArray[np.int64], piece: int
) -> int:
    matrix = np.full((rows, columns), NO_VERTEX, np.uint32)
    matrix[:, 0] = starts[np.arange(first, first + rows) % len(starts)]
    used = np.ones(rows, np.int64)
    rest = np.empty(0, np.uint32)
    for words in store.take(log_name(piece), np.uint32, 1 << 16):
        words = np.concatenate([rest, words]) if len(rest) else words
        whole = whole_records(words)
        if not decode(words[:whole], matrix, used):
            raise GraphError(
                f"{file.name}: logged steps are damaged, or of other walks; remove its directory and walk anew"
            )
        rest = words[whole:]
    matrix.tofile(file)
    return int(np.count_nonzero(used < columns))

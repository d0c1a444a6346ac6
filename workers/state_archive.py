"""A trial's state as a tar archive, written while it is sent: it is held whole neither in memory nor on a disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence

from workers.checkpoints import CheckpointStore, StoredFile

# Two empty blocks end an archive.
_END = bytes(2 * tarfile.BLOCKSIZE)


def length(files: Sequence[StoredFile]) -> int:
    """Bytes of the archive of these files."""
    return sum(len(_header(file)) + file.size + len(_padding(file)) for file in files) + len(_END)


def pieces(store: CheckpointStore, files: Sequence[StoredFile]) -> Iterator[bytes]:
    """The archive of these files.

    Raises:
        OSError: one of them cannot be read, or is not as long any more as it was.
    """
    for file in files:
        yield _header(file)
        left = file.size
        for piece in store.read(file):
            left -= len(piece)
            yield piece
        if left:
            raise OSError(f"{file.path} changed while it was read")
        yield _padding(file)
    yield _END


def _header(file: StoredFile) -> bytes:
    info = tarfile.TarInfo(file.name)
    info.size = file.size
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(file: StoredFile) -> bytes:
    return bytes(-file.size % tarfile.BLOCKSIZE)

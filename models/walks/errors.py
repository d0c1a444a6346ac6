"""What can be wrong with a graph, its files or a walk; messages name the field or file and the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunewright.errors import WorkloadError


class GraphError(WorkloadError):
    """An edge list, a graph's files, or what was asked of them cannot be used."""


@contextmanager
def storage_errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn a full disk, a full quota and a file limit into a GraphError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise GraphError(f"{path}: no space left to write ({error.strerror}); {remedy}") from error

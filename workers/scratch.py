"""A trial's own directory: locked while the worker that made it lives, so that another can tell what a dead one left.

A worker that is killed cannot clean up. A trial that starts later on that machine removes the directories that nobody
holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "tunewright-trial-"
# A directory is not yet locked for a moment after it was made.
SETTLED_SECONDS = 60.0


class Scratch:
    """A new directory in the system's temporary directory.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self.path = Path(self._directory.name)
        self._hold = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        # On a file system without locks nobody else can lock it either, and nothing is swept.
        with suppress(OSError):
            fcntl.flock(self._hold, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove it, as far as that can be done: what a trial made unremovable stays."""
        self._directory.cleanup()
        os.close(self._hold)


def sweep() -> None:
    """Remove the directories of workers that are gone."""
    settled = time.time() - SETTLED_SECONDS
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if path.stat(follow_symlinks=False).st_ctime < settled:
                _remove_if_free(path)
        except OSError:
            # Another's, or just now removed by another sweep.
            continue


def _remove_if_free(path: Path) -> None:
    hold = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(hold)

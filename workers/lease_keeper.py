"""Renews a study's lease while its runner reads what has happened and decides a first job, which may outlast it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers.journal import Fenced, Journal, JournalUnavailable

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0


@contextmanager
def kept(journal: Journal, until: threading.Event) -> Iterator[None]:
    """Renew the journal's lease in the background until `until`, from when on its holder does, or the block's end."""
    thread = threading.Thread(target=_keep, args=(journal, until), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        until.set()
        thread.join()


def _keep(journal: Journal, until: threading.Event) -> None:
    while not until.wait(RENEW_SECONDS):
        try:
            journal.heartbeat()
        except JournalUnavailable as error:
            log.warning("%s; trying again", error)
        except Fenced:
            # Whoever reads finds out by itself with its first write.
            return

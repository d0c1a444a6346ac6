"""A session's heartbeat, in a thread of its own: the lease is held also while a database takes its time to answer."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from workers.session_journal import Fenced, JournalUnavailable, SessionJournal, Wanted

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0


class Pulse:
    """Renews a lease every second while its block lasts.

    The journal's `heartbeat` is called from this thread while its other methods are called from others.
    """

    def __init__(self, journal: SessionJournal) -> None:
        self._journal = journal
        self._wanted = Wanted.RUN
        self._fenced: Fenced | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="session-pulse", daemon=True)

    def __enter__(self) -> Self:
        self._once()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def wanted(self) -> Wanted:
        """What people wanted at the last beat.

        Raises:
            Fenced: another runner has the session.
        """
        if self._fenced is not None:
            raise self._fenced
        return self._wanted

    def _beat(self) -> None:
        while self._fenced is None and not self._over.wait(HEARTBEAT_SECONDS):
            self._once()

    def _once(self) -> None:
        try:
            self._wanted = self._journal.heartbeat()
        except Fenced as error:
            self._fenced = error
        except JournalUnavailable as error:
            log.warning("%s; the next heartbeat tries again", error)
        except Exception:
            # A thread that ends in silence would lose the lease.
            log.exception("a heartbeat failed")

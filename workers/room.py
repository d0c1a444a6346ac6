"""How many legs a study may have now: its share of the cluster, as the conductor divides it.

The study claims what it would run if it might, and hears what it may. Legs that run are never interrupted: who has more
than it may starts nothing until enough have ended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from workers.journal import Journal, JournalUnavailable

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0


class Room:
    """A study's room on the cluster.

    Attributes:
        legs: that may run now, those included that do.
    """

    def __init__(self, journal: Journal, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._monotonic = monotonic
        self._asked_at: float | None = None
        self._spent = 0.0
        self.legs = 0

    def ask(self, running: int, parallel: int, cluster_seconds: float) -> bool:
        """Claim room, at most once a second; whether it has grown.

        A study that fills its room may want more of it; one that does not has all that it wants.

        Args:
            running: legs that run, or are about to.
            parallel: legs that the study has at most.
            cluster_seconds: time that legs ran so far, summed over those that ran side by side.
        Raises:
            Fenced: another runner has the study.
        """
        now = self._monotonic()
        passed = None if self._asked_at is None else now - self._asked_at
        if passed is not None and passed < ASK_SECONDS:
            return False
        ran = (cluster_seconds - self._spent) / passed if passed else 0.0
        wanted = parallel if running >= self.legs else running
        before = self.legs
        try:
            told = self._journal.share(ran, wanted)
        except JournalUnavailable as error:
            log.warning("%s; the room stays as it is", error)
        else:
            # Until something is heard: enough to get on with.
            self.legs = max(1, before) if told is None else told
        self._asked_at, self._spent = now, cluster_seconds
        return self.legs > before

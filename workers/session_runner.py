"""The actor that runs one tuning session: a shell that puts a `SessionLoop` into a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection
from pathlib import Path

from db_knobs.attach import open_database
from db_knobs.database import Former
from tunewright.session import SessionState
from workers import tracing
from workers.observed import set_up
from workers.session_insight import ServerInsight
from workers.session_journal import SessionJournal, SessionRecord, Wanted
from workers.session_loop import SessionLoop, Tools
from workers.session_pulse import Pulse
from workers.session_settings import SessionSettings
from workers.watchdog import Watchdog


class SystemClock:
    """Time as it passes."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SessionRunner:
    """Runs one session; started by name as a Ray actor, one per session that is not over."""

    def __init__(self, journal: SessionJournal, settings: SessionSettings) -> None:
        set_up("session", settings.logs)
        self._journal = journal
        self._settings = settings
        self._watchdog: Watchdog | None = None
        self._leaving, self._left = threading.Event(), threading.Event()

    async def run(self) -> str:
        """Run the session until it is over or paused; returns the state in which it was left."""
        with tracing.resumed(self._settings.trace):
            try:
                return await asyncio.to_thread(self._run)
            finally:
                self._left.set()

    async def leave(self) -> None:
        """Put the settings back, because the cluster is about to end; the session is paused until its next runner.

        Returns once that is done.
        """
        self._leaving.set()
        await asyncio.to_thread(self._left.wait)

    def _run(self) -> SessionState:
        try:
            with Pulse(self._journal) as pulse:

                def wanted() -> Wanted:
                    heard = pulse.wanted()
                    return Wanted.PAUSE if heard is Wanted.RUN and self._leaving.is_set() else heard

                tools = Tools(
                    open_database,
                    ServerInsight,
                    self._watch,
                    wanted,
                    SystemClock(),
                    restart_commands=self._settings.restart_commands,
                )
                state = SessionLoop(self._journal, tools).run()
        finally:
            # One that was not sent away puts back what this runner leaves.
            if self._watchdog is not None:
                self._watchdog.abandon()
        self._journal.release()
        return state

    def _watch(self, record: SessionRecord, former: Former, restarting: Collection[str]) -> Watchdog:
        if self._settings.watchdog_log is not None:
            Path(self._settings.watchdog_log).parent.mkdir(parents=True, exist_ok=True)
        log = self._settings.watchdog_log
        self._watchdog = Watchdog(record.session, record.address, record.host, former, log, restarting)
        return self._watchdog

"""Writing the audit trail: in the background, together, and bounded.

What is done is written within moments. What is refused, and what programs do all the time, is written when it comes
first and then counted: at most one more row a minute says how often it came again. Of refusals there are at most
`MAX_REFUSALS` kinds a minute, all others count as one, so that nobody fills the disk with them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.store import audit, tokens
from service.store.audit import Act
from service.store.engine import writing

log = logging.getLogger(__name__)

MINUTE = 60.0
MAX_REFUSALS = 20
# Of what programs do all the time; what is above it is written as it comes.
MAX_COUNTED = 10_000
# What waits to be written, while the store cannot be.
MAX_WAITING = 10_000
RETRY_SECONDS = 2.0
PRUNE_SECONDS = 3600.0
# How exactly the last use of a token is known.
USE_SECONDS = 60.0
OTHERS = Act(token=None, name="unknown", verb="*", resource="*", outcome="refused")
LOST = Act(token=None, name="unknown", verb="*", resource="*", outcome="not written")


class AuditTrail:
    """Takes in what happens and writes it; used from the event loop alone.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, engine: Engine, days: float, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._days = days
        self._clock = clock
        self._waiting: list[tuple[float, Act, int]] = []
        self._counted: dict[Act, int] = {}
        self._refusals = 0
        self._minute_began = clock()
        self._pruned_at = 0.0
        self._used: dict[str, float] = {}
        self._lost = 0
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="audit")

    async def close(self) -> None:
        """Write what is left, and end."""
        self._closing.set()
        self._news.set()
        if self._task is not None:
            await self._task
        self._end_minute()
        try:
            await self._write()
        except SQLAlchemyError as error:
            log.error("the last %d entries of the audit trail could not be written: %s", len(self._waiting), error)

    def done(self, act: Act, *, repeats: bool = False) -> None:
        """Something was done.

        Args:
            repeats: programs do it all the time.
        """
        if repeats and (act in self._counted or len(self._counted) < MAX_COUNTED):
            self._count(act)
        else:
            self._add(act, 1)

    def refused(self, act: Act) -> None:
        """Something was refused."""
        if act not in self._counted:
            if self._refusals >= MAX_REFUSALS:
                act = OTHERS
            self._refusals += 1
        self._count(act)

    def used(self, token: str, before: float | None) -> None:
        """A token is in use.

        Args:
            before: its last use as the store knows it.
        """
        now = self._clock()
        if before is None or self._passed(before, USE_SECONDS):
            self._used[token] = now
            self._news.set()

    def _count(self, act: Act) -> None:
        if act in self._counted:
            self._counted[act] += 1
        else:
            self._counted[act] = 0
            self._add(act, 1)

    def _add(self, act: Act, count: int) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return
        self._waiting.append((self._clock(), act, count))
        self._news.set()

    def _end_minute(self) -> None:
        for act, again in self._counted.items():
            if again:
                self._add(act, again)
        self._counted.clear()
        self._refusals = 0
        self._minute_began = self._clock()

    def _passed(self, since: float, seconds: float) -> bool:
        """Whether so much time has passed; what lies ahead is from before the clock was set back, which may be long."""
        return not 0 <= self._clock() - since < seconds

    async def _run(self) -> None:
        while not self._closing.is_set():
            await _wait(self._news, MINUTE)
            if self._passed(self._minute_began, MINUTE):
                self._end_minute()
            try:
                await self._write()
            except SQLAlchemyError as error:
                log.warning("the audit trail cannot be written: %s", error)
                await _wait(self._closing, RETRY_SECONDS)

    async def _write(self) -> None:
        self._news.clear()
        waiting, lost, used = list(self._waiting), self._lost, dict(self._used)
        prune = self._passed(self._pruned_at, PRUNE_SECONDS)
        rows = [*waiting, (self._clock(), LOST, lost)] if lost else waiting
        if not (rows or used or prune):
            return
        await asyncio.to_thread(self._store, rows, used, prune)
        # Only what is written is forgotten; more may have come meanwhile.
        del self._waiting[: len(waiting)]
        self._lost -= lost
        self._used = {token: at for token, at in self._used.items() if used.get(token) != at}
        if prune:
            self._pruned_at = self._clock()

    def _store(self, waiting: list[tuple[float, Act, int]], used: dict[str, float], prune: bool) -> None:
        with writing(self._engine) as connection:
            audit.add(connection, waiting)
            tokens.note_use(connection, used)
            if prune:
                audit.prune(connection, self._days)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass

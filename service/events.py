"""The live feed: new events of the store, for any number of listeners.

One task reads the store while anybody listens, whenever the store says that there may be news, and keeps the newest
events in a ring. A listener that falls behind the ring (or comes back with an old Last-Event-ID) reads from the store
until it has caught up, so a slow one costs memory neither here nor for the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sqlalchemy.exc import SQLAlchemyError

from service.store import event_log
from service.store.repository import Repository
from tunewright.views import Event

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
RING_EVENTS = 2_000
PAGE_EVENTS = 500


class EventFeed:
    """Follows the events of a store."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._ring: deque[Event] = deque(maxlen=RING_EVENTS)
        self._newest = 0
        self._listeners = 0
        self._news = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def subscribe(self, after: int | None, study: str | None = None) -> AsyncGenerator[Event]:
        """Events as they happen, oldest first, without end.

        Args:
            after: id of the last event seen; None starts now, and so does an id that the store has not reached.
            study: only this study's.
        """
        newest = await asyncio.to_thread(self._repository.last_event)
        last = newest if after is None else min(after, newest)
        self._join(newest)
        try:
            while True:
                news = self._news
                for event in await self._since(last):
                    last = event.id
                    if study is None or event.study == study:
                        yield event
                if last >= self._newest:
                    await news.wait()
        finally:
            self._leave()

    async def _since(self, last: int) -> list[Event]:
        if self._ring and self._ring[0].id <= last + 1:
            skipped = max(0, last + 1 - self._ring[0].id)
            # Ids may have gaps, so the guess by counting is only where the search starts.
            start = next((i for i in range(min(skipped, len(self._ring)), -1, -1) if self._before(i, last)), 0)
            return [self._ring[i] for i in range(start, min(start + PAGE_EVENTS, len(self._ring)))]
        return await asyncio.to_thread(self._repository.events, last, limit=PAGE_EVENTS)

    def _before(self, index: int, last: int) -> bool:
        """Whether everything in the ring before `index` has been seen."""
        return index == 0 or self._ring[index - 1].id <= last

    def _join(self, newest: int) -> None:
        self._listeners += 1
        if self._follower is None:
            # From the store's end, wherever the first listener stands: it catches up by itself.
            self._ring.clear()
            self._newest = newest
            self._follower = asyncio.create_task(self._follow(), name="event-feed")

    def _leave(self) -> None:
        self._listeners -= 1
        if self._listeners == 0 and self._follower is not None:
            self._follower.cancel()
            self._follower = None

    async def _follow(self) -> None:
        async with aclosing(event_log.news(self._repository.engine)) as news:
            async for _ in news:
                while await self._read():
                    pass

    async def _read(self) -> bool:
        """Take in the next events; whether there may be more of them."""
        try:
            events = await asyncio.to_thread(self._repository.events, self._newest, limit=PAGE_EVENTS)
        except SQLAlchemyError as error:
            log.warning("cannot read events: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            return True
        if events:
            self._ring.extend(events)
            self._newest = events[-1].id
            self._news.set()
            self._news = asyncio.Event()
        return len(events) == PAGE_EVENTS

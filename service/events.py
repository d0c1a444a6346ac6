"""The live feed: new events of the store, for any number of listeners.

One task reads the store while anybody listens, whenever the store says that there may be news, and keeps the newest
events in a ring, each as the text that is sent. A listener that falls behind the ring (or comes back with an old
Last-Event-ID) reads from the store until it has caught up.

What may be relied on: the ring is bounded in bytes, and a listener holds one page at a time, bounded too, however
slowly it takes them. So one that never reads costs the others nothing, and this process a page and its socket.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Counter as CountMetric
from prometheus_client import Histogram
from sqlalchemy.exc import SQLAlchemyError

from service.store import event_log
from service.store.repository import Repository
from tunewright.errors import TunewrightError
from tunewright.views import MISSED, Event

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
RING_EVENTS = 2_000
RING_BYTES = 16 * 2**20
PAGE_EVENTS = 500
PAGE_BYTES = 256 * 2**10
# A page from the store is the listener's own, where those of the ring are shared.
CATCH_UP_EVENTS = 20
# Somebody who listens hears something at least this often.
QUIET_SECONDS = 15.0

LAG = Histogram(
    "tunewright_event_lag_seconds",
    "From the time that an event bears until this service has read it, while anybody listens",
    registry=None,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
REFUSED = CountMetric(
    "tunewright_event_clients_refused", "Clients of /v1/events that found no place", ["limit"], registry=None
)


class FeedFull(TunewrightError):
    """So many listen already that there is no place for one more.

    Attributes:
        whole: nobody has a place; else only this client has too many.
    """

    def __init__(self, message: str, *, whole: bool) -> None:
        super().__init__(message)
        self.whole = whole


@dataclass(frozen=True)
class FeedLimits:
    """How many may listen: in all, and from one address."""

    clients: int = 1_000
    clients_per_address: int = 100


@dataclass(frozen=True)
class Entry:
    """An event as it is sent.

    Attributes:
        text: its JSON.
    """

    id: int
    kind: str
    study: str
    project: str
    text: str

    @classmethod
    def of(cls, event: Event) -> Entry:
        return cls(event.id, event.kind, event.study, event.project, event.model_dump_json())

    def concerns(self, study: str | None, project: str | None) -> bool:
        """Whether it is of interest to who asks for one study or one project; what names no study concerns all."""
        return self.study == "" or (study in (None, self.study) and project in (None, self.project))


class EventFeed:
    """Follows the events of a store."""

    def __init__(self, repository: Repository, limits: FeedLimits | None = None) -> None:
        self._repository = repository
        self._limits = limits or FeedLimits()
        self._addresses: Counter[str] = Counter()
        self._ring: deque[Entry] = deque()
        self._ring_bytes = 0
        self._newest = 0
        self._listeners = 0
        self._news = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        """How many have a place."""
        return self._addresses.total()

    @property
    def newest(self) -> int | None:
        """Id of the newest event that listeners have been offered; None while nobody listens."""
        return self._newest if self._follower is not None else None

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """A place for one client.

        Raises:
            FeedFull: there is none; the message says why and what to do.
        """
        if self.clients >= self._limits.clients:
            REFUSED.labels("all").inc()
            raise FeedFull(
                f"{self.clients} clients follow events already (max_event_clients); try again in a while",
                whole=True,
            )
        if self._addresses[address] >= self._limits.clients_per_address:
            REFUSED.labels("address").inc()
            raise FeedFull(
                f"{self._addresses[address]} clients at your address follow events already "
                "(max_event_clients_per_address); close one of them",
                whole=False,
            )
        self._addresses[address] += 1
        try:
            yield
        finally:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    async def subscribe(
        self, after: int | None, study: str | None = None, project: str | None = None
    ) -> AsyncGenerator[list[Entry]]:
        """Events as they happen, oldest first, without end, in pages; an empty page says that nothing has happened.

        Where events after `after` are not kept any more, an entry of the kind `missed` stands in their place.

        Args:
            after: id of the last event seen; None starts now, and so does an id that the store has not reached.
            study, project: only this one's.
        """
        newest = await asyncio.to_thread(self._repository.last_event)
        last = newest if after is None else min(after, newest)
        self._join(newest)
        heard = time.monotonic()
        try:
            while True:
                news = self._news
                page = await self._since(last)
                if page:
                    last = page[-1].id
                wanted = [entry for entry in page if entry.concerns(study, project)]
                if wanted or time.monotonic() - heard >= QUIET_SECONDS:
                    yield wanted
                    heard = time.monotonic()
                if last >= self._newest:
                    await _wait(news, QUIET_SECONDS - (time.monotonic() - heard))
        finally:
            self._leave()

    async def _since(self, last: int) -> list[Entry]:
        if last >= self._newest:
            return []
        if self._ring and self._ring[0].id <= last + 1:
            skipped = max(0, last + 1 - self._ring[0].id)
            # Ids may have gaps, so the guess by counting is only where the search starts.
            start = next((i for i in range(min(skipped, len(self._ring)), -1, -1) if self._before(i, last)), 0)
            return _page([self._ring[i] for i in range(start, min(start + PAGE_EVENTS, len(self._ring)))])
        try:
            return await asyncio.to_thread(self._stored, last)
        except SQLAlchemyError as error:
            log.warning("cannot read events: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            return []

    def _stored(self, last: int) -> list[Entry]:
        oldest = event_log.oldest(self._repository.engine)
        found = [Entry.of(event) for event in self._repository.events(last, limit=CATCH_UP_EVENTS)]
        if found and last + 1 < oldest:
            missed = Event(id=found[0].id - 1, kind=MISSED, study="", at=datetime.now(UTC), body={"after": last})
            return [Entry.of(missed), *found]
        return found

    def _before(self, index: int, last: int) -> bool:
        """Whether everything in the ring before `index` has been seen."""
        return index == 0 or self._ring[index - 1].id <= last

    def _join(self, newest: int) -> None:
        self._listeners += 1
        if self._follower is None:
            # From the store's end, wherever the first listener stands: it catches up by itself.
            self._ring.clear()
            self._ring_bytes = 0
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
            for event in events:
                LAG.observe(max(0.0, time.time() - event.at.timestamp()))
                self._keep(Entry.of(event))
            self._newest = events[-1].id
            self._news.set()
            self._news = asyncio.Event()
        return len(events) == PAGE_EVENTS

    def _keep(self, entry: Entry) -> None:
        self._ring.append(entry)
        self._ring_bytes += len(entry.text)
        while len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft().text)


def _page(entries: Sequence[Entry]) -> list[Entry]:
    """As many of the first entries as make a page, one at least."""
    size, count = 0, 0
    for entry in entries:
        size += len(entry.text)
        if count and size > PAGE_BYTES:
            break
        count += 1
    return list(entries[:count])


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await news.wait()
    except TimeoutError:
        pass

"""The live feed as Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from service.api.dependencies import CallerDep, ServicesDep
from service.events import Entry, EventFeed, FeedFull
from service.problems import answers

router = APIRouter(prefix="/v1", tags=["events"])

# How long a client waits before it connects again after a lost connection.
RETRY_MILLISECONDS = 1000
# How long one waits that found no place.
REFUSED_SECONDS = 10
MAX_EVENT_ID = 2**63 - 1
MEDIA_TYPE = "text/event-stream"
# Proxies must hand events on as they come.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "Events, without end"}
}


async def _place(request: Request, services: ServicesDep) -> AsyncIterator[None]:
    """A place among those who listen, until the answer has ended."""
    address = request.client.host if request.client is not None else "unknown"
    try:
        with services.feed.place(address):
            yield
    except FeedFull as error:
        status = 503 if error.whole else 429
        raise HTTPException(status, str(error), {"Retry-After": str(REFUSED_SECONDS)}) from None


class _EventStream(StreamingResponse):
    """Leaves the feed as soon as the client is gone, wherever the stream stood then."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers=HEADERS, media_type=MEDIA_TYPE)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


@router.get(
    "/events", response_class=StreamingResponse, responses=_STREAM | answers(429), dependencies=[Depends(_place)]
)
async def stream_events(
    services: ServicesDep,
    caller: CallerDep,
    study: Annotated[str | None, Query(max_length=100, description="Only this study's events")] = None,
    session: Annotated[str | None, Query(max_length=100, description="Only this tuning session's events")] = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_EVENT_ID, description="Go on after this event")] = None,
) -> Response:
    """Events as they happen. A client that reconnects with Last-Event-ID misses nothing of the newest 50,000 events;
    one that was away for longer is told so by an event `missed`, and fetches anew what it shows."""
    # Where the stream begins is settled before the client hears of it: what it fetches on hearing is then older.
    after = await asyncio.to_thread(services.repository.last_event) if last_event_id is None else last_event_id
    # Their ids never meet.
    return _EventStream(_stream(services.feed, after, session or study, caller.only))


async def _stream(feed: EventFeed, after: int, study: str | None, project: str | None) -> AsyncGenerator[bytes]:
    yield format_sse_event(comment="connected", retry=RETRY_MILLISECONDS, id=str(after))
    async with aclosing(feed.subscribe(after, study, project)) as pages:
        async for page in pages:
            yield _chunk(page) if page else format_sse_event(comment="ping")


def _chunk(page: Sequence[Entry]) -> bytes:
    """A page in one piece: fifty clients would else cost fifty wake-ups for each event."""
    return b"".join(format_sse_event(data_str=entry.text, event=entry.kind, id=str(entry.id)) for entry in page)

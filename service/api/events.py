"""The live feed as Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.dependencies import ServicesDep

router = APIRouter(prefix="/v1", tags=["events"])

# How long a client waits before it connects again after a lost connection.
RETRY_MILLISECONDS = 1000
MAX_EVENT_ID = 2**63 - 1


@router.get("/events", response_class=EventSourceResponse)
async def stream_events(
    services: ServicesDep,
    study: Annotated[str | None, Query(max_length=100, description="Only this study's events")] = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_EVENT_ID, description="Go on after this event")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events as they happen. A client that reconnects with Last-Event-ID misses nothing of the newest 50,000 events."""
    # Where the stream begins is settled before the client hears of it: what it fetches on hearing is then older.
    after = await asyncio.to_thread(services.repository.last_event) if last_event_id is None else last_event_id
    yield ServerSentEvent(comment="connected", retry=RETRY_MILLISECONDS, id=str(after))
    async with aclosing(services.feed.subscribe(after, study)) as events:
        async for event in events:
            yield ServerSentEvent(data=event.model_dump(mode="json"), event=event.kind, id=str(event.id))

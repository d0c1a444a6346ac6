"""Clients of /v1/events that are many, late, slow, or do not read at all."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete
from sqlalchemy.exc import OperationalError

from service import events as events_module
from service.events import EventFeed, FeedFull, FeedLimits
from service.store.engine import writing
from service.store.event_log import append
from service.store.repository import Repository
from service.store.tables import EventRow
from tests.service.conftest import sqlite_only
from tests.tunewright.live_service import LiveService
from tunewright.views import MISSED

serve = importlib.import_module("tunewright.cli.serve")

SECONDS = 30.0
# More than sockets of both sides hold for somebody who does not read.
LARGE = 200_000
MANY = 60


def add(repository: Repository, count: int = 1, size: int = 0) -> None:
    for number in range(count):
        with writing(repository.engine) as connection:
            append(connection, "a" * 16, "study", 1.0, {"n": number, "filling": "x" * size}, "default")


async def take(pages: AsyncIterator[Any], count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        found += await asyncio.wait_for(anext(pages), SECONDS)
    return found


@sqlite_only
def test_places_are_counted_in_all_and_by_address(repository: Repository) -> None:
    feed = EventFeed(repository, FeedLimits(clients=3, clients_per_address=2))

    with feed.place("a"), feed.place("a"):
        with pytest.raises(FeedFull, match="max_event_clients_per_address") as refused:
            feed.place("a").__enter__()
        assert not refused.value.whole
        with feed.place("b"):
            with pytest.raises(FeedFull, match=r"3 clients .*max_event_clients\)") as refused:
                feed.place("c").__enter__()
            assert refused.value.whole
        assert feed.clients == 2
    assert feed.clients == 0


@sqlite_only
def test_who_was_away_for_too_long_is_told_to_look_anew(repository: Repository) -> None:
    async def test() -> None:
        add(repository, 9)
        with writing(repository.engine) as connection:
            connection.execute(delete(EventRow).where(EventRow.id <= 5))
        async with aclosing(EventFeed(repository).subscribe(2, study="other", project="other")) as pages:
            (missed,) = await take(pages, 1)
        async with aclosing(EventFeed(repository).subscribe(5)) as pages:
            found = await take(pages, 4)

        assert (missed.id, missed.kind) == (5, MISSED)
        assert json.loads(missed.text)["body"] == {"after": 2}
        assert [(entry.id, entry.kind) for entry in found] == [(n, "study") for n in range(6, 10)]

    asyncio.run(test())


@sqlite_only
def test_what_is_kept_for_all_and_for_each_is_bounded_in_bytes(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "RING_BYTES", 50_000)
    monkeypatch.setattr(events_module, "PAGE_BYTES", 5_000)

    async def test() -> None:
        add(repository)
        feed = EventFeed(repository)
        async with aclosing(feed.subscribe(0)) as pages, aclosing(feed.subscribe(0)) as idle:
            await take(pages, 1)
            await take(idle, 1)
            await asyncio.to_thread(add, repository, 200, 1_000)
            sizes, count = [], 0
            while count < 200:
                page = await asyncio.wait_for(anext(pages), SECONDS)
                sizes.append(sum(len(entry.text) for entry in page))
                count += len(page)

            assert feed._ring_bytes <= 50_000
            # A page from the store is so many events, whatever their size.
            assert max(sizes) < max(5_000, events_module.CATCH_UP_EVENTS * 1_300)
            assert [entry.id for entry in await take(idle, 200)][:200] == list(range(2, 202))

    asyncio.run(test())


@sqlite_only
def test_a_store_that_is_away_for_a_moment_does_not_end_the_stream(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "RETRY_SECONDS", 0.01)
    read, failures = Repository.events, 3

    def events(self: Repository, after: int, *, limit: int) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OperationalError("SELECT", {}, Exception("gone"))
        return read(self, after, limit=limit)

    monkeypatch.setattr(Repository, "events", events)

    async def test() -> None:
        add(repository, 3)
        async with aclosing(EventFeed(repository).subscribe(0)) as pages:
            assert [entry.id for entry in await take(pages, 3)] == [1, 2, 3]

    asyncio.run(test())


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveService]:
    """A service on a port, which cuts off soon who does not read; at most two clients may follow events."""
    monkeypatch.setattr(serve, "UNREAD_SECONDS", 2)
    service = LiveService(tmp_path / "data", max_event_clients_per_address=2)
    service.start()
    yield service
    service.close()


@asynccontextmanager
async def connection(service: LiveService, limit: int = 2**16) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has read the greeting and nothing more."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    port = int(service.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=line, limit=limit)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)
    await asyncio.wait_for(reader.readuntil(b"connected\n"), SECONDS)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def clients(service: LiveService, count: int) -> None:
    """Wait until so many clients have a place."""
    async with httpx.AsyncClient(base_url=service.url) as http:
        while f"tunewright_event_clients {count:.1f}" not in (await http.get("/metrics")).text:
            await asyncio.sleep(0.05)


async def read_to(reader: asyncio.StreamReader, last: int, pause: float = 0.0) -> None:
    """Read until the event with this id has come."""
    seen = b""
    while f"id: {last}\n".encode() not in seen:
        piece = await reader.read(65_536)
        assert piece, "the stream ended"
        seen = seen[-100:] + piece
        await asyncio.sleep(pause)


def test_one_that_never_reads_costs_the_others_nothing_and_is_cut_off(live: LiveService) -> None:
    async def test() -> None:
        async with connection(live, limit=1024), connection(live) as reader:
            await clients(live, 2)
            reading = asyncio.create_task(read_to(reader, MANY))
            await asyncio.to_thread(add, live.repository, MANY, LARGE)
            await asyncio.wait_for(reading, SECONDS)
            # Twelve megabytes have gone by; the kernel gives the connection up, and its place is free.
            await asyncio.wait_for(clients(live, 1), SECONDS)

    asyncio.run(test())


def test_one_that_reads_slowly_gets_everything(live: LiveService) -> None:
    async def test() -> None:
        async with connection(live) as slow, connection(live) as quick:
            tasks = [asyncio.create_task(read_to(slow, MANY, 0.01)), asyncio.create_task(read_to(quick, MANY))]
            await clients(live, 2)
            await asyncio.to_thread(add, live.repository, MANY, LARGE)
            await asyncio.wait_for(asyncio.gather(*tasks), 2 * SECONDS)

    asyncio.run(test())


def test_the_next_client_is_refused_in_words_and_finds_a_place_when_one_leaves(live: LiveService) -> None:
    async def test() -> None:
        async with httpx.AsyncClient(base_url=live.url) as http:
            async with connection(live), connection(live):
                await clients(live, 2)
                refused = await http.get("/v1/events")
            await asyncio.wait_for(clients(live, 0), SECONDS)
            async with connection(live):
                pass

        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "10"
        assert refused.headers["content-type"] == "application/problem+json"
        assert "max_event_clients_per_address" in refused.json()["detail"]

    asyncio.run(test())

"""The live feed, and its form as Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from service import events as events_module
from service.api.dependencies import Services
from service.events import Entry, EventFeed
from service.settings import ServiceSettings
from service.store.engine import writing
from service.store.repository import Repository, _event
from service.store.tables import EventRow
from tests.service.conftest import quick_app, sqlite_only
from tunewright.views import Event

SECONDS = 20.0


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 3 * SECONDS))


def add(repository: Repository, count: int = 1, study: str = "a") -> None:
    with writing(repository.engine) as connection:
        for n in range(count):
            _event(connection, study, {"n": n})


async def take(events: Any, count: int) -> list[int]:
    """Ids of the next events."""
    return [(await asyncio.wait_for(anext(events), SECONDS)).id for _ in range(count)]


async def one_by_one(pages: AsyncIterator[list[Entry]]) -> AsyncIterator[Entry]:
    async for page in pages:
        for entry in page:
            yield entry


@asynccontextmanager
async def listening(feed: EventFeed, after: int | None = None, study: str | None = None) -> AsyncIterator[Any]:
    """A listener that has joined: it saw the event that was added to see it."""
    async with aclosing(feed.subscribe(after, study)) as pages:
        yield one_by_one(pages)


@pytest.fixture
def feed(repository: Repository) -> EventFeed:
    return EventFeed(repository)


def test_a_listener_hears_everything_after_an_event_in_order(repository: Repository, feed: EventFeed) -> None:
    async def test() -> None:
        add(repository, 5)
        async with listening(feed, after=2) as events:
            assert await take(events, 3) == [3, 4, 5]
            add(repository, 3)
            assert await take(events, 3) == [6, 7, 8]

    run(test)


def test_a_new_listener_hears_only_news(repository: Repository, feed: EventFeed) -> None:
    async def test() -> None:
        add(repository, 5)
        async with listening(feed) as events:
            first = asyncio.ensure_future(take(events, 1))
            while feed._listeners == 0:
                await asyncio.sleep(0)
            add(repository)
            assert await first == [6]

    run(test)


def test_an_id_that_the_store_has_not_reached_starts_now(repository: Repository, feed: EventFeed) -> None:
    async def test() -> None:
        add(repository, 3)
        async with listening(feed, after=10**15) as events:
            first = asyncio.ensure_future(take(events, 1))
            while feed._listeners == 0:
                await asyncio.sleep(0)
            add(repository)
            assert await first == [4]

    run(test)


def test_a_listener_can_choose_one_study(repository: Repository, feed: EventFeed) -> None:
    async def test() -> None:
        for _ in range(3):
            add(repository, 1, "a")
            add(repository, 1, "b")
        async with listening(feed, after=0, study="b") as events:
            assert await take(events, 3) == [2, 4, 6]

    run(test)


def test_gaps_in_ids_hide_nothing(repository: Repository, feed: EventFeed) -> None:
    async def test() -> None:
        add(repository, 10)
        async with listening(feed, after=0) as events:
            assert await take(events, 10) == list(range(1, 11))
            add(repository, 6)
            with writing(repository.engine) as connection:
                connection.execute(EventRow.__table__.delete().where(EventRow.id.in_([3, 4, 12, 15])))
            add(repository, 2)
            heard = await take(events, 4)
            while heard[-1] < 18:
                heard += await take(events, 1)
        assert heard == sorted(set(heard))
        assert {11, 13, 14, 16, 17, 18} <= set(heard)
        async with listening(feed, after=2) as later:
            assert await take(later, 3) == [5, 6, 7]

    run(test)


def test_a_listener_slower_than_the_ring_misses_nothing(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "RING_EVENTS", 10)
    monkeypatch.setattr(events_module, "PAGE_EVENTS", 7)
    feed = EventFeed(repository)

    async def test() -> None:
        async with listening(feed, after=0) as slow, listening(feed, after=0) as fast:
            add(repository, 1)
            assert await take(slow, 1) == await take(fast, 1) == [1]
            add(repository, 60)
            assert await take(fast, 60) == list(range(2, 62))
            assert len(feed._ring) == 10
            assert await take(slow, 60) == list(range(2, 62))

    run(test)


def test_an_old_listener_does_not_hold_up_the_others(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "PAGE_EVENTS", 10)
    feed = EventFeed(repository)

    async def test() -> None:
        add(repository, 500)
        async with listening(feed, after=0) as old, listening(feed) as new:
            assert await take(old, 1) == [1]
            first = asyncio.ensure_future(take(new, 1))
            while feed._listeners < 2:
                await asyncio.sleep(0)
            add(repository)
            assert await first == [501]
            assert await take(old, 500) == list(range(2, 502))

    run(test)


def test_fifty_listeners_hear_the_same(repository: Repository, feed: EventFeed) -> None:
    async def listen() -> list[int]:
        async with listening(feed, after=0) as events:
            return await take(events, 30)

    async def test() -> None:
        listeners = [asyncio.ensure_future(listen()) for _ in range(50)]
        for _ in range(3):
            await asyncio.to_thread(add, repository, 10)
        for heard in await asyncio.gather(*listeners):
            assert heard == list(range(1, 31))

    run(test)


def test_the_store_is_left_alone_when_nobody_listens(repository: Repository, feed: EventFeed) -> None:
    async def test() -> None:
        add(repository)
        async with listening(feed, after=0) as events:
            await take(events, 1)
            follower = feed._follower
            assert follower is not None
        assert (feed._listeners, feed._follower) == (0, None)
        await asyncio.wait([follower])
        assert follower.cancelled()
        add(repository)
        async with listening(feed, after=1) as again:
            assert await take(again, 1) == [2]

    run(test)


class Stream:
    """GET /v1/events through the application itself, read as it is sent."""

    def __init__(self, app: FastAPI, query: str = "", **headers: str) -> None:
        self._app = app
        self._gone = asyncio.Event()
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/v1/events",
            "raw_path": b"/v1/events",
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                *[(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self._text = ""

    async def __aenter__(self) -> Stream:
        async def receive() -> dict[str, Any]:
            await self._gone.wait()
            return {"type": "http.disconnect"}

        self._task = asyncio.create_task(self._app(self._scope, receive, self._sent.put))
        self.start = await asyncio.wait_for(self._sent.get(), SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        await asyncio.wait_for(asyncio.wait([self._task]), SECONDS)

    async def block(self) -> str:
        """The text up to the next empty line."""
        while "\n\n" not in self._text:
            message = await asyncio.wait_for(self._sent.get(), SECONDS)
            self._text += message.get("body", b"").decode()
        block, _, self._text = self._text.partition("\n\n")
        return block

    async def event(self) -> dict[str, str]:
        """The fields of the next event, without comments."""
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.block()).splitlines() if not line.startswith(":"))
            if "data" in fields:
                return fields


def in_app(
    settings: ServiceSettings,
    assemble: Callable[[ServiceSettings], Services],
    test: Callable[[FastAPI, Repository], Coroutine[Any, Any, None]],
) -> None:
    async def whole() -> None:
        app = quick_app(settings, assemble)
        async with app.router.lifespan_context(app):
            await test(app, app.state.services.repository)

    run(whole)


Assemble = Callable[[ServiceSettings], Services]


def test_the_stream_begins_at_once_and_says_when_to_come_back(settings: ServiceSettings, assemble: Assemble) -> None:
    async def test(app: FastAPI, _repository: Repository) -> None:
        async with Stream(app) as stream:
            headers = dict(stream.start["headers"])
            assert stream.start["status"] == 200
            assert headers[b"content-type"].startswith(b"text/event-stream")
            assert b"no-cache" in headers[b"cache-control"]
            assert set((await stream.block()).splitlines()) == {": connected", "id: 0", "retry: 1000"}

    in_app(settings, assemble, test)


def test_events_go_on_after_the_last_one_seen(settings: ServiceSettings, assemble: Assemble) -> None:
    async def test(app: FastAPI, repository: Repository) -> None:
        add(repository, 3)
        async with Stream(app, last_event_id="1") as stream:
            event = await stream.event()
            data = Event.model_validate_json(event["data"])
            assert (event["id"], event["event"]) == ("2", "study")
            assert (data.id, data.kind, data.study, data.body) == (2, "study", "a", {"n": 1})
            assert (await stream.event())["id"] == "3"
            add(repository)
            assert (await stream.event())["id"] == "4"

    in_app(settings, assemble, test)


def test_the_stream_of_one_study_tells_of_its_deletion(settings: ServiceSettings, assemble: Assemble) -> None:
    from tests.service.conftest import Runner, complete_spec

    async def test(app: FastAPI, repository: Repository) -> None:
        study = repository.create_study(complete_spec()).id
        add(repository, 5, "other")
        async with Stream(app, query=f"study={study}", last_event_id="0") as stream:
            assert json.loads((await stream.event())["data"])["body"]["state"] == "queued"
            Runner.of(repository, settings.store_url, study).finish()
            repository.delete_study(study)
            while (last := json.loads((await stream.event())["data"]))["body"].get("state") != "deleted":
                pass
            assert last["study"] == study

    in_app(settings, assemble, test)


@sqlite_only
def test_a_quiet_stream_is_kept_alive(
    settings: ServiceSettings, assemble: Assemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "QUIET_SECONDS", 0.01)

    async def test(app: FastAPI, _repository: Repository) -> None:
        async with Stream(app) as stream:
            await stream.block()
            assert await stream.block() == ": ping"

    in_app(settings, assemble, test)


def test_a_client_that_leaves_is_forgotten(settings: ServiceSettings, assemble: Assemble) -> None:
    async def test(app: FastAPI, repository: Repository) -> None:
        feed = app.state.services.feed
        add(repository)
        async with Stream(app, last_event_id="0") as stream:
            await stream.event()
            assert feed._listeners == 1
        assert (feed._listeners, feed._follower) == (0, None)

    in_app(settings, assemble, test)


@sqlite_only
@pytest.mark.parametrize("last", ["x", "-1", "1.5", str(2**63)])
def test_a_last_event_id_that_is_none_is_refused(settings: ServiceSettings, assemble: Assemble, last: str) -> None:
    async def test(app: FastAPI, _repository: Repository) -> None:
        async with Stream(app, last_event_id=last) as stream:
            assert stream.start["status"] == 422

    in_app(settings, assemble, test)

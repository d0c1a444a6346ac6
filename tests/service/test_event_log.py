"""The log of events while several write to it, and how its readers hear of news."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
from sqlalchemy import Engine, text

from service.events import EventFeed
from service.store import event_log
from service.store.engine import open_engine, writing
from service.store.repository import Repository
from tests.service.conftest import postgresql_only

SECONDS = 20.0
LIVE_SECONDS = 0.5


def add(engine: Engine, study: str = "a") -> int:
    with writing(engine) as connection:
        return event_log.append(connection, study, "study", time.time(), {})


def wait_for_a_writer_that_waits(engine: Engine) -> None:
    """Until some transaction waits for another one to end."""
    deadline = time.monotonic() + SECONDS
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not connection.execute(waiting).scalar_one():
            assert time.monotonic() < deadline


@postgresql_only
def test_an_event_waits_for_the_one_before_it_to_be_visible(repository: Repository) -> None:
    with ThreadPoolExecutor(1) as pool:
        with writing(repository.engine) as connection:
            first = event_log.append(connection, "a", "study", 0.0, {})
            second = pool.submit(add, repository.engine)
            wait_for_a_writer_that_waits(repository.engine)
            assert repository.events(0, limit=10) == []
        assert [event.id for event in repository.events(0, limit=1)] == [first]
        assert second.result(SECONDS) > first


@postgresql_only
def test_an_event_need_not_wait_for_one_that_fails(repository: Repository) -> None:
    def fail() -> None:
        with writing(repository.engine) as connection:
            event_log.append(connection, "a", "study", 0.0, {})
            second.append(pool.submit(add, repository.engine))
            wait_for_a_writer_that_waits(repository.engine)
            raise RuntimeError

    second: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RuntimeError):
            fail()
        added = second[0].result(SECONDS)

    assert [event.id for event in repository.events(0, limit=10)] == [added]


def test_a_reader_that_goes_on_after_the_last_id_misses_nothing(repository: Repository, store_url: str) -> None:
    added: list[int] = []
    over = threading.Event()

    def write(seed: int) -> None:
        rng = random.Random(seed)
        engine = open_engine(store_url)
        for _ in range(30):
            try:
                with writing(engine) as connection:
                    number = event_log.append(connection, "a", "study", 0.0, {})
                    # Whoever commits late must not have been overtaken.
                    time.sleep(rng.choice([0.0, 0.002]))
                    if rng.random() < 0.2:
                        raise RuntimeError
                added.append(number)
            except RuntimeError:
                pass
        engine.dispose()

    def read() -> list[int]:
        seen = [0]
        while True:
            last_look = over.is_set()
            page = repository.events(seen[-1], limit=7)
            seen += [event.id for event in page]
            if last_look and not page:
                return seen[1:]

    with ThreadPoolExecutor(7) as pool:
        reader = pool.submit(read)
        for writer in [pool.submit(write, seed) for seed in range(6)]:
            writer.result()
        over.set()
        seen = reader.result()

    assert seen == sorted(added)
    assert len(added) > 100


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 3 * SECONDS))


async def hear(events: Any) -> tuple[int, float]:
    """The next event's id, and when it came."""
    (event,) = await asyncio.wait_for(anext(events), SECONDS)
    return event.id, time.monotonic()


def test_a_listener_hears_at_once_of_what_another_process_would_write(
    repository: Repository, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is not by looking now and then that it hears from PostgreSQL.
    monkeypatch.setattr(event_log, "UNHEARD_SECONDS", 10 * SECONDS)
    other = open_engine(store_url)

    async def test() -> None:
        add(other)
        async with aclosing(EventFeed(repository).subscribe(0)) as events:
            await hear(events)
            for _ in range(10):
                added = await asyncio.to_thread(add, other)
                committed = time.monotonic()
                number, heard = await hear(events)
                assert number == added
                assert heard - committed < LIVE_SECONDS

    run(test)
    other.dispose()


@postgresql_only
def test_a_listener_whose_connection_breaks_misses_nothing(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "RECONNECT_SECONDS", 0.05)
    listening = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")

    def break_it() -> int:
        with repository.engine.connect() as connection:
            pids = connection.execute(listening).scalars().all()
            for pid in pids:
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            return len(pids)

    async def test() -> None:
        add(repository.engine)
        async with aclosing(EventFeed(repository).subscribe(0)) as events:
            await hear(events)
            for _ in range(3):
                while not await asyncio.to_thread(break_it):
                    pass
                added = await asyncio.to_thread(add, repository.engine)
                assert (await hear(events))[0] == added

    run(test)


@postgresql_only
def test_nobody_listens_to_the_store_for_nobody(repository: Repository) -> None:
    sessions = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")

    def count() -> int:
        with repository.engine.connect() as connection:
            return int(connection.execute(sessions).scalar_one())

    async def test() -> None:
        add(repository.engine)
        async with aclosing(EventFeed(repository).subscribe(0)) as events:
            await hear(events)
            while await asyncio.to_thread(count) != 1:
                pass
        while await asyncio.to_thread(count) != 0:
            pass

    run(test)

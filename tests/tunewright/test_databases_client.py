"""The clients' methods about databases and sessions, against the real API and a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest

from db_knobs.lab.postgres import PrivatePostgres
from tests.docs.pages import of
from tests.tunewright.live_service import LiveService
from tests.tunewright.session_writer import BETTER, FORMER, SessionWriter, attach
from tunewright import ApiError, AsyncClient, Client, SpecError, _connection
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import SessionView
from workers.session_journal import Noticed, Restored, Stands

pytestmark = pytest.mark.timeout(60)
SECRET = "canary-of-the-client"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.0)


@pytest.fixture
def begin(service: LiveService, request: pytest.FixtureRequest) -> Callable[..., SessionWriter]:
    """Begins a session on a database of its own."""

    def begin(**fields: Any) -> SessionWriter:
        engine, url = service.repository.engine, service.settings.store_url
        writer = SessionWriter(engine, url, attach(engine, f"{request.node.name[-60:]} {len(fields)}"), **fields)
        request.addfinalizer(writer.let_go)
        return writer

    return begin


def test_a_database_is_attached_looked_at_and_detached(client: Client, postgres: PrivatePostgres) -> None:
    dsn = postgres.dsn().replace(f":{postgres.password}", "")

    looked = client.attach("looked at", dsn, password=postgres.password, dry_run=True)
    found = client.attach("attached", dsn, password=postgres.password, ram_bytes=2**33, cores=2)

    assert (looked.id, looked.probe is not None) == ("", True)
    assert [database.name for database in client.databases()] == ["attached"]
    assert (found.password, found.ram_bytes, found.cores) == ("stored", 2**33, 2)
    assert client.database(found.id) == found
    assert client.probe(found.id).role == postgres.user
    knobs = {knob.name: knob for knob in client.knobs(found.id)}
    assert (knobs["work_mem"].unit, knobs["work_mem"].offered) == ("kB", True)
    assert "crash" in knobs["synchronous_commit"].loses
    with pytest.raises(ApiError, match="password"):
        client.replace_password(found.id, "a wrong one")
    assert client.replace_password(found.id, postgres.password) == client.database(found.id)
    client.detach(found.id)
    assert list(client.databases()) == []


def test_a_password_is_in_no_error(client: Client, postgres: PrivatePostgres) -> None:
    dsn = postgres.dsn().replace(postgres.password, SECRET)

    with pytest.raises(ApiError) as refused:
        client.attach("x", dsn)
    with pytest.raises(ValueError, match="name") as wrong:
        client.attach("\n", dsn, password=SECRET)

    assert refused.value.errors[0]["field"] == "dsn"
    assert SECRET not in str(refused.value) + repr(refused.value) + str(wrong.value)


def test_a_session_is_created_once_per_key_in_any_form(client: Client, postgres: PrivatePostgres) -> None:
    database = client.attach("forms", postgres.dsn())
    spec = {"database": "forms", "knobs": ["work_mem"], "budget": {"intervals": 3}}

    first = client.create_session(spec, idempotency_key="forms")
    again = client.create_session(SessionSpec.model_validate(spec), idempotency_key="forms")

    assert (first.state, first.database, first.spec.budget.intervals) == (SessionState.PENDING, database.id, 3)
    assert again.id == first.id
    with pytest.raises(ApiError) as second:
        client.create_session("database: forms")
    assert second.value.status == 409
    with pytest.raises(SpecError, match="mapping"):
        client.create_session("- forms")
    assert [each.id for each in client.sessions("forms", SessionState.PENDING)] == [first.id]
    client.stop_session(first.id)


def test_a_knob_that_is_never_touched_is_refused_by_name(client: Client, postgres: PrivatePostgres) -> None:
    client.attach("refusing", postgres.dsn())

    with pytest.raises(ApiError) as caught:
        client.create_session({"database": "refusing", "knobs": ["archive_mode"]})

    assert caught.value.status == 422
    assert "archive_mode" in str(caught.value)


def test_sessions_are_steered(client: Client, begin: Callable[..., SessionWriter]) -> None:
    writer = begin()

    assert client.pause_session(writer.id).wanted == "pause"
    assert client.resume_session(writer.id).wanted == "run"
    assert client.stop_session(writer.id).wanted == "stop"
    writer.commit(state=SessionState.STOPPED)
    client.delete_session(writer.id)

    with pytest.raises(ApiError) as caught:
        client.session(writer.id)
    assert caught.value.status == 404


def test_intervals_and_notices_run_over_all_pages(
    client: Client, begin: Callable[..., SessionWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunewright._session_requests.PAGE_ITEMS", 2)
    writer = begin()
    writer.begin()
    for performance in (100.0, 110.0, 120.0):
        writer.interval(BETTER, performance)
    writer.commit(Noticed(1.0, "clamped", "the server made 8 of 9", "work_mem"))

    assert [each.performance for each in client.intervals(writer.id)] == [120.0, 110.0, 100.0]
    assert [each.text for each in client.notices(writer.id)] == ["the server made 8 of 9"]
    assert client.session(writer.id).current == {**writer.view.reference, **BETTER}


def test_a_session_is_watched_until_it_is_over(client: Client, begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    watching = client.watch_session(writer.id)
    seen = [next(watching).state]
    end = threading.Timer(0.3, lambda: (writer.begin(), writer.commit(state=SessionState.FINISHED, reason="used up")))
    end.start()

    seen += [session.state for session in watching]

    end.join()
    assert (seen[0], seen[-1]) == (SessionState.PENDING, SessionState.FINISHED)


def looks(writer: SessionWriter) -> Iterator[SessionView]:
    """A session before it begins, and after each of the things that happen in it."""
    steps: list[Callable[[], object]] = [
        writer.begin,
        lambda: writer.stand({"work_mem": 16384}),
        # Says again what stands.
        lambda: writer.interval({"work_mem": 16384}, 110.0),
        lambda: writer.stand({"jit": False}),
        # Ended early: the reference was put back before this is written.
        lambda: writer.stand({}),
        lambda: writer.interval({"jit": False}, 20.0, aborted=True),
        lambda: writer.stand({"work_mem": 8192}),
        # Nobody knows: what was measured last is the last that was seen.
        lambda: writer.commit(Stands({})),
        lambda: writer.commit(Restored(time.time(), dict(FORMER)), state=SessionState.FINISHED),
    ]
    yield writer.view
    for step in steps:
        step()
        yield writer.view


TOLD = [
    (["work_mem"], ["work_mem"]),
    (["work_mem", "jit"], ["work_mem"]),
    (["jit"], []),
    (["work_mem"], ["work_mem"]),
    (["work_mem", "jit"], ["work_mem"]),
    (["jit"], []),
]


def test_changes_of_settings_are_told_with_what_only_new_connections_feel(
    client: Client, begin: Callable[..., SessionWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "watch_session", lambda _: looks(begin()))

    changes = list(client.settings_changes("any"))

    assert [(change.changed, change.new_connections) for change in changes] == TOLD
    assert changes[1].settings == {**FORMER, "jit": False}


def test_the_async_client_tells_the_same_changes(
    service: LiveService, begin: Callable[..., SessionWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def watch(_: str) -> AsyncGenerator[SessionView]:
        for look in looks(begin()):
            yield look

    async def use() -> None:
        async with AsyncClient(service.url) as client:
            monkeypatch.setattr(client, "watch_session", watch)
            changes = [change async for change in client.settings_changes("any")]
            assert [(change.changed, change.new_connections) for change in changes] == TOLD

    asyncio.run(use())


def test_the_handbooks_program_renews_a_pool_while_settings_change(
    client: Client, begin: Callable[..., SessionWriter]
) -> None:
    writer = begin()
    writer.begin()
    pool = MagicMock()

    def act() -> None:
        for value in itertools.cycle([16384, 32768]):
            writer.stand({"work_mem": value})
            time.sleep(0.2)
            if pool.dispose.called:
                break
        writer.commit(Restored(time.time(), dict(FORMER)), state=SessionState.FINISHED)

    acting = threading.Thread(target=act)
    acting.start()

    # docs/databases.md
    (program,) = of("databases.md", "python")
    exec(program, {"client": client, "session": writer.view, "engine": pool})

    acting.join()
    assert pool.dispose.call_count >= 2


def test_the_async_client_does_the_same(service: LiveService, begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    writer.begin()
    writer.interval(BETTER, 110.0)

    async def use() -> None:
        async with AsyncClient(service.url) as client:
            assert writer.id in [each.id async for each in client.sessions()]
            assert [each.performance async for each in client.intervals(writer.id)] == [110.0]
            assert [each async for each in client.notices(writer.id)] == []
            assert (await client.pause_session(writer.id)).wanted == "pause"
            assert (await client.resume_session(writer.id)).wanted == "run"
            assert (await client.stop_session(writer.id)).wanted == "stop"
            writer.commit(state=SessionState.STOPPED)
            assert [each.state async for each in client.watch_session(writer.id)] == [SessionState.STOPPED]
            database = (await client.session(writer.id)).database
            assert (await client.database(database)).id == database
            with pytest.raises(ApiError, match="TUNEWRIGHT_DATABASE_HOSTS"):
                await client.replace_password(database, password_file="x")
            await client.delete_session(writer.id)
            await client.detach(database)

    asyncio.run(use())

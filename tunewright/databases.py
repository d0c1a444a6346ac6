"""The client's methods about live databases and the sessions that tune them.

`DatabaseCalls` belongs to `Client`, `AsyncDatabaseCalls` to `AsyncClient`.

    with Client() as client:
        client.attach("prod", "postgresql://tuner@db.example:5432/shop", password=...)
        session = client.create_session({"database": "prod", "interval": 60, "budget": {"seconds": 3600}})
        for session in client.watch_session(session.id):
            print(session.state, session.gain)
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, TypeVar

from tunewright import _session_requests as requests
from tunewright._connection import RETRIES, EventLine
from tunewright._requests import Call
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import (
    Attachment,
    DatabaseView,
    IntervalView,
    KnobView,
    NewPassword,
    NoticeView,
    ProbeView,
    SessionSummary,
    SessionView,
    SettingsChange,
)
from tunewright.views import Event, Page

T = TypeVar("T")
SpecForm = SessionSpec | Path | str | Mapping[str, Any]


class DatabaseCalls:
    """Attaching databases, and tuning them."""

    url: str

    # Databases

    def attach(
        self, name: str, dsn: str | None = None, *, password: str | None = None, dry_run: bool = False, **fields: Any
    ) -> DatabaseView:
        """Attach a database; the answer's `probe` says what works there, and which GRANTs are missing.

        Args:
            name: for people and for sessions; unique in its project.
            dsn: `postgresql://user@host:5432/database`; None gives `kind`, `host`, `user` and so on in `fields`.
            password: stored encrypted. Or give `password_env` or `password_file`, which the service reads by itself.
            dry_run: only look; attach nothing, keep nothing.
            fields: further ones of `Attachment`, such as `ram_bytes` and `cores` of the server's machine.
        Raises:
            pydantic.ValidationError: a field is wrong, seen from here.
            ApiError: the database lets nobody in, its host is not allowed, or the name is taken.
        """
        return self._send(_attach(name, dsn, password, dry_run, fields))

    def databases(self) -> Iterator[DatabaseView]:
        """Attached databases."""
        return self._pages(requests.databases)

    def database(self, database: str) -> DatabaseView:
        """One attached database, by its id."""
        return self._send(requests.database(database))

    def replace_password(self, database: str, password: str | None = None, **fields: Any) -> DatabaseView:
        """Give a database another password, once the server has changed it; sessions on it go on.

        Args:
            password: stored encrypted. Or give `password_env` or `password_file`, which the service reads by itself.
        Raises:
            pydantic.ValidationError: a field is wrong, seen from here.
            ApiError: the database does not let us in with it; the former one stays.
        """
        return self._send(requests.replace_password(database, _new_password(password, fields)))

    def detach(self, database: str) -> None:
        """Forget a database, its password included; nothing on the server changes.

        Raises:
            ApiError: a session on it is not over.
        """
        self._send(requests.detach(database))

    def probe(self, database: str) -> ProbeView:
        """Look again at what a database is, and what the role may do there."""
        return self._send(requests.probe(database))

    def knobs(self, database: str) -> list[KnobView]:
        """Settings of a database that may be tuned, with what they stand at now."""
        return self._send(requests.knobs(database))

    # Sessions

    def create_session(self, spec: SpecForm, idempotency_key: str | None = None) -> SessionView:
        """Begin to tune a database.

        Args:
            spec: a SessionSpec, a YAML file's Path, YAML text, or a mapping.
            idempotency_key: the same key with the same session gives the one begun first; None begins a new one.
        Raises:
            SpecError, pydantic.ValidationError: the session is wrong, seen from here.
            ApiError: the service refuses it (`errors` names the fields), or another session tunes the database.
        """
        return self._send(requests.create_session(requests.read_session(spec), idempotency_key or uuid.uuid4().hex))

    def sessions(self, database: str | None = None, state: SessionState | None = None) -> Iterator[SessionSummary]:
        """Tuning sessions, newest first: all of them, or those of a database, or in a state."""
        return self._pages(lambda cursor: requests.sessions(database, state, cursor))

    def session(self, session_id: str) -> SessionView:
        """One session: where it stands, what it may change, and what the settings were before."""
        return self._send(requests.session(session_id))

    def pause_session(self, session_id: str) -> SessionView:
        """Put the former settings back, and wait."""
        return self._send(requests.steer_session(session_id, "pause"))

    def resume_session(self, session_id: str) -> SessionView:
        """Go on, with everything that was learned."""
        return self._send(requests.steer_session(session_id, "resume"))

    def stop_session(self, session_id: str) -> SessionView:
        """Put the former settings back, and end."""
        return self._send(requests.steer_session(session_id, "stop"))

    def delete_session(self, session_id: str) -> None:
        """Delete a session that is over, with everything measured in it."""
        self._send(requests.delete_session(session_id))

    def intervals(self, session_id: str) -> Iterator[IntervalView]:
        """What a session measured, newest first."""
        return self._pages(lambda cursor: requests.intervals(session_id, cursor))

    def notices(self, session_id: str) -> Iterator[NoticeView]:
        """What people should know of a session, newest first."""
        return self._pages(lambda cursor: requests.notices(session_id, cursor))

    def watch_session(self, session_id: str) -> Generator[SessionView]:
        """The session now, again whenever something about it has changed, and last when it is over.

        Raises:
            ApiError: there is no such session.
        """
        session = self.session(session_id)
        yield session
        if session.state.final:
            return
        with closing(self._event_line(session_id, _line(self.url))) as events:
            for event in events:
                if not concerns(event, session_id):
                    continue
                changed = self._send(requests.session(session_id), retries=None)
                if changed != session:
                    session = changed
                    yield session
                if session.state.final:
                    return

    def settings_changes(self, session_id: str) -> Iterator[SettingsChange]:
        """What a session changes on the server from now on, until it is over: the place to renew a pool's connections.

            for change in client.settings_changes(session.id):
                if change.new_connections:
                    engine.dispose()

        Changes between two looks are one. After a lost connection to the service it looks anew.

        Raises:
            ApiError: there is no such session.
        """
        with closing(self.watch_session(session_id)) as sessions:
            before = next(sessions)
            for session in sessions:
                if change := settings_change(before, session):
                    yield change
                before = session

    def _send(self, call: Call[T], retries: int | None = RETRIES) -> T:
        raise NotImplementedError

    def _pages(self, call: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
        raise NotImplementedError

    def _event_line(self, study: str | None, line: EventLine) -> Generator[Event | None]:
        raise NotImplementedError


class AsyncDatabaseCalls:
    """`DatabaseCalls`, to be awaited."""

    url: str

    async def attach(
        self, name: str, dsn: str | None = None, *, password: str | None = None, dry_run: bool = False, **fields: Any
    ) -> DatabaseView:
        """As `Client.attach`."""
        return await self._send(_attach(name, dsn, password, dry_run, fields))

    def databases(self) -> AsyncIterator[DatabaseView]:
        """As `Client.databases`."""
        return self._pages(requests.databases)

    async def database(self, database: str) -> DatabaseView:
        """As `Client.database`."""
        return await self._send(requests.database(database))

    async def replace_password(self, database: str, password: str | None = None, **fields: Any) -> DatabaseView:
        """As `Client.replace_password`."""
        return await self._send(requests.replace_password(database, _new_password(password, fields)))

    async def detach(self, database: str) -> None:
        """As `Client.detach`."""
        await self._send(requests.detach(database))

    async def probe(self, database: str) -> ProbeView:
        """As `Client.probe`."""
        return await self._send(requests.probe(database))

    async def knobs(self, database: str) -> list[KnobView]:
        """As `Client.knobs`."""
        return await self._send(requests.knobs(database))

    async def create_session(self, spec: SpecForm, idempotency_key: str | None = None) -> SessionView:
        """As `Client.create_session`."""
        key = idempotency_key or uuid.uuid4().hex
        return await self._send(requests.create_session(requests.read_session(spec), key))

    def sessions(self, database: str | None = None, state: SessionState | None = None) -> AsyncIterator[SessionSummary]:
        """As `Client.sessions`."""
        return self._pages(lambda cursor: requests.sessions(database, state, cursor))

    async def session(self, session_id: str) -> SessionView:
        """As `Client.session`."""
        return await self._send(requests.session(session_id))

    async def pause_session(self, session_id: str) -> SessionView:
        """As `Client.pause_session`."""
        return await self._send(requests.steer_session(session_id, "pause"))

    async def resume_session(self, session_id: str) -> SessionView:
        """As `Client.resume_session`."""
        return await self._send(requests.steer_session(session_id, "resume"))

    async def stop_session(self, session_id: str) -> SessionView:
        """As `Client.stop_session`."""
        return await self._send(requests.steer_session(session_id, "stop"))

    async def delete_session(self, session_id: str) -> None:
        """As `Client.delete_session`."""
        await self._send(requests.delete_session(session_id))

    def intervals(self, session_id: str) -> AsyncIterator[IntervalView]:
        """As `Client.intervals`."""
        return self._pages(lambda cursor: requests.intervals(session_id, cursor))

    def notices(self, session_id: str) -> AsyncIterator[NoticeView]:
        """As `Client.notices`."""
        return self._pages(lambda cursor: requests.notices(session_id, cursor))

    async def watch_session(self, session_id: str) -> AsyncGenerator[SessionView]:
        """As `Client.watch_session`."""
        session = await self.session(session_id)
        yield session
        if session.state.final:
            return
        async with aclosing(self._event_line(session_id, _line(self.url))) as events:
            async for event in events:
                if not concerns(event, session_id):
                    continue
                changed = await self._send(requests.session(session_id), retries=None)
                if changed != session:
                    session = changed
                    yield session
                if session.state.final:
                    return

    async def settings_changes(self, session_id: str) -> AsyncIterator[SettingsChange]:
        """As `Client.settings_changes`."""
        async with aclosing(self.watch_session(session_id)) as sessions:
            before = await anext(sessions)
            async for session in sessions:
                if change := settings_change(before, session):
                    yield change
                before = session

    async def _send(self, call: Call[T], retries: int | None = RETRIES) -> T:
        raise NotImplementedError

    def _pages(self, call: Callable[[str | None], Call[Page[T]]]) -> AsyncIterator[T]:
        raise NotImplementedError

    def _event_line(self, study: str | None, line: EventLine) -> AsyncGenerator[Event | None]:
        raise NotImplementedError


def _line(url: str) -> EventLine:
    return EventLine(url, None, resume=False)


def concerns(event: Event | None, session_id: str) -> bool:
    """Whether a session may have changed: by an event about it, or by what was missed while no connection stood."""
    return event is None or event.study in ("", session_id)


def settings_change(before: SessionView, now: SessionView) -> SettingsChange | None:
    """What stands at something else than at the look before; None where nothing does."""
    # A session that has not begun knows of none: then they stood at the former ones.
    former = {name: setting["value"] for name, setting in (now.former or {}).items()}
    stood, stands = former | (before.current or {}), former | (now.current or {})
    changed = [name for name in stands if name in stood and stands[name] != stood[name]]
    if not changed:
        return None
    only_new = [name for name in changed if now.knobs.get(name, {}).get("applies") == "new connections only"]
    return SettingsChange(settings=stands, changed=changed, new_connections=only_new)


def _without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in given.items() if value is not None}


def _new_password(password: str | None, fields: Mapping[str, Any]) -> NewPassword:
    return NewPassword.model_validate(_without_none({"password": password, **fields}))


def _attach(
    name: str, dsn: str | None, password: str | None, dry_run: bool, fields: Mapping[str, Any]
) -> Call[DatabaseView]:
    given = {"name": name, "dsn": dsn, "password": password, **fields}
    attachment = Attachment.model_validate(_without_none(given))
    return requests.attach(attachment, dry_run=dry_run, idempotency_key=uuid.uuid4().hex)

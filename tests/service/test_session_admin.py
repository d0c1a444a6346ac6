"""Putting a session's settings back without the service: which session is meant, and whose it is meanwhile."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, update

from db_knobs.errors import LoginRefused
from service import session_admin
from service.settings import ServiceSettings
from service.store import leases
from service.store.engine import open_engine, writing
from service.store.errors import Conflict, NotFound
from service.store.tables import LeaseRow
from tests.tunewright.session_writer import SessionWriter, attach


def test_the_newest_session_is_called_last_here_too(settings: ServiceSettings) -> None:
    engine = open_engine(settings.store_url)
    older, newest = (SessionWriter(engine, settings.store_url, attach(engine, name)) for name in ("old", "new"))
    older.let_go()
    newest.let_go()
    engine.dispose()

    with pytest.raises(Conflict, match=f"session {newest.id} has not begun"):
        session_admin.restore(settings, "last", 0.0)


def test_without_a_session_there_is_no_last_one(settings: ServiceSettings) -> None:
    with pytest.raises(NotFound, match="there is no session yet"):
        session_admin.restore(settings, "last", 0.0)


class SlowDatabase:
    """Lets nobody in, and takes longer over it than what is left of the lease."""

    def __init__(self, engine: Engine, session: str) -> None:
        self._engine, self._lease = engine, leases.session_lease(session)
        self.left = 0.0

    def connect(self) -> None:
        with writing(self._engine) as connection:
            soon = update(LeaseRow).where(LeaseRow.name == self._lease).values(expires_at=time.time() + 0.1)
            connection.execute(soon)
        deadline = time.monotonic() + 5
        while self.left < leases.LEASE_SECONDS / 2 and time.monotonic() < deadline:
            with self._engine.connect() as connection:
                found = leases.lease(connection, self._lease)
            assert found is not None
            self.left = found.seconds_left
        raise LoginRefused("no")

    def close(self) -> None:
        pass


def test_the_session_stays_ours_while_its_database_takes_its_time(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(settings.store_url)
    session = SessionWriter(engine, settings.store_url, attach(engine))
    session.begin()
    session.let_go()
    slow = SlowDatabase(engine, session.id)
    monkeypatch.setattr(session_admin, "open_database", lambda *_: slow)

    with pytest.raises(LoginRefused):
        session_admin.restore(settings, session.id, 0.0)

    engine.dispose()
    assert slow.left > leases.LEASE_SECONDS / 2

"""Putting a session's settings back without the service: which session is meant."""

from __future__ import annotations

import pytest

from service import session_admin
from service.settings import ServiceSettings
from service.store.engine import open_engine
from service.store.errors import Conflict, NotFound
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

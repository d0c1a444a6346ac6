"""Passwords that are wrong, or change while a session goes on."""

from __future__ import annotations

from typing import Any

import pytest

from db_knobs.errors import LoginRefused
from tests.workers.session_stage import INTERVALS, SECONDS, away_at, stage
from tests.workers.simulated_server import Connection
from tunewright.session import SessionState
from workers.session_journal import Wanted


def test_a_wrong_password_ends_a_session_that_has_touched_nothing() -> None:
    scene = stage()
    scene.server.login = False

    assert scene.run() is SessionState.FAILED
    assert "canary" not in repr(scene.journal.batches)


def test_a_password_that_changed_in_mid_interval_is_for_the_next_runner_to_have() -> None:
    scene = stage()

    def change() -> None:
        scene.server.login = False
        scene.server.cut()

    away_at(scene, change)

    assert scene.run() is scene.journal.status.state is SessionState.RUNNING
    assert scene.journal.status.touched
    assert scene.journal.notices.count("login_refused") == 1
    assert "give the service the password" in (scene.journal.status.reason or "")
    assert "or undo there what keeps it out" in (scene.journal.status.reason or "")
    batches = len(scene.journal.batches)
    assert scene.follow() is SessionState.RUNNING
    assert len(scene.journal.batches) == batches, "each of its runners says the same"
    assert scene.follow(wanted=Wanted.RUN) is SessionState.RUNNING
    scene.server.login = True
    assert scene.follow() is SessionState.FINISHED
    assert scene.journal.status.intervals == INTERVALS
    assert scene.at_home


def test_a_password_that_changed_while_nothing_stood_there_is_for_the_next_runner_too() -> None:
    scene = stage(mode="advice")

    def change() -> None:
        scene.server.login = False
        scene.server.cut()

    scene.server.later(2.5 * SECONDS, change)

    assert scene.run() is SessionState.RUNNING
    assert not scene.journal.status.touched
    scene.server.login = True
    assert scene.follow() is SessionState.FINISHED
    assert scene.journal.status.intervals == INTERVALS


@pytest.mark.parametrize("again", [False, True])
def test_a_session_that_is_stopped_while_it_is_locked_out_is_stopped_once_it_is_let_in(again: bool) -> None:
    scene = stage()

    def change() -> None:
        scene.server.login = False
        scene.server.cut()
        scene.journal.wanted = Wanted.CANCEL

    away_at(scene, change)

    scene.run()
    if again:
        scene.follow(wanted=Wanted.CANCEL)
    assert not scene.at_home
    scene.server.login = True
    ended = scene.follow(wanted=Wanted.CANCEL)

    assert ended is scene.journal.status.state is SessionState.STOPPED
    assert scene.at_home


def test_an_end_that_a_new_password_delayed_is_the_same_end() -> None:
    scene = stage()
    scene.server.later(2.5 * SECONDS, lambda: setattr(scene.server, "login", False))
    leave = scene.server.cut

    def crossing(point: str) -> None:
        # The connection goes when everything is put back at the end of the budget.
        if scene.journal.status.intervals >= INTERVALS:
            leave()

    scene.server.crossing = crossing

    assert scene.run() is SessionState.RESTORING
    assert "not back yet" in (scene.journal.status.reason or "")
    scene.server.login = True
    assert scene.follow() is SessionState.FINISHED
    assert scene.journal.status.reason == f"the budget of {INTERVALS} intervals is used up"
    assert scene.at_home


def test_a_password_that_changed_is_for_the_next_runner_also_where_only_new_connections_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As PostgreSQL does it: the connection that there is goes on, and what opens one of its own is refused."""
    scene = stage()

    def opening(method: Any) -> Any:
        def opened(self: Any, *arguments: Any) -> Any:
            if not scene.server.login:
                raise LoginRefused("password authentication failed")
            return method(self, *arguments)

        return opened

    for name in ("read", "reread", "former", "apply", "restore"):
        monkeypatch.setattr(Connection, name, opening(getattr(Connection, name)))
    away_at(scene, lambda: setattr(scene.server, "login", False))

    scene.run()
    told = scene.journal.status.reason or ""
    scene.server.login = True

    assert "password" in told
    assert scene.journal.status.state is not SessionState.FAILED
    assert scene.follow() is SessionState.FINISHED
    assert scene.journal.status.intervals == INTERVALS
    assert scene.at_home

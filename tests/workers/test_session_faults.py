"""A server that breaks off, refuses, restarts or goes away under a session, and a store that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from db_knobs.database import Applied, Former
from db_knobs.errors import DatabaseError, StatementTimeout
from db_knobs.statistics import Snapshot
from tests.workers.session_stage import INTERVALS, SECONDS, away_at, stage
from tests.workers.simulated_server import Connection, Killed
from tunewright.session import SessionState
from tunewright.space import Config
from workers.session_journal import Intended, Measured, Skipped, Wanted
from workers.session_loop import MOST_DISTURBANCES


@pytest.mark.parametrize("odd", [DatabaseError("odd"), StatementTimeout("slow"), ZeroDivisionError()], ids=repr)
@pytest.mark.parametrize("point", ["in apply, cache set", "after apply"])
def test_a_change_that_breaks_off_is_never_taken_for_somebody_elses(odd: Exception, point: str) -> None:
    scene = stage()
    broken: list[str] = []

    def crossing(crossed: str) -> None:
        if crossed == point and not broken:
            broken.append(crossed)
            raise odd

    scene.server.crossing = crossing

    ended = scene.run()

    assert broken
    assert ended is (SessionState.FINISHED if isinstance(odd, DatabaseError) else SessionState.FAILED)
    assert scene.at_home
    assert "foreign_change" not in scene.journal.notices


def test_a_server_that_is_too_busy_to_be_put_back_at_once_does_not_end_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = stage()
    measure, read = Connection.measure, Connection.read
    busy = 0

    def measures(connection: Connection) -> Snapshot:
        nonlocal busy
        if scene.server.now > 1_100 and not busy:
            busy = MOST_DISTURBANCES - 2
            raise StatementTimeout("a statement took longer than 10 s")
        return measure(connection)

    def reads(connection: Connection, names: Sequence[str]) -> Config:
        nonlocal busy
        if busy > 1:
            busy -= 1
            raise StatementTimeout("a statement took longer than 10 s")
        return read(connection, names)

    monkeypatch.setattr(Connection, "measure", measures)
    monkeypatch.setattr(Connection, "read", reads)

    assert scene.run() is SessionState.FINISHED

    assert scene.journal.status.intervals == INTERVALS
    assert busy == 1
    assert scene.at_home


def test_a_server_that_answers_oddly_all_the_time_ends_the_session() -> None:
    scene = stage()
    measured: list[str] = []

    def crossing(crossed: str) -> None:
        if crossed == "measure":
            measured.append(crossed)
            if len(measured) > 100:
                raise DatabaseError("the disk of the server is full")

    scene.server.crossing = crossing

    ended = scene.run()

    assert ended is SessionState.FAILED
    assert "disk of the server is full" in (scene.journal.status.reason or "")
    assert len(scene.journal.of(Skipped)) == MOST_DISTURBANCES - 1
    assert scene.at_home


def test_disturbances_of_a_quiet_night_do_not_add_up() -> None:
    """As where something that watches the server resets its statistics now and then, and nobody asks for anything."""
    scene = stage(budget={"intervals": 2})
    server = scene.server
    server.rate, server.idle_clients = 0.0, True

    def reset() -> None:
        server.epoch += 1

    def wake() -> None:
        server.rate, server.idle_clients = 100.0, False

    for number in range(1, 2 * MOST_DISTURBANCES):
        server.later(5.5 * SECONDS * number, reset)
    server.later(11.0 * SECONDS * MOST_DISTURBANCES, wake)

    assert scene.run() is SessionState.FINISHED

    assert scene.journal.notices.count("restarted") == 2 * MOST_DISTURBANCES - 1
    assert scene.journal.status.intervals == 2


def test_a_value_that_the_server_refuses_is_never_tried_again() -> None:
    scene = stage(knobs=["cache"], budget={"intervals": 10})
    scene.server.refuses["cache"] = lambda value: value != 20

    ended = scene.run()

    assert ended is SessionState.FINISHED
    refused = [m for m in scene.journal.of(Measured) if m.interval.performance is None]
    values = [measured.interval.config["cache"] for measured in refused]
    assert len(values) == len(set(values)) >= 1
    assert not any(measured.unsafe for measured in refused)
    assert "refused" in scene.journal.notices
    assert scene.at_home


def test_a_lost_right_ends_the_session_with_the_grant() -> None:
    scene = stage()
    scene.server.later(SECONDS / 2, lambda: scene.server.denied.add("cost"))

    ended = scene.run()

    assert ended is SessionState.FAILED
    assert "GRANT SET ON cost" in (scene.journal.status.reason or "")
    assert "right_lost" in scene.journal.notices
    assert scene.at_home
    assert not scene.journal.status.touched


def test_what_may_not_be_put_back_is_tried_until_it_may_and_the_rest_is_back_at_once() -> None:
    scene = stage()

    def take_right() -> None:
        scene.server.denied.add("cost")
        scene.server.later(10 * SECONDS, check)

    def check() -> None:
        assert scene.journal.status.state is SessionState.RESTORING
        assert "GRANT SET ON cost" in (scene.journal.status.reason or "")
        assert scene.server.settings["cost"] != scene.server.defaults["cost"]
        assert scene.server.settings == {**scene.server.defaults, "cost": scene.server.settings["cost"]}
        scene.server.denied.clear()

    away_at(scene, take_right)

    ended = scene.run()

    assert ended is SessionState.FAILED
    assert scene.at_home
    assert not scene.journal.status.touched


def test_a_role_without_rights_is_told_which_before_anything_is_touched() -> None:
    scene = stage()
    scene.server.denied.add("cost")

    ended = scene.run()

    assert ended is SessionState.FAILED
    assert "GRANT SET ON cost" in (scene.journal.status.reason or "")
    assert not scene.server.seen


@pytest.mark.parametrize("forget", [False, True], ids=["settings kept", "settings forgotten"])
def test_a_restart_by_somebody_else_costs_an_interval_and_brings_the_reference_back(forget: bool) -> None:
    scene = stage()

    def restart() -> None:
        scene.server.go_down()
        scene.server.later(20, lambda: scene.server.come_up(forget=forget))

    away_at(scene, restart)

    ended = scene.run()

    assert ended is SessionState.FINISHED
    assert {"connection_lost", "connected"} <= set(scene.journal.notices)
    assert len([fact for fact in scene.journal.of(Measured) if fact.interval.performance is None]) == 1
    assert not scene.journal.of(Skipped)
    assert scene.at_home


def test_settings_under_which_the_server_went_down_are_not_tried_again() -> None:
    scene = stage(budget={"intervals": 40})
    under: list[Config] = []

    def crossing(point: str) -> None:
        if point == "after apply" and scene.server.settings["cache"] > 30:
            under.append(dict(scene.server.settings))
            scene.server.later(3, scene.server.go_down)
            scene.server.later(23, scene.server.come_up)

    scene.server.crossing = crossing

    ended = scene.run()

    assert ended is SessionState.FINISHED
    assert scene.at_home
    assert under
    assert len({str(settings) for settings in under}) == len(under)
    fell = [fact for fact in scene.journal.of(Measured) if fact.interval.performance is None]
    assert len(fell) == len(under) == scene.journal.status.unsafe
    assert all(fact.lost > 0 for fact in fell)
    assert scene.journal.notices.count("restarted") == len(under)


def test_settings_under_which_the_server_went_down_are_not_tried_again_after_a_pause_either() -> None:
    scene = stage(budget={"intervals": 12})

    def go_down() -> None:
        scene.server.go_down()
        scene.server.later(10, lambda: setattr(scene.journal, "wanted", Wanted.PAUSE))
        scene.server.later(60, scene.server.come_up)

    away_at(scene, go_down)
    assert scene.run() is SessionState.PAUSED
    (under,) = scene.server.seen
    assert scene.at_home

    scene.follow(wanted=Wanted.RUN)

    assert len(scene.server.seen) > 1
    assert under not in scene.server.seen[1:]


def test_settings_that_are_known_to_be_safe_are_not_blamed_for_a_server_that_goes_down() -> None:
    scene = stage(budget={"intervals": 30})
    scene.server.effect = lambda config: 1.5 if config["fast"] else 1.0
    down = 0

    def crossing(point: str) -> None:
        nonlocal down
        kinds = [fact.suggestion.kind for fact in scene.journal.of(Intended)]
        if point == "measure" and not down and not scene.at_home and kinds[-1] == "centre":
            down += 1
            scene.server.later(0.5, scene.server.go_down)
            scene.server.later(23, scene.server.come_up)

    scene.server.crossing = crossing

    scene.run()

    assert down
    assert len(scene.journal.of(Skipped)) == 1
    assert all(fact.interval.performance is not None for fact in scene.journal.of(Measured))


def test_counters_that_begin_anew_are_noticed() -> None:
    scene = stage()
    away_at(scene, lambda: scene.server.come_up(forget=True))

    ended = scene.run()

    assert ended is SessionState.FINISHED
    assert "restarted" in scene.journal.notices


def test_a_cut_connection_is_made_anew_with_the_lock_and_the_former_settings() -> None:
    scene = stage()
    away_at(scene, scene.server.cut)

    ended = scene.run()

    assert ended is SessionState.FINISHED
    skipped = scene.journal.of(Skipped)
    assert len(skipped) == 1
    assert "connection was lost" in skipped[0].reason
    assert scene.at_home


def test_a_connection_that_breaks_while_the_servers_clock_is_set_back_is_not_put_down_to_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, behind = stage(), 0.0
    measure = Connection.measure
    monkeypatch.setattr(Connection, "measure", lambda self: replace(found := measure(self), at=found.at - behind))

    def cut() -> None:
        nonlocal behind
        behind = 3_600.0
        scene.server.cut()

    away_at(scene, cut)

    scene.run()

    assert len(scene.journal.of(Skipped)) == 1
    assert all(fact.interval.performance is not None for fact in scene.journal.of(Measured))


def test_settings_of_which_something_is_known_are_not_blamed_for_what_comes_later() -> None:
    scene = stage()

    def crossing(point: str) -> None:
        tried = [fact for fact in scene.journal.of(Measured) if fact.interval.suggestion]
        if tried and tried[-1].interval.suggestion.kind == "safe" and scene.journal.wanted is Wanted.RUN:
            # Between this interval and the next one.
            scene.server.epoch += 1
            scene.journal.wanted = Wanted.PAUSE

    scene.journal.crossing = crossing

    assert scene.run() is SessionState.PAUSED
    assert scene.journal.wanted is Wanted.PAUSE
    assert "restarted" not in scene.journal.notices
    assert all(fact.interval.performance is not None for fact in scene.journal.of(Measured))


def test_a_connection_that_breaks_in_the_moment_of_a_change_is_not_put_down_to_it() -> None:
    scene = stage()
    cut = 0

    def crossing(point: str) -> None:
        nonlocal cut
        if point == "after apply" and not cut:
            cut += 1
            scene.server.cut()

    scene.server.crossing = crossing

    scene.run()

    assert cut
    assert all(fact.interval.performance is not None for fact in scene.journal.of(Measured))


def test_a_session_that_is_stopped_while_the_server_is_away_restores_when_it_is_back() -> None:
    scene = stage()

    def stop() -> None:
        scene.server.go_down()
        scene.journal.wanted = Wanted.CANCEL
        scene.server.later(3_600, check)

    def check() -> None:
        assert scene.journal.status.state is SessionState.RESTORING
        scene.server.come_up()

    away_at(scene, stop)

    ended = scene.run()

    assert ended is SessionState.STOPPED
    assert scene.at_home


def test_a_second_session_on_the_same_server_is_refused() -> None:
    scene = stage()
    first = scene.server.open()
    first.connect()
    assert first.lock("another")

    ended = scene.run()

    assert ended is SessionState.FAILED
    assert "another tuning session" in (scene.journal.status.reason or "")
    assert not scene.server.seen


def test_a_store_that_is_away_costs_the_settings_and_not_the_session() -> None:
    scene = stage()
    seen: list[bool] = []

    def lose_store() -> None:
        scene.journal.outages = 200
        scene.server.later(SECONDS + 30, lambda: seen.append(scene.at_home))

    away_at(scene, lose_store)

    ended = scene.run()

    assert seen == [True]
    assert ended is SessionState.FINISHED
    assert scene.journal.status.intervals == INTERVALS


@pytest.mark.parametrize("lost", ["connection", "runner"])
def test_a_server_that_is_too_slow_to_be_put_back_is_put_back_when_it_can_be(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = stage()
    restore = Connection.restore
    slow = 0

    def restores(connection: Connection, former: Former) -> Applied:
        nonlocal slow
        if slow:
            slow -= 1
            raise StatementTimeout("a lock was not free within 2 s")
        return restore(connection, former)

    def happens() -> None:
        nonlocal slow
        slow = 2 * MOST_DISTURBANCES
        if lost == "runner":
            raise Killed
        scene.server.cut()

    monkeypatch.setattr(Connection, "restore", restores)
    away_at(scene, happens)
    if lost == "runner":
        with pytest.raises(Killed):
            scene.run()

    assert (scene.follow() if lost == "runner" else scene.run()) is SessionState.FINISHED

    assert slow == 0
    assert scene.journal.status.intervals == INTERVALS
    assert scene.at_home


def test_a_stop_is_heard_while_a_server_is_too_slow_to_be_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = stage()
    restore = Connection.restore
    slow = False

    def restores(connection: Connection, former: Former) -> Applied:
        if slow:
            raise StatementTimeout("a lock was not free within 2 s")
        return restore(connection, former)

    def happens() -> None:
        nonlocal slow
        slow = True
        scene.server.cut()
        scene.server.later(100, lambda: setattr(scene.journal, "wanted", Wanted.CANCEL))
        scene.server.later(300, quicker)

    def quicker() -> None:
        nonlocal slow
        assert scene.journal.status.state is SessionState.RESTORING
        slow = False

    monkeypatch.setattr(Connection, "restore", restores)
    away_at(scene, happens)

    assert scene.run() is SessionState.STOPPED

    assert scene.at_home

"""What other people set meanwhile is theirs: a session yields to it, and undoes none of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.session_stage import away_at, killed, stage
from tests.workers.simulated_server import Killed
from tunewright.session import SessionState
from tunewright.space import Config
from workers.session_journal import Restored, Wanted

in_force_or_not = pytest.mark.parametrize("theirs", ["settings", "unread"])


@in_force_or_not
def test_a_hand_that_changes_a_tuned_setting_is_yielded_to(theirs: str) -> None:
    scene = stage()
    away_at(scene, lambda: getattr(scene.server, theirs).update(cost=7.0))

    ended = scene.run()

    assert ended is SessionState.YIELDED
    assert scene.server.settings == {**scene.server.defaults, "cost": 7.0}
    assert "foreign_change" in scene.journal.notices
    assert "cost" in scene.journal.of(Restored)[-1].left
    assert "cost" in (scene.journal.status.reason or "")


@in_force_or_not
@pytest.mark.parametrize("outage", [False, True], ids=["stopped", "stopped while the store was away"])
def test_a_hand_that_was_there_just_before_the_end_is_not_undone(outage: bool, theirs: str) -> None:
    scene = stage()

    def take_hand() -> None:
        getattr(scene.server, theirs)["cost"] = 7.0
        scene.journal.wanted = Wanted.CANCEL
        scene.journal.outages = 60 if outage else 0

    away_at(scene, take_hand)

    scene.run()

    assert scene.server.settings == {**scene.server.defaults, "cost": 7.0}
    assert "cost" in scene.journal.of(Restored)[-1].left


@in_force_or_not
def test_a_hand_in_an_interval_that_hurt_is_not_undone(theirs: str) -> None:
    scene = stage()
    scene.server.effect = lambda config: 1.0 if config["cache"] == 20 and not config["fast"] else 0.2
    away_at(scene, lambda: getattr(scene.server, theirs).update(cost=7.0), seconds=2.0)

    ended = scene.run()

    assert ended is SessionState.YIELDED
    assert scene.server.settings == {**scene.server.defaults, "cost": 7.0}


def test_a_change_while_the_session_was_paused_is_yielded_to() -> None:
    scene = stage()
    away_at(scene, lambda: setattr(scene.journal, "wanted", Wanted.PAUSE))
    scene.run()
    scene.server.settings["cost"] = 7.0

    ended = scene.follow(wanted=Wanted.RUN)

    assert ended is SessionState.YIELDED
    assert scene.server.settings == {**scene.server.defaults, "cost": 7.0}


def test_a_server_whose_own_configuration_was_changed_over_a_restart_is_yielded_to() -> None:
    scene = stage(knobs=["cost"])

    def reconfigure() -> None:
        scene.server.defaults = {**scene.server.defaults, "cost": 3.0}
        scene.server.go_down()
        scene.server.later(20, lambda: scene.server.come_up(forget=True))

    away_at(scene, reconfigure)

    ended = scene.run()

    assert ended is SessionState.YIELDED
    assert scene.at_home
    assert "own configuration was changed" in (scene.journal.status.reason or "")


@pytest.mark.parametrize("wanted", [Wanted.RUN, Wanted.CANCEL])
def test_what_somebody_else_has_set_stays_whoever_ends_the_session_and_whatever_is_wanted_then(wanted: Wanted) -> None:
    """It yields and cannot put the rest back; its runner dies over it."""
    scene = stage()
    scene.server.effect = lambda config: 1.0 + 0.01 * (float(config["cache"]) - 20)

    def happens() -> None:
        scene.server.settings["cost"] = 7.5
        scene.server.denied = {"cache", "fast", "cost"}

    away_at(scene, happens)
    commit = scene.journal.commit

    def dies(batch: Any) -> None:
        commit(batch)
        if batch.status.state is SessionState.RESTORING:
            scene.server.later(10, killed)

    scene.journal.commit = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.run()
    scene.server.denied = set()

    state = scene.follow(wanted=wanted)

    assert state is SessionState.YIELDED
    assert scene.server.settings == scene.server.defaults | {"cost": 7.5}
    assert "cost" in scene.journal.of(Restored)[-1].left


@in_force_or_not
@pytest.mark.parametrize("wanted", [Wanted.RUN, Wanted.CANCEL])
def test_a_hand_between_a_runners_death_and_its_successor_is_not_undone(wanted: Wanted, theirs: str) -> None:
    scene = stage(knobs=["cost", "fast"])
    away_at(scene, killed)
    with pytest.raises(Killed):
        scene.run()
    assert scene.server.settings["cost"] not in (4.0, 9.75), "it was this session's"
    scene.server.settings["fast"] = True
    getattr(scene.server, theirs)["cost"] = 9.75

    assert scene.follow(wanted=wanted) is SessionState.YIELDED

    assert scene.server.settings["cost"] == 9.75
    assert "this session had left it at" in scene.journal.of(Restored)[-1].left["cost"]
    assert "cost" in (scene.journal.status.reason or "")


def test_a_hand_after_a_runner_died_over_its_end_is_not_undone() -> None:
    scene = stage(knobs=["cost"])

    def happens() -> None:
        scene.server.go_down()
        scene.journal.wanted = Wanted.CANCEL
        scene.server.later(100, killed)

    away_at(scene, happens)
    with pytest.raises(Killed):
        scene.run()
    assert scene.journal.status.state is SessionState.RESTORING
    scene.server.come_up()
    scene.server.settings["cost"] = 9.75

    scene.follow(wanted=Wanted.CANCEL)

    assert scene.server.settings["cost"] == 9.75
    assert "this session had left it at" in scene.journal.of(Restored)[-1].left["cost"]


def test_a_change_over_which_a_runner_died_is_undone_whatever_it_left() -> None:
    """A server rounds, so nobody knows what a change that broke off has made of a setting."""
    scene = stage(knobs=["cache"])
    scene.server.clamps["cache"] = lambda value: int(value) // 4 * 4

    def crossing(point: str) -> None:
        if point == "in apply, cache set":
            raise Killed

    scene.server.crossing = crossing
    with pytest.raises(Killed):
        scene.run()
    assert not scene.at_home
    assert scene.watchdogs[-1].left == {}

    assert scene.follow() is SessionState.FINISHED

    assert scene.at_home


def test_the_watchdog_is_told_what_the_server_made_of_a_change() -> None:
    scene = stage(knobs=["cache"])
    scene.server.clamps["cache"] = lambda value: int(value) // 4 * 4
    seen: list[tuple[Config, Config]] = []
    away_at(scene, lambda: seen.append((dict(scene.watchdogs[-1].left), dict(scene.server.settings))))

    scene.run()

    ((told, stood),) = seen
    assert told == {name: stood[name] for name in ("cache", "cache_max")}

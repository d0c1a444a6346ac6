"""Runners that die at any point, and what their successors make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.workers.session_stage import INTERVALS, Stage, away_at, crossings, killed, stage
from tests.workers.simulated_server import Killed
from tunewright.session import SessionState
from tunewright.space import Config
from workers.session_journal import Fenced, Intended, Restored, Wanted


def test_a_runner_that_dies_while_restoring_is_followed_by_one_that_only_restores() -> None:
    scene = stage()

    def take_hand() -> None:
        scene.server.settings["cost"] = 7.0
        scene.server.denied.add("cache")
        scene.server.later(200, lambda: (_ for _ in ()).throw(Killed()))

    away_at(scene, take_hand)
    with pytest.raises(Killed):
        scene.run()
    assert scene.journal.status.state is SessionState.RESTORING
    measured = scene.journal.status.intervals
    scene.server.later(300, scene.server.denied.clear)

    ended = scene.follow()

    assert ended is SessionState.YIELDED
    assert scene.server.settings == {**scene.server.defaults, "cost": 7.0}
    assert scene.journal.status.intervals == measured
    assert "not back yet" not in (scene.journal.status.reason or "")


def test_a_runner_that_lost_its_session_stops_and_leaves_the_rest_to_the_watchdog() -> None:
    scene = stage()
    away_at(scene, lambda: setattr(scene.journal, "fenced", True))

    with pytest.raises(Fenced):
        scene.run()

    assert not scene.at_home
    assert scene.server.lock is None
    assert not scene.watchdogs[0].ended


# By then every knob has been set, and settings were tried for each reason that there is.
SHORT = 5


def short() -> Stage:
    return stage(budget={"intervals": SHORT})


def every_point() -> list[int]:
    """Where a session of a few intervals can die: every write, every setting, and some seconds of every interval."""
    scene = short()
    crossed = crossings(scene, None)
    scene.run()
    seconds = [i for i, point in enumerate(crossed) if point == "measure"]
    return [i for i in range(len(crossed)) if i not in set(seconds) or i in set(seconds[::20])]


@pytest.mark.slow
def test_wherever_a_runner_dies_its_successor_brings_the_former_settings_back_and_goes_on() -> None:
    points = every_point()
    assert len(points) > 40
    for point in points:
        scene = short()
        crossings(scene, point)
        with pytest.raises(Killed):
            scene.run()
        undone: list[Config] = []

        def note(crossing: str, scene: Stage = scene, undone: list[Config] = undone) -> None:
            if crossing == "before apply" and not undone:
                undone.append(dict(scene.server.settings))

        scene.journal = scene.journal.taken_over()
        scene.journal.wanted = Wanted.RUN
        scene.server.crossing = note

        ended = scene.run()

        assert ended is SessionState.FINISHED, point
        assert scene.at_home, point
        # Nothing new was tried before what was left had been put back.
        assert undone in ([], [scene.server.defaults]), point
        assert scene.journal.status.intervals == SHORT, point


def test_wherever_a_runner_dies_a_stopped_session_ends_restored() -> None:
    for point in every_point()[::3]:
        scene = short()
        crossings(scene, point)
        with pytest.raises(Killed):
            scene.run()

        ended = scene.follow(wanted=Wanted.CANCEL)

        assert ended in (SessionState.STOPPED, SessionState.FINISHED), point
        assert scene.at_home, point
        assert not scene.journal.status.touched, point


@pytest.mark.slow
def test_wherever_the_connection_breaks_the_session_goes_on_and_ends_restored() -> None:
    for point in every_point():
        scene = short()
        crossed: list[str] = []

        def crossing(name: str, scene: Stage = scene, crossed: list[str] = crossed, point: int = point) -> None:
            crossed.append(name)
            if len(crossed) - 1 == point:
                scene.server.cut()

        scene.server.crossing = scene.journal.crossing = crossing

        ended = scene.run()

        assert ended is SessionState.FINISHED, crossed[point]
        assert scene.at_home, crossed[point]
        assert not scene.journal.status.touched, crossed[point]
        assert scene.journal.status.intervals == SHORT, crossed[point]


def test_a_successor_says_when_the_watchdog_had_been_there_first() -> None:
    scene = stage()
    away_at(scene, lambda: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        scene.run()
    scene.server.settings = dict(scene.server.defaults)

    scene.follow(wanted=Wanted.CANCEL)

    assert [fact.by for fact in scene.journal.of(Restored)] == ["watchdog"]


def test_a_budget_that_passes_meanwhile_keeps_nothing_of_a_session_that_had_failed() -> None:
    """It loses its right and cannot put anything back; its runner dies over it, and its successor comes too late."""
    scene = stage(keep=True, budget={"seconds": 400.0})
    scene.server.effect = lambda config: 1.0 + 0.01 * (float(config["cache"]) - 20)
    scene.server.later(310.0, lambda: setattr(scene.server, "denied", {"cache", "fast", "cost"}))
    commit = scene.journal.commit

    def dies(batch: Any) -> None:
        commit(batch)
        if batch.status.state is SessionState.RESTORING:
            # What is said then is new, and written with the time.
            scene.server.later(100, lambda: setattr(scene.server, "denied", {"cache"}))
            scene.server.later(400, killed)

    scene.journal.commit = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.run()
    assert scene.journal.status.active_seconds > 400.0
    assert not scene.at_home
    scene.server.denied = set()

    state = scene.follow()

    assert state is SessionState.FAILED
    assert scene.at_home


def dies_over_its_end(best: Config, **fields: Any) -> Stage:
    """One whose runner lost the server at its end, with what it tried last in place, and died over it.

    Args:
        best: settings that it is to keep.
    """
    scene = stage(keep=True, **fields)
    commit, ends = scene.journal.commit, scene.journal.spec.budget.intervals

    def hook(batch: Any) -> None:
        if batch.status.intervals == ends:
            batch = replace(batch, status=replace(batch.status, best={"config": best, "gain": 0.5}))
        commit(batch)
        if batch.status.state is SessionState.RESTORING:
            scene.server.later(5, killed)
        elif batch.status.intervals == ends:
            scene.server.go_down()

    scene.journal.commit = hook  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.run()
    assert scene.journal.status.state is SessionState.RESTORING
    scene.server.up = True
    return scene


def test_what_a_successor_keeps_is_the_best_and_nothing_of_what_was_tried_last() -> None:
    best = {"cache": 90, "fast": False, "cost": 4.0}
    scene = dies_over_its_end(best, budget={"intervals": 13})
    assert scene.server.settings["cost"] != best["cost"], "where it stood at first is where it is best"

    assert scene.follow() is SessionState.FINISHED

    assert {name: scene.server.settings[name] for name in best} == best
    assert scene.journal.of(Restored)[-1].settings == scene.server.settings
    assert not scene.journal.status.touched


def test_where_somebody_set_a_knob_meanwhile_a_successor_keeps_nothing_and_leaves_theirs() -> None:
    scene = dies_over_its_end({"cache": 90, "fast": False, "cost": 4.0}, budget={"intervals": 4})
    tried = [fact.suggestion.config for fact in scene.journal.of(Intended)]
    assert not any(config["fast"] for config in tried), "it never was ours"
    scene.server.settings["fast"] = True

    assert scene.follow() is SessionState.FINISHED

    assert scene.server.settings == {**scene.server.defaults, "fast": True}
    assert scene.journal.of(Restored)[-1].settings == scene.server.settings
    assert "fast" in scene.journal.of(Restored)[-1].left


def kept(**fields: Any) -> Stage:
    """One that keeps what it found to be better."""
    scene = stage(keep=True, budget={"intervals": 12}, **fields)
    scene.server.effect = lambda config: 1.0 + 0.01 * (float(config["cache"]) - 20)
    return scene


@pytest.mark.slow
def test_wherever_a_runner_dies_over_its_end_the_best_settings_stay() -> None:
    scene = kept()
    crossed = crossings(scene, None)
    scene.run()
    end = max(i for i, point in enumerate(crossed) if point == "measure") + 1
    for point in range(end, len(crossed)):
        scene = kept()
        crossings(scene, point)
        with pytest.raises(Killed):
            scene.run()
        if not scene.watchdogs[-1].ended:
            scene.server.settings = dict(scene.server.defaults)

        ended = scene.follow()

        assert ended is SessionState.FINISHED, crossed[point]
        best = scene.journal.status.best
        assert best is not None
        assert {name: scene.server.settings[name] for name in best["config"]} == best["config"], crossed[point]
        assert scene.journal.of(Restored)[-1].settings == scene.server.settings, crossed[point]


def test_what_is_kept_stays_although_the_store_is_away_at_the_end() -> None:
    scene = kept()

    def crossing(point: str) -> None:
        if point == "after apply" and scene.journal.status.state is SessionState.RESTORING:
            scene.journal.outages = 60

    scene.server.crossing = crossing

    assert scene.run() is SessionState.FINISHED

    assert scene.journal.outages == 0
    assert not scene.at_home
    assert scene.journal.of(Restored)[-1].settings == scene.server.settings


def test_a_session_that_died_over_its_pause_goes_on_when_that_is_wanted() -> None:
    scene = stage()
    away_at(scene, lambda: setattr(scene.journal, "wanted", Wanted.PAUSE))
    restored = scene.server.crossing

    def crossing(point: str) -> None:
        restored(point)
        if point == "in restore, cache set" and scene.journal.wanted is Wanted.PAUSE:
            raise Killed

    scene.server.crossing = crossing
    with pytest.raises(Killed):
        scene.run()
    assert scene.journal.status.state is SessionState.RESTORING

    assert scene.follow(wanted=Wanted.RUN) is SessionState.FINISHED

    assert scene.journal.status.intervals == INTERVALS
    assert scene.at_home

"""One session's life on a pretended server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from db_knobs.database import Capability, Former
from db_knobs.errors import RightMissing
from tests.workers.session_stage import INTERVALS, SECONDS, away_at, stage
from tests.workers.simulated_server import KNOBS, Connection, PlainInsight
from tunewright.session import SessionState
from tunewright.space import Config
from workers.session_hold import Hold
from workers.session_journal import Began, Intended, Measured, Restored, Skipped, Stands, Wanted


def test_a_session_runs_to_the_end_of_its_budget_and_puts_everything_back() -> None:
    scene = stage()
    scene.server.effect = lambda config: 1.0 + 0.005 * (float(config["cache"]) - 20)

    state = scene.run()

    status = scene.journal.status
    assert state is status.state is SessionState.FINISHED
    assert status.intervals == INTERVALS
    assert not status.touched
    assert scene.at_home
    assert any(seen["cache"] != 20 for seen in scene.server.seen)
    assert scene.journal.of(Restored)[-1].settings == scene.server.defaults
    assert scene.watchdogs[0].ended
    assert scene.server.lock is None


def test_the_reference_is_left_again_once_it_is_known_well_enough() -> None:
    scene = stage(budget={"intervals": 12})
    scene.server.effect = lambda config: 1.0 + 0.005 * (float(config["cache"]) - 20)

    scene.run()

    intervals = [fact.interval for fact in scene.journal.of(Measured) if fact.interval.suggestion]
    kinds = [each.suggestion.kind for each in intervals if each.suggestion]
    assert set(kinds) > {"reference"}
    lengths = {
        kind: [each.seconds for each, its in zip(intervals, kinds, strict=True) if its == kind] for kind in kinds
    }
    assert all(SECONDS / 3 <= seconds < SECONDS / 3 + 3 for seconds in lengths.pop("reference"))
    assert all(abs(seconds - SECONDS) < 3 for others in lengths.values() for seconds in others)


def test_what_was_expected_of_an_interval_is_written_down_and_its_seconds_count_in_the_mean_gain() -> None:
    scene = stage(budget={"intervals": 45})
    scene.server.effect = lambda config: 1.0 + 0.005 * (float(config["cache"]) - 20)

    scene.run()

    told = [fact.interval for fact in scene.journal.of(Measured) if fact.interval.suggestion]
    known = [each for each in told if each.expected]
    assert len(known) >= len(told) - 2, "all but while the reference was first measured"
    gains = [each.performance / each.expected.reference - 1.0 for each in known if each.expected and each.performance]
    mean = np.average(gains, weights=[each.seconds for each in known])
    assert scene.journal.status.gain == pytest.approx(mean)
    assert abs(mean - np.mean(gains)) > 1e-4, "the reference's intervals were shorter"


def test_what_to_go_back_to_is_written_before_anything_is_applied() -> None:
    scene = stage()
    written_at_apply: list[list[type]] = []

    def crossing(point: str) -> None:
        if point == "before apply":
            written_at_apply.append([type(fact) for fact in scene.journal.facts])
            assert scene.watchdogs[-1].told

    scene.server.crossing = crossing

    scene.run()

    assert written_at_apply[0][0] is Began
    assert all(written[-1] is Intended for written in written_at_apply)
    began = scene.journal.of(Began)[0]
    assert {name: each["value"] for name, each in began.former.items()} == scene.server.defaults
    assert began.reference == {knob.name: knob.current for knob in KNOBS}


@pytest.mark.slow
def test_the_best_settings_stay_when_that_is_asked_for() -> None:
    scene = stage(keep=True, budget={"intervals": 12})
    scene.server.effect = lambda config: 1.0 + 0.01 * (float(config["cache"]) - 20)

    state = scene.run()

    assert state is SessionState.FINISHED
    best = scene.journal.status.best
    assert best is not None
    assert best["gain"] > 0
    assert {name: scene.server.settings[name] for name in best["config"]} == best["config"]
    assert "kept" in scene.journal.of(Restored)[-1].left["cache"]
    assert not scene.journal.status.touched

    # As whoever wants it back has it written down.
    last = scene.journal.batches[-1]
    taken = replace(last.status, state=SessionState.RESTORING, touched=True)
    scene.journal.batches[-1] = replace(last, status=taken)

    assert scene.follow(wanted=Wanted.CANCEL) is SessionState.STOPPED
    assert scene.at_home
    assert not scene.journal.of(Restored)[-1].left


@pytest.mark.parametrize(("wanted", "state"), [(Wanted.CANCEL, "stopped"), (Wanted.PAUSE, "paused")])
def test_stop_and_pause_put_the_former_settings_back_in_mid_interval(wanted: Wanted, state: str) -> None:
    scene = stage()
    away_at(scene, lambda: setattr(scene.journal, "wanted", wanted))

    ended = scene.run()

    assert ended == state
    assert scene.at_home
    # The interval was not waited for.
    assert scene.server.now < 1_000 + SECONDS * (scene.journal.status.intervals + 1)


def test_a_paused_session_goes_on_with_all_that_it_knew() -> None:
    scene = stage(budget={"intervals": 9})
    away_at(scene, lambda: setattr(scene.journal, "wanted", Wanted.PAUSE))
    scene.run()
    before = scene.journal.status.intervals

    ended = scene.follow(wanted=Wanted.RUN)

    assert ended is SessionState.FINISHED
    numbers = [m.interval.suggestion.number for m in scene.journal.of(Measured) if m.interval.suggestion]
    assert numbers == sorted(set(numbers))
    assert before < scene.journal.status.intervals == 9
    assert scene.at_home


def test_settings_that_hurt_are_taken_back_within_seconds_and_the_loss_is_counted() -> None:
    scene = stage()
    scene.server.effect = lambda config: 1.0 if config["cache"] == 20 and not config["fast"] else 0.2

    scene.run()

    hurt = [m for m in scene.journal.of(Measured) if m.interval.aborted]
    assert hurt
    assert all(measured.unsafe and measured.interval.seconds < 15 for measured in hurt)
    assert all(measured.lost == pytest.approx(0.8 * measured.interval.seconds / SECONDS, rel=0.2) for measured in hurt)
    assert scene.journal.status.unsafe == len(hurt)
    assert scene.journal.status.lost == pytest.approx(sum(measured.lost for measured in hurt))
    assert scene.at_home


@pytest.mark.parametrize("what", ["stays", "fades", "hurts"])
def test_whoever_follows_the_journal_knows_at_every_moment_what_stands(what: str) -> None:
    scene = stage(budget={"intervals": 12})
    if what == "hurts":
        scene.server.effect = lambda config: 1.0 if config["cache"] == 20 and not config["fast"] else 0.2
    told: list[Config] = []
    stood: list[Config] = []

    def look() -> None:
        facts = [fact for fact in scene.journal.facts if isinstance(fact, (Stands, Restored))]
        told.append(dict(facts[-1].settings) if facts else scene.server.defaults)
        stood.append(dict(scene.server.settings))

    def fade() -> None:
        scene.server.rate, scene.server.idle_clients = 0.0, True
        scene.server.later(3 * SECONDS, lambda: setattr(scene.journal, "wanted", Wanted.CANCEL))

    for number in range(400):
        scene.server.later(number + 0.5, look)
    if what == "fades":
        away_at(scene, fade)

    scene.run()

    assert any(settings != scene.server.defaults for settings in stood)
    assert told == stood


def test_a_server_that_stalls_under_new_settings_is_not_taken_for_idle() -> None:
    scene = stage()
    scene.server.effect = lambda config: 1.0 if config["cache"] == 20 and not config["fast"] else 0.0

    scene.run()

    assert any(measured.interval.aborted for measured in scene.journal.of(Measured))
    assert not scene.journal.of(Skipped)


def test_an_idle_database_is_waited_for_under_the_reference() -> None:
    scene = stage(budget={"intervals": 2})
    scene.server.rate, scene.server.idle_clients = 0.0, True

    def wake() -> None:
        assert scene.journal.status.state is SessionState.WAITING
        assert "too little traffic" in (scene.journal.status.reason or "")
        assert scene.at_home
        scene.server.rate, scene.server.idle_clients = 100.0, False

    scene.server.later(10 * SECONDS, wake)

    ended = scene.run()

    assert ended is SessionState.FINISHED
    assert len(scene.journal.of(Skipped)) >= 9
    assert scene.journal.status.intervals == 2


def test_traffic_that_fades_under_new_settings_brings_the_reference_back() -> None:
    scene = stage()
    seen: list[Config] = []

    def fade() -> None:
        scene.server.rate, scene.server.idle_clients = 0.0, True
        scene.server.later(3 * SECONDS, lambda: seen.append(dict(scene.server.settings)))
        scene.server.later(3 * SECONDS, lambda: setattr(scene.journal, "wanted", Wanted.CANCEL))

    away_at(scene, fade)

    scene.run()

    assert seen == [scene.server.defaults]
    assert not any(measured.interval.aborted for measured in scene.journal.of(Measured))


def test_an_interval_too_short_for_the_server_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainInsight, "rhythm", 3600.0)
    scene = stage()

    scene.run()

    assert scene.journal.notices.count("noise") == 1


def test_a_value_that_the_server_rounds_is_learnt_as_it_stands() -> None:
    scene = stage(knobs=["cache"])
    scene.server.clamps["cache"] = lambda value: int(value) // 4 * 4

    scene.run()

    assert scene.journal.notices.count("clamped") == 1
    assert all(measured.interval.config["cache"] % 4 == 0 for measured in scene.journal.of(Measured))
    assert scene.at_home


def test_advice_changes_nothing_and_says_what_it_would_do() -> None:
    scene = stage(mode="advice")
    away_at(scene, lambda: None)

    ended = scene.run()

    assert ended is SessionState.FINISHED
    assert not scene.server.seen
    assert not scene.journal.of(Intended)
    assert not scene.watchdogs
    advised = [m.interval.suggestion for m in scene.journal.of(Measured) if m.interval.suggestion]
    assert any(suggestion.config != suggestion_reference() for suggestion in advised)
    assert not any(suggestion.kind == "advice" for suggestion in advised), "no rule is ever heard twice"
    assert scene.journal.notices.count("advice") == 1
    assert scene.journal.status.unsafe == 0


def test_advice_takes_no_right_to_see_in_which_file_a_setting_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen(connection: Connection, names: Sequence[str]) -> Former:
        raise RightMissing('role "tuner" may not see in which file "cost" is set', ["GRANT pg_monitor TO tuner;"])

    monkeypatch.setattr(Connection, "former", unseen)
    scene = stage(mode="advice")

    ended = scene.run()

    assert ended is SessionState.FINISHED
    assert any(fact.interval.suggestion for fact in scene.journal.of(Measured))


def test_who_has_followed_advice_is_not_told_to_go_back_for_ever() -> None:
    scene = stage(mode="advice", interval=5.0, budget={"intervals": 60})
    scene.server.effect = lambda config: 1.0 + 0.01 * (float(config["cache"]) - 20)
    scene.server.later(50, lambda: scene.server.settings.update(cache=40))

    scene.run()

    measured = scene.journal.of(Measured)
    assert measured[-1].interval.config["cache"] == 40
    kinds = [fact.interval.suggestion.kind for fact in measured[-10:]]
    assert "reference" not in kinds


def suggestion_reference() -> Config:
    return {knob.name: knob.current for knob in KNOBS}


def test_bounds_of_the_dba_are_kept_although_the_reference_lies_outside() -> None:
    scene = stage(knobs=["cache"], bounds={"cache": {"low": 40, "high": 60}}, budget={"intervals": 12})
    scene.server.effect = lambda config: 1.0 + 0.01 * (float(config["cache"]) - 20)

    scene.run()

    assert all(seen["cache"] == 20 or 40 <= int(seen["cache"]) <= 60 for seen in scene.server.seen)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"knobs": ["nothing"]}, "no such setting"),
        ({"bounds": {"fast": {"low": 0, "high": 1}}}, "has no range"),
        ({"bounds": {"cache": {"low": 500, "high": 600}}}, "outside of 0 to 100"),
        ({"knobs": ["cost"], "bounds": {"cache": {"low": 5, "high": 6}}}, "does not tune"),
    ],
)
def test_what_does_not_fit_the_server_fails_in_words(fields: dict[str, Any], words: str) -> None:
    scene = stage(**fields)

    assert scene.run() is SessionState.FAILED
    assert words in (scene.journal.status.reason or "")


def test_a_latency_that_the_server_does_not_tell_is_no_objective() -> None:
    scene = stage(objective={"latency_p95": 1.0})
    scene.server.capabilities = (Capability("percentiles", False, "percentiles", "CREATE EXTENSION it"),)

    assert scene.run() is SessionState.FAILED
    assert "objective.latency_p95: this server does not tell it; CREATE EXTENSION it" in (
        scene.journal.status.reason or ""
    )


def test_what_stands_as_it_stood_is_left_in_no_file_of_the_server_by_settings_that_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = stage(keep=True)
    best = {"cache": 90, "fast": False, "cost": 4.0}
    keep = Hold._keep

    def keeps(hold: Hold) -> bool:
        hold._ledger.best = {"config": best, "gain": 0.5}
        return keep(hold)

    monkeypatch.setattr(Hold, "_keep", keeps)

    assert scene.run() is SessionState.FINISHED

    assert any(seen["cost"] != best["cost"] for seen in scene.server.seen)
    assert {name: scene.server.settings[name] for name in best} == best
    assert scene.server.written == {"cache"}
    assert set(scene.journal.of(Restored)[-1].left) == {"cache", "cache_max"}

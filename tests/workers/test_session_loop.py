"""One session's life on a pretended server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from db_knobs.database import Capability, Database
from db_knobs.errors import DatabaseError, LoginRefused, StatementTimeout
from db_knobs.statistics import Snapshot
from optimizers.onlinetune import OnlineTuneSettings
from tests.workers.memory_session_journal import MemorySessionJournal
from tests.workers.simulated_server import KNOBS, Connection, Killed, NotedWatchdog, PlainInsight, Server
from tunewright.session import SessionSpec, SessionState
from tunewright.space import Config
from workers.session_hold import Hold
from workers.session_journal import Began, Fenced, Intended, Measured, Restored, Skipped, Wanted
from workers.session_loop import MOST_DISTURBANCES, SessionLoop, Tools

SECONDS = 60.0
INTERVALS = 6


def spec(**fields: Any) -> SessionSpec:
    return SessionSpec(
        **{"database": "app", "interval": SECONDS, "budget": {"intervals": INTERVALS}, "seed": 3, **fields}
    )


@dataclass
class Stage:
    """A server, a session's journal, and the runners that come and go."""

    server: Server = field(default_factory=Server)
    journal: MemorySessionJournal = field(default_factory=lambda: MemorySessionJournal(spec()))
    watchdogs: list[NotedWatchdog] = field(default_factory=list)

    def run(self) -> SessionState:
        def watchdog(*_: object) -> NotedWatchdog:
            self.watchdogs.append(NotedWatchdog())
            return self.watchdogs[-1]

        databases: list[Database] = []

        def opened(*_: object) -> Database:
            databases.append(self.server.open())
            return databases[-1]

        tools = Tools(opened, PlainInsight, watchdog, self.journal.heartbeat, self.server, OnlineTuneSettings(warmup=2))
        try:
            return SessionLoop(self.journal, tools).run()
        finally:
            # A process that dies takes its connections along.
            for database in databases:
                database.close()

    def follow(self, **wanted: Any) -> SessionState:
        """Let a successor run."""
        self.server.crossing = lambda _: None
        self.journal = self.journal.taken_over()
        for name, value in wanted.items():
            setattr(self.journal, name, value)
        return self.run()

    @property
    def at_home(self) -> bool:
        return self.server.settings == self.server.defaults


def stage(server: Server | None = None, **fields: Any) -> Stage:
    return Stage(server or Server(), MemorySessionJournal(spec(**fields)))


def away_at(stage: Stage, happens: Callable[[], None], seconds: float = 5.0) -> None:
    """Let something happen some seconds after the first change."""
    happened = False

    def crossing(point: str) -> None:
        nonlocal happened
        if point == "after apply" and not happened:
            happened = True
            stage.server.later(seconds, happens)

    stage.server.crossing = crossing


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
    assert len(scene.journal.of(Skipped)) == 1
    assert scene.at_home


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


def test_a_runner_that_lost_its_session_stops_and_leaves_the_rest_to_the_watchdog() -> None:
    scene = stage()
    away_at(scene, lambda: setattr(scene.journal, "fenced", True))

    with pytest.raises(Fenced):
        scene.run()

    assert not scene.at_home
    assert scene.server.lock is None
    assert not scene.watchdogs[0].ended


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


def crossings(scene: Stage, at: int | None) -> list[str]:
    """Count what is crossed, and die at one of them."""
    crossed: list[str] = []

    def crossing(point: str) -> None:
        crossed.append(point)
        if len(crossed) - 1 == at:
            raise Killed(point)

    scene.server.crossing = crossing
    scene.journal.crossing = crossing
    return crossed


def every_point() -> list[int]:
    """Where a session of a few intervals can die: every write, every setting, and some seconds of every interval."""
    scene = stage()
    crossed = crossings(scene, None)
    scene.run()
    seconds = [i for i, point in enumerate(crossed) if point == "measure"]
    return [i for i in range(len(crossed)) if i not in set(seconds) or i in set(seconds[::20])]


@pytest.mark.slow
def test_wherever_a_runner_dies_its_successor_brings_the_former_settings_back_and_goes_on() -> None:
    points = every_point()
    assert len(points) > 40
    for point in points:
        scene = stage()
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
        assert scene.journal.status.intervals == INTERVALS, point


def test_wherever_a_runner_dies_a_stopped_session_ends_restored() -> None:
    for point in every_point()[::3]:
        scene = stage()
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
        scene = stage()
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
        assert scene.journal.status.intervals == INTERVALS, crossed[point]


def test_a_successor_says_when_the_watchdog_had_been_there_first() -> None:
    scene = stage()
    away_at(scene, lambda: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        scene.run()
    scene.server.settings = dict(scene.server.defaults)

    scene.follow(wanted=Wanted.CANCEL)

    assert [fact.by for fact in scene.journal.of(Restored)] == ["watchdog"]


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
            scene.server.later(10, _killed)

    scene.journal.commit = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.run()
    scene.server.denied = set()

    state = scene.follow(wanted=wanted)

    assert state is SessionState.YIELDED
    assert scene.server.settings == scene.server.defaults | {"cost": 7.5}
    assert "cost" in scene.journal.of(Restored)[-1].left


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
            scene.server.later(400, _killed)

    scene.journal.commit = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.run()
    assert scene.journal.status.active_seconds > 400.0
    assert not scene.at_home
    scene.server.denied = set()

    state = scene.follow()

    assert state is SessionState.FAILED
    assert scene.at_home


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
            scene.server.later(5, _killed)
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


def _killed() -> None:
    raise Killed

"""Knobs that need a restart, on a pretended server: in their hours, one at a time, kept only where they help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from db_knobs.database import Database, Former
from db_knobs.errors import RestartFailed, ServerBusy, ValueRefused
from db_knobs.restart import RestartCommand
from db_knobs.statistics import Metrics
from optimizers.onlinetune import OnlineTuneSettings, Rule
from tests.workers.memory_session_journal import MemorySessionJournal
from tests.workers.simulated_server import Connection, Killed, NotedWatchdog, PlainInsight, Server
from tunewright.errors import SpecError
from tunewright.session import TRIAL_INTERVALS, SessionSpec, SessionState
from tunewright.space import Config
from workers.session_custody import Custody
from workers.session_journal import (
    RECOVERING,
    RESTART_FAILED,
    Began,
    Measured,
    Noticed,
    RestartIntended,
    RestartTried,
    Restored,
    SessionBatch,
    Stands,
    Wanted,
)
from workers.session_loop import SessionLoop, Tools
from workers.session_maintenance import surely_better
from workers.session_recovery import RECOVERED

AWAY = 3.0
ALWAYS = {"command": "prod", "window": "00:00-24:00", "most": 2, "settle": 30.0}


class Command(RestartCommand):
    """Restarts a pretended server.

    Attributes:
        dies: at what is filed the server does not start.
    """

    pretended: Any = None
    dies: Callable[[Config], bool] = lambda filed: False
    calls: list[str] = []

    def run_restart(self, environment: Mapping[str, str]) -> None:
        self.calls.append("restart")
        self.pretended.go_down()
        self.pretended.sleep(AWAY)
        if self.dies(self.pretended.filed):
            raise RestartFailed("the server does not start")
        self.pretended.come_up()
        self.pretended.crossing("restarted")

    def run_recover(self, former: Former, environment: Mapping[str, str]) -> None:
        self.calls.append("recover")
        self.pretended.filed |= {n: each["value"] for n, each in former.items()}
        self.pretended.come_up()


def spec(**fields: Any) -> SessionSpec:
    named = {"database": "app", "knobs": ["cache", "pool"], "interval": 60.0, "seed": 3, "restarts": ALWAYS}
    return SessionSpec(**{**named, "budget": {"intervals": 40}, **fields})


@dataclass
class Stage:
    server: Server = field(default_factory=lambda: Server(pool=True))
    journal: MemorySessionJournal = field(default_factory=lambda: MemorySessionJournal(spec()))
    dies: Callable[[Config], bool] = lambda filed: False
    watchdogs: list[NotedWatchdog] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    commanded: bool = True
    guarded: list[Config] = field(default_factory=list)

    def run(self) -> SessionState:
        databases: list[Database] = []

        def opened(*_: object) -> Database:
            databases.append(self.server.open())
            return databases[-1]

        def watchdog(*_: object) -> NotedWatchdog:
            self.watchdogs.append(NotedWatchdog())
            return self.watchdogs[-1]

        command = Command(server="127.0.0.1:5432", restart=["r"], recover=["r"], seconds=10.0)
        command = command.model_copy(update={"pretended": self.server, "dies": self.dies, "calls": self.calls})
        guarded = self.guarded

        class Guarded(PlainInsight):
            def rules(self, metrics: Metrics | None) -> list[Rule]:
                # One that speaks of knobs of both kinds.
                return [Rule("memory", high={"cache": 90.0, "pool": 95.0}), *super().rules(metrics)]

            def guard(self, config: Config) -> str | None:
                guarded.append(config)
                return None

        tools = Tools(
            opened,
            Guarded,
            watchdog,
            self.journal.heartbeat,
            self.server,
            OnlineTuneSettings(warmup=2),
            {"prod": command} if self.commanded else {},
        )
        try:
            return SessionLoop(self.journal, tools).run()
        finally:
            for database in databases:
                database.close()

    def follow(self) -> SessionState:
        self.server.crossing = lambda _: None
        self.journal = self.journal.taken_over()
        return self.run()

    @property
    def tried(self) -> list[RestartTried]:
        return self.journal.of(RestartTried)

    @property
    def at_home(self) -> bool:
        return self.server.settings == self.server.defaults and self.server.filed.get("pool", 40) == 40


def stage(effect: Callable[[Config], float] = lambda config: 1.0, **fields: Any) -> Stage:
    scene = Stage(journal=MemorySessionJournal(spec(**fields)))
    scene.server.effect = effect
    return scene


def more_pool_is_better(config: Config) -> float:
    return 1.0 + 0.004 * (float(config["pool"]) - 40.0)


def less_pool_is_better(config: Config) -> float:
    return 1.0 - 0.004 * (float(config["pool"]) - 40.0)


def test_what_helps_is_kept_until_the_end_and_then_put_back() -> None:
    scene = stage(more_pool_is_better)

    assert scene.run() is SessionState.FINISHED

    assert [fact.kept for fact in scene.tried] == [True, True]
    assert [fact.config["pool"] for fact in scene.tried] == [65, 90]
    assert scene.tried[0].gain == pytest.approx(0.1, abs=0.02)
    pools = [seen["pool"] for seen in scene.server.seen if seen["cache"] != 20]
    assert 90 in pools, "the other knobs are tuned with what was kept"
    assert scene.calls == ["restart"] * 7, "two trials of three each, and the way back"
    assert scene.at_home
    assert not scene.journal.status.touched


def test_whoever_follows_the_journal_knows_what_stands_between_restarts() -> None:
    scene = stage(more_pool_is_better)
    wrong: list[tuple[Config, Config]] = []

    def look() -> None:
        facts = [fact for fact in scene.journal.facts if isinstance(fact, (Stands, Restored))]
        told = dict(facts[-1].settings) if facts else scene.server.defaults
        # The knob that takes a restart is told with the intervals that run under it; nobody is connected during one.
        if scene.server.up and any(
            scene.server.settings[name] != value for name, value in told.items() if name != "pool"
        ):
            wrong.append((told, dict(scene.server.settings)))

    for number in range(3000):
        scene.server.later(number + 0.5, look)

    scene.run()

    assert any(seen["cache"] != 20 for seen in scene.server.seen)
    assert wrong == []


@pytest.mark.parametrize("cache_helps", [False, True])
def test_what_was_kept_stays_at_the_end_where_that_is_asked_for(cache_helps: bool) -> None:
    def effect(config: Config) -> float:
        return more_pool_is_better(config) * (
            1.0 - 0.01 * abs(float(config["cache"]) - (40.0 if cache_helps else 20.0))
        )

    scene = stage(effect, restarts={**ALWAYS, "most": 1}, keep=True)

    assert scene.run() is SessionState.FINISHED

    assert (scene.server.settings["pool"], scene.server.filed["pool"]) == (65, 65)
    assert (scene.server.settings["cache"] == 20) is not cache_helps
    assert scene.calls == ["restart"] * 3
    assert scene.journal.of(Restored)[-1].left["pool"] == "kept: the best safe settings"


def test_what_does_not_help_is_put_back_at_once() -> None:
    scene = stage(less_pool_is_better, restarts={**ALWAYS, "most": 1})

    scene.run()

    (fact,) = scene.tried
    assert (fact.config["pool"], fact.kept) == (65, False)
    assert fact.gain is not None
    assert fact.gain < 0
    assert scene.calls == ["restart", "restart"]
    assert scene.at_home
    later = scene.journal.facts[scene.journal.facts.index(fact) :]
    assert {one.running["pool"] for one in later if isinstance(one, Measured)} == {40}


def test_a_trial_that_is_surely_worse_is_ended_early_and_counts_as_unsafe() -> None:
    scene = stage(lambda config: 1.0 if config["pool"] == 40 else 0.3, restarts={**ALWAYS, "most": 1})

    scene.run()

    unsafe = [fact for fact in scene.journal.of(Measured) if fact.unsafe]
    assert [fact.interval.aborted for fact in unsafe] == [True]
    assert unsafe[0].interval.seconds < 30
    assert unsafe[0].lost == pytest.approx(0.7 * unsafe[0].interval.seconds / 60.0, rel=0.05)
    assert scene.tried[0].kept is False


def test_a_load_that_grows_meanwhile_is_no_gain() -> None:
    scene = stage(restarts={**ALWAYS, "most": 1})

    def grow() -> None:
        scene.server.rate *= 1.02
        scene.server.later(30.0, grow)

    grow()
    scene.run()

    (fact,) = scene.tried
    assert "something else changed meanwhile" in fact.reason
    assert not fact.kept
    assert scene.at_home


def test_what_the_server_refuses_leaves_nothing_uncertain() -> None:
    server = Server(pool=True)
    server.refuses["pool"] = lambda value: True
    database = server.open()
    database.connect()
    custody = Custody(database, database.former(["pool"]), ["pool"])
    custody.ours.add("pool")
    with pytest.raises(ValueRefused):
        custody.file({"pool": 65})

    server.settings["pool"] = 7

    assert list(custody.theirs()) == ["pool"]


def test_no_difference_is_not_kept() -> None:
    scene = stage(restarts={**ALWAYS, "most": 1})

    scene.run()

    assert scene.tried[0].kept is False
    assert scene.at_home


def test_nothing_is_restarted_outside_of_the_window() -> None:
    # The pretended clock begins at 01:46:40 + 1000 s of its day, and the session takes forty minutes.
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "window": "04:00-05:00"})

    scene.run()

    assert scene.calls == []
    assert scene.tried == []


def test_a_trial_begins_only_while_the_window_leaves_time_for_all_of_it() -> None:
    # It is 02:03:20; a trial takes eight intervals of a minute and four restarts' time.
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "window": "02:00-02:12"})

    scene.run()

    assert scene.calls == []


def test_nothing_is_entered_for_good_once_the_window_has_closed() -> None:
    # It is 02:03:20, and a trial is planned to end at 02:20:14; the server takes minutes to come back instead.
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1, "window": "02:00-02:22"})

    def crossing(point: str) -> None:
        if point == "restarted":
            scene.server.sleep(240.0)

    scene.server.crossing = crossing
    scene.run()

    (fact,) = scene.tried
    assert "the window has closed" in fact.reason
    assert scene.calls == ["restart", "restart"]
    assert scene.at_home


def test_so_many_are_tried_in_one_window() -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1})

    scene.run()

    assert len(scene.tried) == 1


def test_the_intention_is_written_and_the_watchdog_told_before_anything_is_filed() -> None:
    scene = stage(more_pool_is_better)
    before: list[tuple[bool, bool]] = []

    def crossing(point: str) -> None:
        if point == "before apply" and not before:
            told = any("pool" in names for dog in scene.watchdogs for names in dog.told)
            before.append((bool(scene.journal.of(RestartIntended)), told))

    scene.server.crossing = crossing
    scene.run()

    assert before == [(True, True)]


def test_after_a_death_before_the_restart_what_was_filed_is_put_back() -> None:
    scene = stage(more_pool_is_better)

    def crossing(point: str) -> None:
        if point == "after apply" and "pool" in scene.server.filed:
            raise Killed

    scene.server.crossing = crossing
    with pytest.raises(Killed):
        scene.run()
    assert scene.server.filed["pool"] == 65
    assert scene.server.settings["pool"] == 40

    scene.journal.wanted = Wanted.CANCEL
    following = scene.journal.taken_over()
    following.wanted = Wanted.CANCEL
    scene.server.crossing = lambda _: None
    scene.journal = following
    assert scene.run() is SessionState.STOPPED

    assert scene.at_home
    assert not scene.journal.status.touched


def test_after_a_death_behind_the_restart_the_successor_restarts_into_the_former_settings() -> None:
    scene = stage(more_pool_is_better)

    def crossing(point: str) -> None:
        if point == "restarted":
            raise Killed

    scene.server.crossing = crossing
    with pytest.raises(Killed):
        scene.run()
    assert scene.server.settings["pool"] == 65

    assert scene.follow() is SessionState.FINISHED

    assert scene.at_home
    again = [fact.config["pool"] for fact in scene.tried]
    assert 65 not in again, "settings over which a runner died are not tried again"


def test_outside_of_the_window_the_end_leaves_the_restart_to_others_and_says_so() -> None:
    scene = stage(
        more_pool_is_better, restarts={**ALWAYS, "most": 1, "window": "02:00-02:35"}, budget={"intervals": 60}
    )

    scene.run()

    assert scene.server.settings["pool"] == 65
    assert scene.server.filed["pool"] == 40
    restored = scene.journal.of(Restored)[-1]
    assert "goes back from 65 to 40 when the server restarts" in restored.left["pool"]
    assert scene.journal.status.state is SessionState.FINISHED


# A trial takes 12 intervals, and 12 * 1.2 * 60 + 3 * (2 * 10 + 30) = 1,014 seconds.
@pytest.mark.parametrize(
    ("budget", "trials"),
    [({"intervals": 11}, 0), ({"intervals": 23}, 1), ({"seconds": 1_000.0}, 0), ({"seconds": 1_700.0}, 1)],
)
def test_a_trial_for_which_the_budget_has_no_room_is_not_begun(budget: dict[str, Any], trials: int) -> None:
    scene = stage(more_pool_is_better, budget=budget)

    assert scene.run() is SessionState.FINISHED

    assert len(scene.tried) == trials
    assert len(scene.journal.of(Measured)) <= budget.get("intervals", np.inf)
    notices = [fact.text for fact in scene.journal.of(Noticed) if "no room for another restart" in fact.text]
    assert len(notices) == 1
    assert scene.at_home


def test_a_command_that_fails_although_the_server_came_up_leaves_nothing_that_was_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = stage(lambda config: 1.0 if config["pool"] == 40 else 0.5, budget={"intervals": 30})
    restart = Command.run_restart

    def late(self: Command, environment: Mapping[str, str]) -> None:
        restart(self, environment)
        if len(self.calls) == 1:
            raise RestartFailed("it did not end within 10 s")

    monkeypatch.setattr(Command, "run_restart", late)

    assert scene.run() is SessionState.FINISHED

    assert scene.at_home
    assert {fact.running["pool"] for fact in scene.journal.of(Measured)} == {40}


def test_a_server_that_does_not_start_is_recovered_and_restarted_no_more() -> None:
    scene = stage(more_pool_is_better)
    scene.dies = lambda filed: filed.get("pool", 0) > 60

    assert scene.run() is SessionState.FINISHED

    assert scene.calls == ["restart", "recover"]
    assert [(fact.kept, fact.broke) for fact in scene.tried] == [(False, True)]
    assert scene.at_home


def too_large(filed: Config) -> bool:
    return bool(filed.get("pool", 0) > 60)


def die() -> None:
    raise Killed


def dies_once_written(scene: Stage, kind: str) -> None:
    """Let the runner die as soon as a notice of this kind is in the journal."""
    commit = scene.journal.commit

    def hook(batch: SessionBatch) -> None:
        commit(batch)
        if any(isinstance(fact, Noticed) and fact.kind == kind for fact in batch.facts):
            raise Killed

    scene.journal.commit = hook  # type: ignore[method-assign]
    with pytest.raises(Killed):
        scene.run()


def dies_while_the_server_restarts(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Command, environment: Mapping[str, str]) -> None:
        self.calls.append("restart")
        self.pretended.go_down()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Command, "run_restart", killed)
        with pytest.raises(Killed):
            scene.run()
    assert not scene.server.up


@pytest.mark.parametrize("wanted", [Wanted.RUN, Wanted.CANCEL])
@pytest.mark.parametrize("written", [True, False], ids=["once it had failed", "while it was under way"])
def test_a_server_that_does_not_start_is_recovered_by_the_successor_of_a_runner_that_died_over_it(
    written: bool, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = stage(more_pool_is_better)
    scene.dies = too_large
    if written:
        dies_once_written(scene, RESTART_FAILED)
    else:
        dies_while_the_server_restarts(scene, monkeypatch)
    assert not scene.server.up
    scene.journal.wanted = wanted
    # Who waits for somebody else to start it waits for ever.
    scene.server.later(20 * 3600.0, die)

    assert scene.follow() is (SessionState.FINISHED if wanted is Wanted.RUN else SessionState.STOPPED)

    assert scene.calls == ["restart", "recover"], "and nothing is restarted any more"
    assert scene.server.up
    assert scene.at_home
    assert scene.journal.notices.count(RESTART_FAILED) == 1
    assert RECOVERED in [fact.text for fact in scene.journal.of(Noticed)]


@pytest.mark.parametrize("answer", ["comes up", "refuses the login", "is full"])
def test_a_server_that_answers_is_not_recovered(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = stage(more_pool_is_better)
    dies_while_the_server_restarts(scene, monkeypatch)
    connect, full = Connection.connect, answer == "is full"

    def connected(self: Connection) -> None:
        if full and scene.server.up:
            raise ServerBusy("too many clients already")
        connect(self)

    def make_room() -> None:
        nonlocal full
        full = False

    monkeypatch.setattr(Connection, "connect", connected)
    scene.server.login = answer != "refuses the login"
    scene.server.later(8.0, scene.server.come_up)
    scene.server.later(60.0, make_room)

    state = scene.follow()

    assert "recover" not in scene.calls
    assert RESTART_FAILED not in scene.journal.notices
    assert (state is SessionState.FINISHED) is scene.server.login


def test_the_server_is_not_recovered_twice_for_one_restart() -> None:
    scene = stage(more_pool_is_better)
    scene.dies = too_large
    dies_once_written(scene, RECOVERING)
    scene.calls.append("recover")
    scene.server.later(3600.0, scene.server.come_up)
    scene.dies = lambda filed: False

    assert scene.follow() is SessionState.FINISHED

    assert scene.calls == ["restart", "recover"]
    assert scene.server.now > 3600.0, "it was waited for"


def test_a_recover_command_that_fails_is_told_and_the_server_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = stage(more_pool_is_better)
    scene.dies = too_large
    dies_once_written(scene, RESTART_FAILED)

    def fails(self: Command, *_: object) -> None:
        self.calls.append("recover")
        self.pretended.later(3600.0, self.pretended.come_up)
        raise RestartFailed("no such unit")

    monkeypatch.setattr(Command, "run_recover", fails)
    scene.server.later(20 * 3600.0, die)

    assert scene.follow() is SessionState.FINISHED

    assert scene.calls == ["restart", "recover"]
    assert any("no such unit" in fact.text for fact in scene.journal.of(Noticed))


@pytest.mark.parametrize("tried", ["nothing", "kept", "left by an earlier runner", "failed and over"])
def test_a_server_that_is_down_for_others_reasons_is_theirs_to_start(
    tried: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1}, budget={"intervals": 30})

    def dies(after: float) -> None:
        """The server goes down, and the runner with it."""

        def both() -> None:
            scene.server.go_down()
            raise Killed

        scene.server.later(after, both)
        with pytest.raises(Killed):
            scene.run()

    if tried == "nothing":
        dies(30.0)
    elif tried == "kept":
        dies(25 * 60.0)
        assert scene.tried[0].kept
    elif tried == "left by an earlier runner":
        dies_while_the_server_restarts(scene, monkeypatch)
        scene.server.come_up()
        scene.journal = scene.journal.taken_over()
        dies(30.0)
        assert scene.journal.of(RestartIntended)
        assert not scene.tried
    else:
        fails_to_settle(scene, monkeypatch)
        dies(10 * 60.0)
        assert RESTART_FAILED in scene.journal.notices
    before = list(scene.calls)
    scene.server.later(3600.0, scene.server.come_up)

    assert scene.follow() is SessionState.FINISHED

    assert "recover" not in scene.calls[len(before) :]


def fails_to_settle(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a runner die behind its first restart, and its successor's own, which is to put that back, end badly."""
    restart = Command.run_restart

    def fails(self: Command, environment: Mapping[str, str]) -> None:
        restart(self, environment)
        if len(self.calls) == 1:
            raise Killed
        raise RestartFailed("it did not end within 10 s")

    monkeypatch.setattr(Command, "run_restart", fails)
    with pytest.raises(Killed):
        scene.run()
    scene.journal = scene.journal.taken_over()


def test_a_session_that_broke_a_restart_restarts_nothing_after_a_death_either() -> None:
    """The server was brought up by hand before its next runner came."""
    scene = stage(more_pool_is_better)
    scene.dies = too_large
    dies_once_written(scene, RESTART_FAILED)
    scene.server.filed = {"pool": 40}
    scene.server.come_up()
    scene.dies = lambda filed: False

    assert scene.follow() is SessionState.FINISHED

    assert scene.calls == ["restart"]
    assert scene.at_home


def test_a_session_that_broke_a_restart_restarts_nothing_after_a_pause_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of any trial: what it was to put back did not come back as it should."""
    scene = stage(more_pool_is_better)
    fails_to_settle(scene, monkeypatch)
    scene.server.later(10 * 60.0, lambda: setattr(scene.journal, "wanted", Wanted.PAUSE))
    assert scene.run() is SessionState.PAUSED
    assert scene.calls == ["restart", "restart"]
    scene.journal.wanted = Wanted.RUN

    assert scene.follow() is SessionState.FINISHED

    assert scene.calls == ["restart", "restart"]
    assert scene.tried == []
    assert scene.at_home


def test_a_restart_at_the_end_that_failed_is_not_made_again_by_a_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1}, budget={"intervals": 20})
    restart = Command.run_restart

    def fails(self: Command, environment: Mapping[str, str]) -> None:
        if len(self.calls) == 3:
            self.calls.append("restart")
            raise RestartFailed("sudo: a password is required")
        restart(self, environment)

    monkeypatch.setattr(Command, "run_restart", fails)
    dies_once_written(scene, RESTART_FAILED)
    assert scene.tried[0].kept

    assert scene.follow() is SessionState.FINISHED

    assert scene.calls == ["restart"] * 4
    assert "when the server restarts" in scene.journal.of(Restored)[-1].left["pool"]


def test_a_server_that_the_restart_at_the_end_has_left_down_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1}, budget={"intervals": 20})
    restart = Command.run_restart

    def fails(self: Command, environment: Mapping[str, str]) -> None:
        if len(self.calls) == 3:
            self.calls.append("restart")
            self.pretended.go_down()
            # Somebody would have seen to it in the end.
            self.pretended.later(3600.0, self.pretended.come_up)
            raise RestartFailed("start request repeated too quickly")
        restart(self, environment)

    monkeypatch.setattr(Command, "run_restart", fails)

    assert scene.run() is SessionState.FINISHED

    assert scene.tried[0].kept
    assert scene.calls == [*["restart"] * 4, "recover"]
    assert scene.at_home
    assert scene.journal.of(Restored)[-1].left == {}


def test_without_the_command_on_this_machine_nothing_is_restarted_and_it_says_so() -> None:
    scene = stage(more_pool_is_better)
    scene.commanded = False

    scene.run()

    assert scene.tried == []
    assert any('no command "prod" that restarts this server' in fact.text for fact in scene.journal.of(Noticed))


def test_a_stop_during_a_trial_puts_everything_back() -> None:
    scene = stage(more_pool_is_better)

    def crossing(point: str) -> None:
        if point == "restarted":
            scene.journal.wanted = Wanted.CANCEL

    scene.server.crossing = crossing
    assert scene.run() is SessionState.STOPPED

    assert scene.tried[0].kept is False
    assert scene.at_home


def test_going_back_between_intervals_leaves_what_was_kept() -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1})

    stood: list[tuple[Any, Any]] = []

    def look() -> None:
        stood.append((scene.server.settings["cache"] == 20, scene.server.filed["pool"]))

    def idle() -> None:
        look()
        scene.server.idle_clients, scene.server.rate = True, 0.0
        scene.server.later(100.0, busy)

    def busy() -> None:
        scene.server.idle_clients, scene.server.rate = False, 100.0
        look()

    scene.server.later(25 * 60.0, idle)
    assert scene.run() is SessionState.FINISHED

    assert stood == [(False, 65), (True, 65)], "a suggestion stood, and was taken back"
    assert scene.calls == ["restart"] * 4, "the trial, and the way back"


@pytest.mark.parametrize("seconds", [None, 150.0])
def test_what_waits_for_a_restart_is_no_foreign_setting_before_or_after_it(seconds: float | None) -> None:
    """Paused outside of the window, resumed, and restarted by hand: before that, or so many seconds after it."""
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1, "window": "02:00-02:35"})
    scene.server.later(36 * 60.0, lambda: setattr(scene.journal, "wanted", Wanted.PAUSE))
    assert scene.run() is SessionState.PAUSED
    assert (scene.server.settings["pool"], scene.server.filed["pool"]) == (65, 40)

    def by_hand() -> None:
        scene.server.go_down()
        scene.server.come_up()

    if seconds is None:
        by_hand()
    else:
        scene.server.later(seconds, by_hand)
    scene.journal.wanted = Wanted.RUN
    assert scene.follow() is SessionState.FINISHED

    assert scene.at_home
    assert "foreign_change" not in scene.journal.notices


def test_the_guard_is_asked_about_the_server_as_it_runs() -> None:
    scene = stage(more_pool_is_better)

    scene.run()

    guarded = [config for config in scene.guarded if "cache" in config and config["cache"] != 20]
    assert {config["pool"] for config in guarded} == {90}, "both trials come before the first other knob"


def test_a_restart_by_somebody_else_is_no_foreign_setting() -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1}, budget={"intervals": 20})

    def by_hand() -> None:
        scene.server.go_down()
        scene.server.come_up()

    scene.server.later(25 * 60.0, by_hand)

    assert scene.run() is SessionState.FINISHED


def test_the_context_tells_where_the_pool_stands() -> None:
    scene = stage(more_pool_is_better, restarts={**ALWAYS, "most": 1})

    scene.run()

    assert list(scene.journal.of(Began)[0].features) == ["rate", "phase", "restart.pool"]
    assert len({fact.interval.context[-1] for fact in scene.journal.of(Measured)}) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"knobs": ["cache"]}, "restarts: none of `knobs` needs a restart"),
        ({"knobs": ["pool"]}, "restarts: name at least one knob that needs no restart"),
    ],
)
def test_a_session_whose_knobs_do_not_fit_fails_with_the_field(fields: dict[str, Any], words: str) -> None:
    scene = stage(**fields)

    assert scene.run() is SessionState.FAILED

    assert words in (scene.journal.status.reason or "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": "advice"}, "only advises"),
        ({"knobs": None}, "name the knobs"),
        ({"restarts": {**ALWAYS, "window": "02:00-02:00"}}, "no time at all"),
        ({"restarts": {**ALWAYS, "window": "25:00-26:00"}}, "restarts.window"),
        ({"restarts": {**ALWAYS, "most": 0}}, "restarts.most"),
    ],
)
def test_bad_restarts_name_the_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises((SpecError, ValueError), match=words):
        spec(**fields)


@pytest.mark.parametrize(
    ("window", "at", "opened"),
    [
        ("02:00-04:00", 3 * 3600.0, (2 * 3600.0, 4 * 3600.0)),
        ("02:00-04:00", 4 * 3600.0, None),
        ("22:00-02:00", 86_400.0 + 3600.0, (22 * 3600.0, 26 * 3600.0)),
        ("22:00-02:00", 12 * 3600.0, None),
        ("00:00-24:00", 86_399.0, (0.0, 86_400.0)),
    ],
)
def test_windows_are_hours_of_every_day(window: str, at: float, opened: tuple[float, float] | None) -> None:
    restarts = spec(restarts={**ALWAYS, "window": window}).restarts
    assert restarts is not None
    assert restarts.opened(at) == opened


def test_chance_is_seldom_taken_for_better() -> None:
    rng = np.random.default_rng(0)
    kept = [
        surely_better(list(rng.normal(0, 0.1, TRIAL_INTERVALS)), list(rng.normal(0, 0.1, TRIAL_INTERVALS)))
        for _ in range(2000)
    ]
    assert np.mean(kept) < 0.06
    better = [
        surely_better(list(rng.normal(0, 0.02, TRIAL_INTERVALS)), list(rng.normal(0.1, 0.02, TRIAL_INTERVALS)))
        for _ in range(200)
    ]
    assert np.mean(better) > 0.95

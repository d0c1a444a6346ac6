"""Parts of a session by themselves: its knobs as plain data, its pulse, the rules of its kind of server."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from db_knobs.database import Capability, Database, Estimate
from db_knobs.errors import KnobRefused, ServerBusy, UnknownKnob
from db_knobs.knob import Knob, Special, to_space
from db_knobs.rules import Advice
from db_knobs.statistics import Metrics, Statement, Workload
from optimizers.onlinetune import Interval, Rule
from optimizers.onlinetune.intervals import Expected
from tests.workers.memory_session_journal import MemorySessionJournal
from tests.workers.simulated_server import KNOBS, Server
from tunewright.session import Range, SessionSpec, SessionState
from tunewright.space import Config
from workers import session_pulse
from workers.session_insight import ServerInsight, as_rules, broken
from workers.session_journal import Began, Fenced, SessionStatus, Wanted
from workers.session_knobs import choose, from_plain, outside, placed, plain
from workers.session_pulse import Pulse
from workers.session_tuning import Tuning

AUTOMATIC = Knob(
    "vacuum_memory", "integer", "a special one", current=-1, unit="kB", factor=1024.0, low=64, high=4096, scale="log",
    special=Special(-1, "automatic", "low"), rules=("some-rule",),
)  # fmt: skip
CHOICE = Knob("sync", "enum", "an enum", current="on", choices=("off", "on"))


@pytest.mark.parametrize("knob", [*KNOBS, AUTOMATIC, CHOICE], ids=lambda knob: knob.name)
def test_a_knob_comes_back_from_a_journal_as_it_was(knob: Knob) -> None:
    stored = json.loads(json.dumps(plain(knob)))

    assert from_plain(stored) == knob


def test_a_store_that_writes_whole_numbers_as_reals_changes_nothing() -> None:
    stored = {**plain(KNOBS[0]), "low": 0.0, "high": 100.0, "current": 20.0}

    again = from_plain(stored)

    assert isinstance(again.low, int)
    assert again == KNOBS[0]


def test_what_stands_beside_the_scales_is_moved_onto_them() -> None:
    space = to_space([KNOBS[0], KNOBS[2], AUTOMATIC, CHOICE])
    standing = {"cache": 300, "cost": 0.5, "vacuum_memory": 65, "sync": "on", "other": 1}

    config = placed(space, standing)

    assert config["cache"] == 100
    assert config["cost"] == 1.0
    assert config["vacuum_memory"] == 64
    assert config["sync"] == "on"
    assert space.encode(config).shape == (4,)


def test_bounds_forbid_what_lies_outside_but_not_the_reference() -> None:
    bounds = {"cache": Range(low=40, high=60)}

    assert outside(bounds, {"cache": 20}, {"cache": 20}) is None
    assert outside(bounds, {"cache": 20}, {"cache": 41}) is None
    assert "bounds 40 to 60" in (outside(bounds, {"cache": 20}, {"cache": 30}) or "")


def test_a_setting_that_would_turn_users_away_is_refused_also_where_it_needs_no_restart() -> None:
    turning_away = Knob("max_connections", "integer", "how many", current=151, low=50, high=2000)
    database = Server().open()
    database.connect()
    database.knobs = lambda allowed: [KNOBS[0], turning_away]  # type: ignore[method-assign, misc, assignment]

    with pytest.raises(KnobRefused, match="turn users away"):
        choose(database, SessionSpec(database="app", knobs=["cache", "max_connections"]), database.probe())


def test_advice_of_a_kind_of_server_becomes_rules_of_the_tuner() -> None:
    advice = Advice("r", low={"cache": 30.0}, among={"sync": ["off"]}, risk="high", hard=True, text="words")

    (rule,) = as_rules([advice])

    assert rule == Rule("r", low={"cache": 30.0}, among={"sync": ["off"]}, risk="high", hard=True, text="words")
    assert broken(rule, {"cache": 20, "sync": "off"})
    assert broken(rule, {"cache": 30, "sync": "on"})
    assert not broken(rule, {"cache": 30, "sync": "off"})


class Full:
    """A database of which a statement cannot be explained while its server is full."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.calls, self.full = 0.0, False

    def read(self, names: Sequence[str]) -> Config:
        raise UnknownKnob(names[0], "this server has no such setting")

    def workload(self) -> Workload:
        self.calls += 10
        return {"s": Statement("SELECT * FROM t WHERE id = $1", calls=self.calls, seconds=self.calls, rows=self.calls)}

    def estimate(self, statements: Mapping[str, Statement]) -> dict[str, Estimate]:
        self.asked.append(set(statements))
        if self.full:
            raise ServerBusy("too many clients already")
        return {"s": Estimate(rows=100.0, filtered=0.5, indexed=1.0)}


def test_a_server_that_is_full_is_asked_for_plans_later() -> None:
    server = Server()
    server.capabilities = (Capability("statements", True), Capability("estimates", True))
    connection = server.open()
    connection.connect()
    database = Full()
    insight = ServerInsight(cast("Database", database), connection.probe(), list(KNOBS))
    metrics = Metrics(seconds=10.0, throughput=1.0)

    database.full = True
    full = insight.context(metrics, {})
    database.full = False
    after = insight.context(metrics, {})
    insight.context(metrics, {})

    assert full != after
    assert database.asked == [{"s"}, {"s"}]


def test_the_reference_is_measured_as_precisely_as_is_asked_and_others_to_the_end() -> None:
    reference = {knob.name: knob.current for knob in KNOBS}
    began = Began({}, reference, {knob.name: plain(knob) for knob in KNOBS}, ["rate"])
    before = SessionStatus(SessionState.RUNNING, 0.0, tuner={"noise": {"deviation": 0.5, "correlation": 0.0}})
    tuning = Tuning(SessionSpec(database="app", interval=60.0), began, before, lambda _: None)
    asked = tuning.suggest([0.0], [])
    assert asked.kind == "reference"

    lengths = [tuning.seconds(asked.model_copy(update={"precision": precision})) for precision in (0.0, 0.05, 0.1)]

    assert lengths == [60.0, 60.0, pytest.approx(25.0)]
    assert tuning.seconds(asked.model_copy(update={"kind": "safe"})) == 60.0


@pytest.mark.parametrize(("cache", "unsafe", "lost"), [(20, False, 0.0), (21, True, 0.3)])
def test_only_other_settings_can_be_worse_than_the_reference(cache: int, unsafe: bool, lost: float) -> None:
    reference = {knob.name: knob.current for knob in KNOBS}
    began = Began({}, reference, {knob.name: plain(knob) for knob in KNOBS}, ["rate"])
    tuning = Tuning(
        SessionSpec(database="app", interval=60.0), began, SessionStatus(SessionState.RUNNING, 0.0), lambda _: None
    )
    asked = tuning.suggest([0.0], [])
    interval = Interval(
        suggestion=asked.model_copy(update={"kind": "centre"}),
        config={**reference, "cache": cache},
        context=(0.0,),
        performance=70.0,
        seconds=60.0,
        expected=Expected(reference=100.0, doubt=0.01, gain=0.0),
    )

    assert tuning.unsafe(interval) is unsafe
    assert tuning.lost(interval) == pytest.approx(lost)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> MemorySessionJournal:
    monkeypatch.setattr(session_pulse, "HEARTBEAT_SECONDS", 0.01)
    return MemorySessionJournal(SessionSpec(database="app"))


def beats(journal: MemorySessionJournal, count: int) -> threading.Event:
    """Set after so many more heartbeats that were heard."""
    enough, left = threading.Event(), [None] * count

    def heard() -> None:
        if left:
            left.pop()
        else:
            enough.set()

    journal.heard = heard
    return enough


def test_a_pulse_tells_what_people_want_also_after_the_store_was_away(journal: MemorySessionJournal) -> None:
    with Pulse(journal) as pulse:
        assert pulse.wanted() is Wanted.RUN
        journal.outages = 3
        journal.wanted = Wanted.PAUSE

        assert beats(journal, 2).wait(10)

        assert pulse.wanted() is Wanted.PAUSE


def test_a_pulse_that_was_fenced_says_so_to_whoever_asks(journal: MemorySessionJournal) -> None:
    with Pulse(journal) as pulse:
        journal.fenced = True
        pulse._thread.join(10)

        with pytest.raises(Fenced):
            pulse.wanted()

"""Which sessions get a runner, how often, and what is settled without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update

from db_knobs.address import Address, Password, server_of
from db_knobs.catalog import Host
from service.conductor import LEASE
from service.passwords import Passwords
from service.session_conductor import LONGEST_PAUSE, MAX_CRASHES, SWEEP_SECONDS, SessionConductor
from service.settings import ServiceSettings
from service.store import databases, leases, sessions
from service.store.databases import NewDatabase
from service.store.engine import open_engine, writing
from service.store.leases import Hold, session_lease
from service.store.repository import new_id
from service.store.session_journal import SqlSessionJournal
from service.store.tables import DatabaseRow, LeaseRow
from tests.service.access import Clock
from tests.service.session_runners import PROBE, Writer, began, intended
from tunewright.session import SessionSpec, SessionState
from tunewright.session_views import SessionView
from workers.session_journal import Wanted
from workers.session_settings import SessionSettings

VARIABLE = "TUNEWRIGHT_DATABASE_PASSWORD_TEST"


@dataclass
class QuietCluster:
    """Notes which runners were started and ended.

    Attributes:
        deaths: runs that have ended, and why.
        present: sessions that have a runner on the cluster.
        slow: runners' processes take their time to start.
    """

    started: list[SqlSessionJournal] = field(default_factory=list)
    deaths: dict[int, str | None] = field(default_factory=dict)
    ended_runs: list[int] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    slow: bool = False

    def start_session(self, session: str, journal: Any, settings: SessionSettings) -> int:
        self.started.append(journal)
        return len(self.started) - 1

    def starting(self, run: int) -> bool:
        return self.slow

    def ended(self, run: int) -> tuple[bool, str | None]:
        return run in self.deaths, self.deaths.get(run)

    def end_runner(self, run: int) -> None:
        self.ended_runs.append(run)

    def sessions(self) -> list[str]:
        return self.present

    def kill_session(self, session: str) -> None:
        self.killed.append(session)


@dataclass
class Scene:
    """A store with its conductor, who leads."""

    engine: Engine
    url: str
    settings: ServiceSettings
    cluster: QuietCluster = field(default_factory=QuietCluster)
    clock: Clock = field(default_factory=Clock)
    most: int = 8

    def __post_init__(self) -> None:
        epoch = leases.acquire(self.engine, LEASE, "one", seize=True)
        self.under = Hold(LEASE, epoch or 0)
        self.conductor = SessionConductor(
            self.engine,
            self.url,
            self.cluster,
            Passwords(self.settings),
            SessionSettings(),
            self.most,
            "one",
            self.clock,
        )

    def tick(self) -> None:
        self.conductor.collect()
        self.conductor.tick(leases.live(self.engine), self.under)

    def session(self, port: int = 5432) -> str:
        address = Address("postgresql", "localhost", port, "tuner", Password(""), "shop")
        new = NewDatabase(
            *(new_id(), f"prod {port}", "default", address, "env", VARIABLE, Host()),
            *(server_of("localhost", port), PROBE),
        )
        database = databases.add(self.engine, new)
        return sessions.create(self.engine, SessionSpec(database=database.id), database.id).id

    def view(self, session: str) -> SessionView:
        return sessions.view(self.engine, session)

    def die(self, problem: str | None = "it broke") -> None:
        """The newest runner ends."""
        self.cluster.deaths[len(self.cluster.started) - 1] = problem


@pytest.fixture
def scene(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv(VARIABLE, "canary")
    engine = open_engine(store_url)
    yield Scene(engine, store_url, ServiceSettings(data_dir=tmp_path))
    engine.dispose()


def test_a_session_gets_one_runner_with_its_databases_password(scene: Scene) -> None:
    session = scene.session()

    scene.tick()
    scene.tick()

    (journal,) = scene.cluster.started
    assert (journal.session_id, journal.load().address.password.secret) == (session, "canary")
    assert session_lease(session) in leases.live(scene.engine)


@pytest.mark.parametrize("slow", [True, False])
def test_a_runner_whose_process_is_slow_to_start_keeps_its_lease(scene: Scene, slow: bool) -> None:
    session = scene.session()
    scene.tick()
    with writing(scene.engine) as connection:
        connection.execute(update(LeaseRow).values(expires_at=0.0).where(LeaseRow.name == session_lease(session)))
    scene.cluster.slow = slow

    scene.tick()

    assert len(scene.cluster.started) == (1 if slow else 2)


def test_a_runner_that_died_is_replaced_later_and_later(scene: Scene) -> None:
    session = scene.session()
    waits = []
    for _ in range(3):
        scene.tick()
        scene.die()
        scene.tick()
        begun, before = len(scene.cluster.started), scene.clock.now
        while len(scene.cluster.started) == begun:
            scene.clock.now += 0.05
            scene.tick()
        waits.append(scene.clock.now - before)

    assert waits == pytest.approx([0.4, 0.8, 1.6], abs=0.06)
    assert {journal.session_id for journal in scene.cluster.started} == {session}
    # One epoch for each runner, and one more where a dead runner's lease was revoked.
    assert [journal.epoch for journal in scene.cluster.started] == [1, 3, 5, 7]


def test_a_session_whose_runners_never_get_anywhere_fails_if_nothing_was_touched(scene: Scene) -> None:
    session = scene.session()
    for _ in range(MAX_CRASHES):
        scene.tick()
        scene.die()
        scene.tick()
        scene.clock.now += LONGEST_PAUSE

    scene.tick()

    found = scene.view(session)
    assert (found.state, len(scene.cluster.started)) == (SessionState.FAILED, MAX_CRASHES)
    assert found.reason == f"its runner came to nothing {MAX_CRASHES} times in a row, the last time: it broke"
    assert session_lease(session) not in leases.live(scene.engine)


@pytest.mark.parametrize("wanted", list(Wanted))
def test_a_session_that_has_touched_its_database_gets_runners_without_end(scene: Scene, wanted: Wanted) -> None:
    session = scene.session()
    scene.tick()
    writer = Writer(scene.cluster.started[0])
    writer.commit(began(), intended(), touched=True)
    sessions.steer(scene.engine, session, wanted)
    scene.die()
    for _ in range(3 * MAX_CRASHES):
        scene.tick()
        scene.die()
        scene.tick()
        scene.clock.now += LONGEST_PAUSE

    assert len(scene.cluster.started) >= 2 * MAX_CRASHES
    assert not scene.view(session).state.final


def test_the_runner_after_one_that_was_not_let_in_has_the_new_password(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = scene.session()
    scene.tick()
    Writer(scene.cluster.started[0]).commit(began(), touched=True)
    leases.release(scene.engine, session_lease(session), scene.cluster.started[0].epoch)
    monkeypatch.setenv(VARIABLE, "another")
    scene.die(None)

    scene.tick()
    scene.clock.now += 1.0
    scene.tick()

    assert [journal.load().address.password.secret for journal in scene.cluster.started] == ["canary", "another"]


def test_a_runner_that_gets_somewhere_is_forgiven(scene: Scene) -> None:
    session = scene.session()
    batch = 0
    for _ in range(2 * MAX_CRASHES):
        scene.tick()
        writer = Writer(scene.cluster.started[-1], batch)
        for _ in range(3):
            writer.commit()
        batch = writer.batch
        scene.die()
        scene.tick()
        scene.clock.now += LONGEST_PAUSE

    assert scene.view(session).state is SessionState.RUNNING


def test_what_nobody_runs_is_stopped_and_paused_without_a_runner(scene: Scene) -> None:
    stopped, paused = scene.session(1), scene.session(2)
    sessions.steer(scene.engine, stopped, Wanted.CANCEL)
    sessions.steer(scene.engine, paused, Wanted.PAUSE)

    scene.tick()
    scene.tick()
    states = [scene.view(session).state for session in (stopped, paused)]
    sessions.steer(scene.engine, paused, Wanted.RUN)
    scene.tick()

    assert states == [SessionState.STOPPED, SessionState.PAUSED]
    assert [journal.session_id for journal in scene.cluster.started] == [paused]


def test_a_session_that_was_paused_by_its_runner_waits_without_one(scene: Scene) -> None:
    session = scene.session()
    scene.tick()
    sessions.steer(scene.engine, session, Wanted.PAUSE)
    writer = Writer(scene.cluster.started[0])
    writer.finish(SessionState.PAUSED)
    scene.die(None)

    scene.tick()
    scene.tick()
    before = len(scene.cluster.started)
    sessions.steer(scene.engine, session, Wanted.RUN)
    scene.tick()

    assert (before, len(scene.cluster.started)) == (1, 2)


def test_no_more_run_than_may_but_what_must_be_put_back_never_waits(scene: Scene) -> None:
    scene.conductor._most = 1
    first, second, touched = (scene.session(port) for port in (1, 2, 3))
    writer = Writer.of(scene.engine, scene.url, touched)
    writer.commit(intended(), touched=True)
    writer.journal.release()

    scene.tick()

    assert [journal.session_id for journal in scene.cluster.started] == [touched]
    writer = Writer(scene.cluster.started[0], 1)
    writer.finish()
    scene.die(None)
    scene.tick()
    assert [journal.session_id for journal in scene.cluster.started] == [touched, first]
    assert scene.view(second).state is SessionState.PENDING


def test_a_runner_that_was_replaced_ends_alone_and_is_no_failure(scene: Scene) -> None:
    session = scene.session()
    scene.tick()
    other = leases.acquire(scene.engine, session_lease(session), "two", seize=True)
    scene.die("Fenced: another has it")

    scene.tick()

    assert session_lease(session) in leases.live(scene.engine), "the other runner's lease"
    assert (scene.cluster.ended_runs, scene.conductor._failures) == ([0], {})
    assert other == 2


def test_a_conductor_that_leads_no_more_starts_and_settles_nothing(scene: Scene) -> None:
    running, stopped = scene.session(1), scene.session(2)
    sessions.steer(scene.engine, stopped, Wanted.CANCEL)
    leases.acquire(scene.engine, LEASE, "two", seize=True)

    scene.tick()

    assert scene.cluster.started == []
    assert {scene.view(session).state for session in (running, stopped)} == {SessionState.PENDING}


def test_a_password_that_cannot_be_had_fails_what_was_not_touched_and_says_why(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = scene.session()
    monkeypatch.delenv(VARIABLE)
    for _ in range(MAX_CRASHES + 1):
        scene.tick()
        scene.clock.now += LONGEST_PAUSE

    found = scene.view(session)
    assert (found.state, scene.cluster.started) == (SessionState.FAILED, [])
    assert f"{VARIABLE} is not set" in (found.reason or "")


def test_runners_of_conductors_that_are_gone_are_ended_when_they_are_done(scene: Scene) -> None:
    working, done = scene.session(1), scene.session(2)
    Writer.of(scene.engine, scene.url, working)
    Writer.of(scene.engine, scene.url, done).finish()
    scene.cluster.present = [working, done]
    scene.clock.now += SWEEP_SECONDS

    scene.tick()

    assert scene.cluster.killed == [done]


def test_a_lease_that_ran_out_gives_the_session_to_another_runner(scene: Scene) -> None:
    session = scene.session()
    scene.tick()
    with writing(scene.engine) as connection:
        connection.execute(update(LeaseRow).where(LeaseRow.name == session_lease(session)).values(expires_at=1.0))

    scene.tick()

    assert [journal.epoch for journal in scene.cluster.started] == [1, 2]


def test_a_lost_cluster_is_not_asked_for_runners_that_it_had(scene: Scene) -> None:
    scene.session()
    scene.tick()
    scene.die()

    scene.conductor.forget_runners()
    scene.conductor.collect()

    assert scene.cluster.ended_runs == []


def test_a_session_whose_database_is_gone_does_not_stop_the_others(scene: Scene) -> None:
    lost, well = scene.session(1), scene.session(2)
    with writing(scene.engine) as connection:
        connection.execute(delete(DatabaseRow).where(DatabaseRow.port == 1))

    scene.tick()

    assert [journal.session_id for journal in scene.cluster.started] == [well]
    assert scene.view(lost).state is SessionState.PENDING

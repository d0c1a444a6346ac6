"""Which conductor acts, and on what; its cluster starts nothing and says of runners what tests want."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service import conductor as conductor_module
from service.conductor import LEASE, MAX_CRASHES, RENEWAL_SECONDS, Conductor
from service.store import leases
from service.store.engine import writing
from service.store.journal import SqlJournal
from service.store.repository import Repository
from service.store.tables import LeaseRow
from tests.service.conftest import Runner, complete_spec, ended, incumbent, report, start
from tunewright.study import EXTERNAL, Priority, StudyState, TrialState
from workers.checkpoints import CheckpointStore
from workers.journal import Wanted
from workers.leg import LegSettings


class Clock:
    """Stands for the `time` module that the conductor reads."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


class QuietCluster:
    """Notes which runners were started and ended.

    Attributes:
        deaths: runs that have ended, and why.
        without_process: runs whose process is not there yet.
        present: studies that have a runner on the cluster.
    """

    local = False

    def __init__(self) -> None:
        self.started: list[SqlJournal] = []
        self.ended_runs: list[int] = []
        self.killed: list[str] = []
        self.deaths: dict[int, str | None] = {}
        self.without_process: set[int] = set()
        self.present: list[str] = []

    def start_runner(self, study: str, journal: SqlJournal, settings: LegSettings, *, external: bool) -> int:
        self.started.append(journal)
        return len(self.started) - 1

    def starting(self, run: int) -> bool:
        return run in self.without_process

    def ended(self, run: int) -> tuple[bool, str | None]:
        return run in self.deaths, self.deaths.get(run)

    def runners(self) -> list[str]:
        return self.present

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        return {"CPU": 2.0}, {"CPU": 2.0}

    def end_runner(self, run: int) -> None:
        self.ended_runs.append(run)

    def kill_runner(self, study: str) -> None:
        self.killed.append(study)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(conductor_module, "time", clock)
    monkeypatch.setattr(leases, "now", lambda _: clock.time())
    return clock


def make(repository: Repository, url: str, cluster: Any, holder: str = "one", most: int = 8) -> Conductor:
    conductor = Conductor(repository, url, cluster, LegSettings("file:///nowhere", ()), most, holder, sole_user=False)
    # As after its first look.
    conductor._looked_at = conductor_module.time.monotonic()
    return conductor


def expire_all(repository: Repository) -> None:
    with writing(repository.engine) as connection:
        connection.execute(update(LeaseRow).values(expires_at=1.0))


def test_of_two_conductors_one_acts(repository: Repository, store_url: str) -> None:
    study = repository.create_study(complete_spec()).id
    clusters = [QuietCluster(), QuietCluster()]
    conductors = [make(repository, store_url, clusters[n], str(n)) for n in range(2)]

    for conductor in [*conductors, *conductors]:
        conductor.tick()

    assert [[journal.study_id for journal in cluster.started] for cluster in clusters] == [[study], []]


def test_a_conductor_that_was_thought_dead_does_nothing_when_it_wakes_up(
    repository: Repository, store_url: str
) -> None:
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)
    conductor.tick()
    leases.acquire(repository.engine, LEASE, "two", seize=True)
    cancelled = repository.create_study(complete_spec()).id
    repository.steer(cancelled, Wanted.CANCEL)
    waiting = repository.create_study(complete_spec()).id

    # It renewed its lease a moment ago, so it does not know yet.
    conductor.tick()

    assert cluster.started == []
    assert {repository.study(study).state for study in (cancelled, waiting)} == {StudyState.QUEUED}


def test_a_runner_that_was_replaced_ends_alone_and_is_no_crash(
    repository: Repository, store_url: str, clock: Clock
) -> None:
    study = repository.create_study(complete_spec()).id
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)
    for run in range(MAX_CRASHES + 1):
        conductor.tick()
        epoch = leases.acquire(repository.engine, leases.study_lease(study), "two", seize=True)
        cluster.deaths[run] = "Fenced: another runner has it"
        conductor.tick()
        assert leases.study_lease(study) in leases.live(repository.engine), "the other runner's lease"
        leases.release(repository.engine, leases.study_lease(study), epoch or 0)

    assert cluster.ended_runs == list(range(MAX_CRASHES + 1))
    assert cluster.killed == []
    assert repository.study(study).state is StudyState.QUEUED


def test_a_runner_that_dies_again_and_again_fails_its_study(
    repository: Repository, store_url: str, clock: Clock
) -> None:
    study = repository.create_study(complete_spec()).id
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)

    for run in range(MAX_CRASHES):
        conductor.tick()
        cluster.deaths[run] = "it broke"
        clock.now += 1.0
        conductor.tick()
        # Longer and longer waits are over; the conductor has looked all the time.
        clock.now += 60.0
        conductor._looked_at, conductor._told = clock.now, clock.time()

    found = repository.study(study)
    assert found.state is StudyState.FAILED
    assert found.reason == f"its runner died {MAX_CRASHES} times in a row, the last time: it broke"


def test_a_study_without_a_runner_is_cancelled_without_reading_all_that_happened(
    repository: Repository, store_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = repository.create_study(complete_spec()).id
    runner = Runner.of(repository, store_url, study)
    runner.commit(start(0, 0), start(1, 1), report(0, 0, 3.0), ended(0, 0, TrialState.WAITING))
    runner.counts = {TrialState.RUNNING: 1, TrialState.WAITING: 1}
    runner.finish(StudyState.PAUSED, best=[incumbent(0, 0.5)])
    repository.steer(study, Wanted.CANCEL)
    monkeypatch.setattr(SqlJournal, "load", None)

    make(repository, store_url, QuietCluster()).tick()

    found = repository.study(study)
    assert (found.state, found.counts) == (StudyState.CANCELLED, {TrialState.CANCELLED: 1, TrialState.STOPPED: 1})
    assert [best.trial for best in found.best] == [0]
    trials = [repository.trial(f"{study}-{number}") for number in range(2)]
    assert [trial.state for trial in trials] == [TrialState.STOPPED, TrialState.CANCELLED]
    assert [trial.jobs[0].state for trial in trials] == ["completed", "cancelled"]


def test_a_study_that_is_cancelled_without_a_runner_keeps_the_states_of_its_best_trials_alone(
    repository: Repository, store_url: str, tmp_path: Path
) -> None:
    study = repository.create_study(complete_spec()).id
    Runner.of(repository, store_url, study).finish(StudyState.PAUSED, best=[incumbent(1, 0.5)])
    states = CheckpointStore(f"file://{tmp_path / 'checkpoints'}")
    (tmp_path / "state").mkdir()
    for trial in range(3):
        states.put(study, trial, 3.0, tmp_path / "state")
    repository.steer(study, Wanted.CANCEL)
    legs = LegSettings(f"file://{tmp_path / 'checkpoints'}", ())
    cluster: Any = QuietCluster()
    conductor = Conductor(repository, store_url, cluster, legs, 8, "one", sole_user=False)
    # As after its first look.
    conductor._looked_at = time.monotonic()

    conductor.tick()
    conductor._removals.shutdown()

    assert repository.study(study).state is StudyState.CANCELLED
    assert [states.kept(study, trial) for trial in range(3)] == [[], [3.0], []]


def test_a_process_may_take_longer_to_start_than_a_lease_lasts(
    repository: Repository, store_url: str, clock: Clock
) -> None:
    study = repository.create_study(complete_spec()).id
    cluster = QuietCluster()
    cluster.without_process = {0}
    conductor = make(repository, store_url, cluster)
    conductor.tick()
    expire_all(repository)
    conductor.tick()
    assert leases.study_lease(study) in leases.live(repository.engine)
    assert len(cluster.started) == 1

    cluster.without_process = set()
    expire_all(repository)
    conductor.tick()

    assert len(cluster.started) == 2, "a runner that is there renews its lease, or is replaced"


@pytest.mark.parametrize("lives", [True, False])
def test_runners_get_time_to_renew_leases_that_nobody_could_renew(
    repository: Repository, store_url: str, clock: Clock, lives: bool
) -> None:
    repository.create_study(complete_spec())
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)
    conductor.tick()

    expire_all(repository)
    clock.now += 20.0
    conductor.tick()
    assert len(cluster.started) == 1
    if lives:
        cluster.started[0].heartbeat()
    clock.now += 0.7 * RENEWAL_SECONDS
    conductor.tick()
    clock.now += 0.7 * RENEWAL_SECONDS
    conductor.tick()

    assert len(cluster.started) == (1 if lives else 2)


def test_clients_finish_their_jobs_though_the_runner_dies_while_its_study_pauses(
    repository: Repository, store_url: str, clock: Clock
) -> None:
    elsewhere = {"workload": EXTERNAL, "resources": None}
    studies = [repository.create_study(complete_spec().model_copy(update=elsewhere)).id for _ in range(2)]
    Runner.of(repository, store_url, studies[0]).commit(start(0, 0))
    for study in studies:
        repository.steer(study, Wanted.PAUSE)
    expire_all(repository)
    cluster = QuietCluster()

    make(repository, store_url, cluster).tick()

    assert [journal.study_id for journal in cluster.started] == studies[:1]
    assert [repository.study(study).state for study in studies] == [StudyState.RUNNING, StudyState.PAUSED]


@pytest.mark.parametrize("seconds", [-3_600, -3, 3_600])
def test_runners_outlive_a_clock_that_is_set(
    repository: Repository, store_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Back, or ahead, as it is on a machine that slept. What runs is held on to: an actor without a handle is ended."""
    repository.create_study(complete_spec())
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)
    conductor.tick()
    cluster.started[0].heartbeat()
    store_time, ahead = leases._now, 0.0
    monkeypatch.setattr(leases, "_now", lambda connection: store_time(connection) + ahead)
    monkeypatch.setattr(leases, "now", lambda _: clock.time() + ahead)
    clock.now += 0.5
    conductor.tick()

    ahead = seconds
    for _ in range(20):
        clock.now += 0.5
        conductor.tick()
        cluster.started[0].heartbeat()
    cluster.deaths[0] = "killed"
    conductor.tick()

    assert len(cluster.started) == 1
    assert [crashes.problem for crashes in conductor.facts().crashes.values()] == ["killed"]


def test_runners_of_conductors_that_are_gone_are_ended_when_they_are_done(
    repository: Repository, store_url: str
) -> None:
    cluster = QuietCluster()
    working, done = (repository.create_study(complete_spec()).id for _ in range(2))
    Runner.of(repository, store_url, working)
    Runner.of(repository, store_url, done).finish()
    cluster.present = [working, done]

    make(repository, store_url, cluster).tick()

    assert cluster.killed == [done]


def test_no_more_studies_run_than_may_whoever_started_them(repository: Repository, store_url: str) -> None:
    for _ in range(5):
        repository.create_study(complete_spec())
    clusters = [QuietCluster(), QuietCluster()]
    make(repository, store_url, clusters[0], most=3).tick()
    expired = leases.acquire(repository.engine, LEASE, "nobody", seize=True)
    leases.release(repository.engine, LEASE, expired or 0)

    make(repository, store_url, clusters[1], most=4).tick()

    assert [len(cluster.started) for cluster in clusters] == [3, 1]


def test_studies_of_higher_priority_start_first_then_the_oldest(repository: Repository, store_url: str) -> None:
    priorities = (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL)
    created = [repository.create_study(complete_spec(priority=priority)).id for priority in priorities]
    cluster = QuietCluster()

    make(repository, store_url, cluster, most=3).tick()

    assert [journal.study_id for journal in cluster.started] == [created[2], created[1], created[3]]


def test_a_cluster_is_divided_among_those_who_run(repository: Repository, store_url: str, clock: Clock) -> None:
    cluster = QuietCluster()
    cluster.local = True
    conductor = make(repository, store_url, cluster)
    large = repository.create_study(complete_spec(parallel=100)).id
    conductor.tick()
    alone = cluster.started[0].share(0.0, 100)
    late = repository.create_study(complete_spec(parallel=5)).id

    conductor.tick()
    both = cluster.started[0].share(2.0, 100), cluster.started[1].share(0.0, 5)
    repository.change(late, {"priority": Priority.HIGH})
    rooms, given = (1, 1), [0, 0]
    for _ in range(50):
        clock.now += 1.0
        conductor.tick()
        rooms = cluster.started[0].share(rooms[0], 100) or 0, cluster.started[1].share(rooms[1], 5) or 0
        given = [before + now for before, now in zip(given, rooms, strict=True)]
    cluster.started[1].share(0.0, 0)
    conductor.tick()
    left = cluster.started[0].share(1.0, 100), cluster.started[1].share(0.0, 0)

    assert [journal.study_id for journal in cluster.started] == [large, late]
    assert (alone, both, left) == (2, (1, 1), (2, 1))
    weights = Priority.NORMAL.weight, Priority.HIGH.weight
    assert given == pytest.approx([100 * weight / sum(weights) for weight in weights], abs=4)


def test_on_a_cluster_that_can_grow_a_leg_of_each_study_waits(repository: Repository, store_url: str) -> None:
    cluster = QuietCluster()
    repository.create_study(complete_spec(parallel=100))

    make(repository, store_url, cluster).tick()

    assert cluster.started[0].share(0.0, 100) == 3


def test_a_runner_that_lives_and_lets_its_lease_run_out_again_and_again_fails_its_study(
    repository: Repository, store_url: str, clock: Any
) -> None:
    study = repository.create_study(complete_spec()).id
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)

    for _ in range(60):
        conductor.tick()
        with writing(repository.engine) as connection:
            name = leases.study_lease(study)
            now = time.time()
            connection.execute(update(LeaseRow).where(LeaseRow.name == name).values(expires_at=now - 1))
        clock.now += 1.0

    assert len(cluster.started) == MAX_CRASHES
    found = repository.study(study)
    assert found.state is StudyState.FAILED
    assert "its lease ran out" in (found.reason or "")


def test_a_runner_that_lets_go_of_its_lease_has_not_crashed(repository: Repository, store_url: str, clock: Any) -> None:
    study = repository.create_study(complete_spec()).id
    cluster = QuietCluster()
    conductor = make(repository, store_url, cluster)

    for _ in range(10):
        conductor.tick()
        leases.release(repository.engine, leases.study_lease(study), cluster.started[-1].epoch)
        clock.now += 1.0

    assert len(cluster.started) == 10
    assert not conductor.facts().crashes

"""The conductor: sees that every study that should run has a runner, and that no study hangs.

It looks at the store a few times a second and compares what is wanted with what is. Of several services on one store
the one that holds the conductor's lease acts, and whatever it does to a study it does under the epoch of that lease. A
study without a live lease has no runner: it gets one, under a new epoch. A runner that dies is replaced at once; one
that dies again and again without getting anywhere fails its study, with the reason.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ray.exceptions import RayError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from optimizers.protocol import Incumbent, JobEnd
from service.conducting import ClusterSeen, Conducting, Crashed
from service.session_conductor import SessionConductor
from service.shares import Shares
from service.store import leases, sharing
from service.store.engine import writing
from service.store.journal import SqlJournal
from service.store.repository import ConductorRow, Repository
from tunewright.errors import TunewrightError
from tunewright.study import EXTERNAL, Resources, StudyState, TrialState
from workers import tracing
from workers.checkpoints import CheckpointStore
from workers.cluster import Cluster, ClusterError, OtherVersion
from workers.journal import Batch, JobEnded, Status, Wanted
from workers.leg import LegSettings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
# Renewing the lease is also how a store that can no longer be written is noticed while nothing else happens.
RENEW_SECONDS = 2.0
# So long after a conductor's death another one acts.
LEAD_SECONDS = 6.0
CONNECT_RETRY_SECONDS = 5.0
# While the store is away, or this process is suspended, leases run out whose holders are well. After so long a silence,
# or a leap of the store's clock, runners are given some time to renew theirs.
SILENCE_SECONDS = 4.0
RENEWAL_SECONDS = 4.0
SWEEP_SECONDS = 10.0
MAX_CRASHES = 5
LEASE = "conductor"


@dataclass
class _Running:
    """A runner that this conductor started."""

    run: Any
    epoch: int


@dataclass
class _Crashes:
    """Deaths of a study's runners since it last got anywhere."""

    count: int
    batch: int
    not_before: float
    problem: str
    at: float


class Conductor:
    """Runs in a thread of the service."""

    def __init__(
        self,
        repository: Repository,
        store_url: str,
        cluster: Cluster,
        legs: LegSettings,
        max_running: int,
        holder: str,
        *,
        sole_user: bool,
        sessions: SessionConductor | None = None,
    ) -> None:
        self._repository = repository
        self._store_url = store_url
        self._cluster = cluster
        self._legs = legs
        self._max_running = max_running
        self._holder = holder
        self._sole_user = sole_user
        self._sessions = sessions
        self._running: dict[str, _Running] = {}
        # In what traces studies were submitted; empty unless there are traces.
        self._traces: dict[str, tracing.Carrier] = {}
        self._crashes: dict[str, _Crashes] = {}
        self._epoch: int | None = None
        self._renewed_at = 0.0
        self._looked_at = 0.0
        # The store's time then; None before the first look.
        self._told: float | None = None
        self._patient_until = 0.0
        self._swept_at = 0.0
        self._shares = Shares()
        self._rooms: dict[str, int] = {}
        self._ticked_at: float | None = None
        self._crashed = 0
        self._seen: ClusterSeen | None = None
        self._seen_at = 0.0
        # An object store may take its time; the other studies do not wait for it.
        self._removals = ThreadPoolExecutor(max_workers=1, thread_name_prefix="removals")
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="conductor", daemon=True)
        self.problem: str | None = "the cluster is starting"
        self._ails = "cluster"

    def start(self) -> None:
        """Connect to the cluster and begin, in the background."""
        self._thread.start()

    def nudge(self, study: str | None = None) -> None:
        """Something has changed: look now rather than at the next tick.

        Args:
            study: it was submitted; its work goes on with the trace that is open here.
        """
        if study is not None and (trace := tracing.carrier()):
            self._traces[study] = trace
        self._wake.set()

    def stop(self) -> None:
        """End the thread; runners on a cluster of their own go on, those of a local one end with it."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=30)
        self._removals.shutdown(wait=False, cancel_futures=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def facts(self) -> Conducting:
        """How it stands; may be asked from any thread."""
        now = time.monotonic()
        return Conducting(
            holder=self._holder,
            problem=self.problem,
            ails=None if self.problem is None else self._ails,
            alive=self.alive,
            leads=self._epoch is not None,
            tick_seconds=None if self._ticked_at is None else now - self._ticked_at,
            most=self._max_running,
            running=frozenset(list(self._running)),
            crashes={
                study: Crashed(crashes.count, crashes.problem, now - crashes.at)
                for study, crashes in list(self._crashes.items())
            },
            crashed=self._crashed,
            cluster=None if self._seen is None else replace(self._seen, seconds_ago=now - self._seen_at),
        )

    def check(self, needed: Resources) -> None:
        """Refuse what could never run here; a cluster of its own may still grow, so only a local one is asked.

        Raises:
            SpecError: names the resource, and what there is of it.
        """
        if self._cluster.local and self.problem is None:
            self._cluster.check(needed)

    def _main(self) -> None:
        if not self._connect():
            return
        self._looked_at = time.monotonic()
        while not self._stop.is_set():
            if not self._keep_cluster():
                return
            try:
                self.tick()
                self._look_at_cluster()
                self.problem = None
                self._ticked_at = time.monotonic()
            except (SQLAlchemyError, RayError, TunewrightError) as error:
                log.warning("conductor: %s", error)
                self._fails(error)
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
        self._resign()
        self._cluster.disconnect()

    def _keep_cluster(self) -> bool:
        """Join the cluster anew if it is lost, with all that ran on it; False when the service stops first."""
        lost = self._cluster.lost()
        if lost is None:
            return True
        log.error("%s; connecting again", lost)
        self._fails(ClusterError(lost))
        self._running.clear()
        if self._sessions is not None:
            self._sessions.forget_runners()
        self._seen = None
        self._cluster.disconnect()
        return self._connect()

    def _connect(self) -> bool:
        """Join the cluster, however long that takes; False when the service stops first."""
        while not self._stop.is_set():
            try:
                self._cluster.connect()
                if self._sole_user:
                    # Whatever held a lease ran on the Ray that ended with the service before this one.
                    leases.void(self._repository.engine)
                return True
            except (ClusterError, SQLAlchemyError, OSError) as error:
                log.error("%s; trying again", error)
                self._fails(error)
            self._stop.wait(CONNECT_RETRY_SECONDS)
        return False

    def tick(self) -> None:
        """Compare what is wanted with what is, once."""
        leads = self._lead()
        self._collect()
        if self._sessions is not None:
            self._sessions.collect()
        live = leases.live(self._repository.engine)
        if self._patient() or not leads:
            return
        if self._sessions is not None and self._epoch is not None:
            self._sessions.tick(live, leases.Hold(LEASE, self._epoch))
        self._sweep(live)
        studies = self._repository.unfinished()
        running = [study.id for study in studies if leases.study_lease(study.id) in live]
        for study in sorted(studies, key=lambda study: -study.priority.weight):
            if study.id in running or self._settle_without_runner(study):
                continue
            if len(running) < self._max_running and self._may_start(study):
                self._start(study)
                running.append(study.id)
        self._divide(running)

    def _divide(self, running: Sequence[str]) -> None:
        """Tell the studies that run how many legs each may have."""
        if self._seen is None:
            self._look_at_cluster()
        assert self._seen is not None
        capacity = {"CPU": self._seen.cpus, "GPU": self._seen.gpus}
        with self._repository.engine.connect() as connection:
            claims = sharing.claims(connection, running)
        rooms = self._shares.divide(capacity, claims, time.monotonic())
        if not self._cluster.local:
            # A cluster that can grow does so for legs that wait.
            rooms = {study: room + 1 for study, room in rooms.items()}
        changed = {study: room for study, room in rooms.items() if self._rooms.get(study) != room}
        if changed and self._epoch is not None:
            with writing(self._repository.engine) as connection:
                if leases.held(connection, LEASE, self._epoch):
                    sharing.grant(connection, changed)
        self._rooms = rooms

    def _fails(self, error: Exception) -> None:
        """Tell of what keeps it from working."""
        self.problem = _in_words(error)
        store, cluster = isinstance(error, SQLAlchemyError), isinstance(error, (RayError, ClusterError))
        whole = "versions" if isinstance(error, OtherVersion) else "cluster"
        self._ails = "store" if store else whole if cluster else "conductor"

    def _look_at_cluster(self) -> None:
        """Note what the cluster has, now and then, so that nobody who wants to know waits for Ray."""
        now = time.monotonic()
        if self._seen is None or now - self._seen_at >= RENEW_SECONDS:
            self._seen, self._seen_at = ClusterSeen.of(*self._cluster.resources()), now

    def _patient(self) -> bool:
        """Whether leases may have run out because nobody could renew them, or because the store's clock went ahead (as
        it does on a machine that slept), and not because their holders are dead."""
        told, now = leases.now(self._repository.engine), time.monotonic()
        passed = now - self._looked_at
        leapt = self._told is not None and told - self._told - passed > SILENCE_SECONDS
        if leapt or passed > SILENCE_SECONDS:
            self._patient_until = now + RENEWAL_SECONDS
        self._looked_at, self._told = now, told
        return now < self._patient_until

    def _lead(self) -> bool:
        """Whether this conductor is the one that acts."""
        now = time.monotonic()
        if self._epoch is not None and now - self._renewed_at < RENEW_SECONDS:
            return True
        if self._epoch is not None:
            with writing(self._repository.engine) as connection:
                if not leases.renew(connection, LEASE, self._epoch, seconds=LEAD_SECONDS):
                    self._epoch = None
        if self._epoch is None:
            self._epoch = leases.acquire(self._repository.engine, LEASE, self._holder, seconds=LEAD_SECONDS)
            # Another conductor may have told studies something else meanwhile.
            self._shares, self._rooms = Shares(), {}
        self._renewed_at = now
        return self._epoch is not None

    def _resign(self) -> None:
        if self._epoch is not None:
            try:
                leases.release(self._repository.engine, LEASE, self._epoch)
            except SQLAlchemyError as error:
                log.warning("conductor: %s", error)

    def _collect(self) -> None:
        """Take note of runners of ours that have ended."""
        for study_id, running in list(self._running.items()):
            ended, problem = self._cluster.ended(running.run)
            if not ended:
                if self._cluster.starting(running.run):
                    # A process may take longer to start than a lease lasts; once it is there it renews its own.
                    with writing(self._repository.engine) as connection:
                        leases.renew(connection, leases.study_lease(study_id), running.epoch)
                continue
            ours = leases.revoke(self._repository.engine, leases.study_lease(study_id), running.epoch)
            del self._running[study_id]
            self._cluster.end_runner(running.run)
            if not ours or problem is None:
                self._crashes.pop(study_id, None)
            else:
                log.warning("runner of study %s died: %s", study_id, problem)
                self._note_crash(study_id, problem)

    def _sweep(self, live: set[str]) -> None:
        """End runners that are done and that nobody ends, because the conductor that started them is gone."""
        now = time.monotonic()
        if now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        for study_id in self._cluster.runners():
            if study_id not in self._running and leases.study_lease(study_id) not in live:
                self._cluster.kill_runner(study_id)

    def _note_crash(self, study_id: str, problem: str) -> None:
        self._crashed += 1
        batch = next((study.batch for study in self._repository.unfinished() if study.id == study_id), None)
        if batch is None:
            return
        before = self._crashes.get(study_id)
        stuck = before is not None and batch <= before.batch + 1
        count = before.count + 1 if before is not None and stuck else 1
        now = time.monotonic()
        self._crashes[study_id] = _Crashes(count, batch, now + 0.2 * 2**count, problem, now)
        if count >= MAX_CRASHES:
            reason = f"its runner died {count} times in a row, the last time: {problem}"
            self._close(study_id, StudyState.FAILED, reason)

    def _ran_out(self, study_id: str) -> bool:
        with self._repository.engine.connect() as connection:
            lease = leases.lease(connection, leases.study_lease(study_id))
        return lease is not None and lease.ran_out

    def _may_start(self, study: ConductorRow) -> bool:
        crashes = self._crashes.get(study.id)
        return crashes is None or time.monotonic() >= crashes.not_before

    def _start(self, study: ConductorRow) -> None:
        if study.id in self._running and self._ran_out(study.id):
            # It has not died, and does not say that it lives: it hangs, or is too slow.
            del self._running[study.id]
            self._note_crash(study.id, "its lease ran out")
            return
        epoch = self._acquire(study.id)
        if epoch is None:
            # Until there is another one it may still be at work: its lease reads oddly where the clock was set back.
            return
        with writing(self._repository.engine) as connection:
            sharing.forget(connection, study.id)
        journal = SqlJournal(self._store_url, study.id, epoch)
        legs = replace(self._legs, trace=self._traces.pop(study.id, {}))
        run = self._cluster.start_runner(study.id, journal, legs, external=study.workload == EXTERNAL)
        self._running[study.id] = _Running(run, epoch)

    def _settle_without_runner(self, study: ConductorRow) -> bool:
        """Pause or cancel a study that nobody runs; False when it needs a runner."""
        if study.wanted is Wanted.CANCEL:
            self._close(study.id, StudyState.CANCELLED, None)
            return True
        if study.workload == EXTERNAL and study.state is StudyState.RUNNING:
            # Clients may be at work, whose jobs a pause lets be finished: only a runner knows of them.
            return False
        if study.wanted is Wanted.PAUSE and study.state is not StudyState.PAUSED:
            self._close(study.id, StudyState.PAUSED, None)
        return study.wanted is Wanted.PAUSE

    def _close(self, study_id: str, state: StudyState, reason: str | None) -> None:
        """Write a study's state in its runner's place, and end the jobs that a runner left open."""
        epoch = self._acquire(study_id, seize=True)
        if epoch is None:
            return
        journal = SqlJournal(self._store_url, study_id, epoch)
        standing = journal.standing()
        if not standing.state.final:
            summary = self._repository.study(study_id)
            left = standing.open_jobs if state.final else []
            facts = [JobEnded(job, trial, JobEnd.CANCELLED, TrialState.CANCELLED) for job, trial in left]
            counts = dict(summary.counts)
            if state.final:
                for name in (TrialState.RUNNING, TrialState.WAITING):
                    moved = counts.pop(name, 0)
                    target = TrialState.CANCELLED if name is TrialState.RUNNING else TrialState.STOPPED
                    if moved:
                        counts[target] = counts.get(target, 0) + moved
            best = [Incumbent(**entry.model_dump()) for entry in summary.best]
            status = Status(
                state, standing.active_seconds, reason, counts, summary.progress, None, best, standing.cluster_seconds
            )
            journal.commit(Batch(standing.batch + 1, time.time(), facts, [], status))
            if state is StudyState.CANCELLED:
                self._removals.submit(self._remove_states, study_id)
        journal.release()
        self._crashes.pop(study_id, None)

    def _remove_states(self, study_id: str) -> None:
        """Remove the states of all trials but the best, as a runner does: nobody goes on from what was cancelled."""
        try:
            keep = frozenset(entry.trial for entry in self._repository.study(study_id).best)
            CheckpointStore(self._legs.checkpoint_url).remove(study_id, keep=keep)
        except (OSError, SQLAlchemyError, TunewrightError) as error:
            log.warning("states of study %s cannot be removed: %s", study_id, error)

    def _acquire(self, study_id: str, *, seize: bool = False) -> int | None:
        """A study's lease, under ours: a conductor that was thought dead gets none when it wakes up."""
        if self._epoch is None:
            return None
        ours = leases.Hold(LEASE, self._epoch)
        return leases.acquire(
            self._repository.engine, leases.study_lease(study_id), self._holder, seize=seize, under=ours
        )


def _in_words(error: Exception) -> str:
    """What an operator should read; a statement's text and values stay in the log."""
    if isinstance(error, DBAPIError):
        return f"the store cannot be used: {error.orig}"
    return str(error)

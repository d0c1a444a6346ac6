"""Why is nothing running? From facts to findings; what can be said of the service as a whole.

No I/O here: `service.api.diagnosis` gathers the facts, `service.study_diagnosis` speaks of one study. Every finding
says what is seen, with its numbers, what that means, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service.conducting import Conducting
from service.store.leases import Lease
from service.store.overview import Overview
from tunewright.study import StudyState
from tunewright.views import Finding, Severity

# A conductor ticks twice a second; after so long without it something holds it up.
STUCK_SECONDS = 10.0
# It renews its lease every two seconds for six: with less than this left, it has missed to.
RENEWED_LEFT_SECONDS = 2.5
# A study that could be started is started within a second or two.
STARTING_SECONDS = 15.0
# Clocks of hosts differ a little.
CLOCK_SECONDS = 5.0
FULL_DISK_BYTES = 200 * 2**20
# Ray's own, unless its variable RAY_local_fs_capacity_threshold says otherwise.
RAY_DISK_LIMIT = 0.95
SHOWN = 5


@dataclass(frozen=True)
class Disk:
    """A file system that is written to.

    Attributes:
        what: for what.
        free, total: in bytes.
        limit: the share in use from which on Ray refuses work.
    """

    what: str
    path: str
    free: int
    total: int
    limit: float = RAY_DISK_LIMIT


@dataclass(frozen=True)
class ServiceFacts:
    """What is known of a service at one moment.

    Attributes:
        now: seconds since the epoch.
        store: the store at a glance; None when it cannot be read.
        store_problem: why it cannot.
        confined: they are for somebody who sees one project only, so other studies are not named.
    """

    now: float
    conducting: Conducting
    store: Overview | None
    store_problem: str | None = None
    disks: Sequence[Disk] = field(default_factory=tuple)
    confined: bool = False


def diagnose(facts: ServiceFacts) -> list[Finding]:
    """What is to be said of a service, the worst first."""
    found = [*obstacles(facts)]
    if facts.store is not None:
        found += [*_crashes(facts), *_queue(facts, facts.store), *_cluster(facts, facts.store), *_idle(facts.store)]
    return worst_first(found)


def obstacles(facts: ServiceFacts) -> Iterator[Finding]:
    """What keeps every study from getting on."""
    yield from _store(facts)
    yield from _conductor(facts)
    if facts.store is not None:
        yield from _leadership(facts, facts.store.conductor)
        yield from _clock(facts.now, facts.store)
    for disk in facts.disks:
        yield from _disk(disk)


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Problems, then warnings, then notes; otherwise in their order."""
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def holders(facts: ServiceFacts) -> str:
    """Who takes the places, in words."""
    names = [] if facts.store is None or facts.confined else [study.id for study in facts.store.running]
    if not names:
        return "other studies"
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _store(facts: ServiceFacts) -> Iterator[Finding]:
    if facts.store is None:
        yield Finding(
            severity=Severity.PROBLEM,
            code="store-unreadable",
            seen=f"the store cannot be read: {facts.store_problem}",
            why="nothing can be started or written down without it; trials that run wait with their reports",
            remedy="bring the database back, or free space on its disk; the service goes on by itself then",
        )


def _conductor(facts: ServiceFacts) -> Iterator[Finding]:
    conducting = facts.conducting
    if not conducting.alive:
        yield Finding(
            severity=Severity.PROBLEM,
            code="conductor-ended",
            seen="the conductor of this service has ended",
            why="it starts studies and replaces their runners",
            remedy="restart the service; its log says why the conductor ended",
        )
    elif conducting.problem is not None:
        yield _ailing(conducting.ails, conducting.problem)
    elif conducting.tick_seconds is not None and conducting.tick_seconds > STUCK_SECONDS:
        yield Finding(
            severity=Severity.PROBLEM,
            code="conductor-stuck",
            seen=f"the conductor last looked at the studies {conducting.tick_seconds:.0f} s ago",
            why="it does so twice a second, unless it waits for the store or for Ray; nothing is started meanwhile",
            remedy="see whether the database and the Ray cluster answer; restart the service if they do",
        )


def _ailing(what: str | None, problem: str) -> Finding:
    code, why, remedy = {
        "cluster": (
            "ray-unreachable",
            "trials and runners of studies live on the Ray cluster",
            "start the cluster's head node, or give its address with --ray-address; the service tries again by itself",
        ),
        "versions": (
            "ray-version",
            "what one version of Ray or Python sends another may not understand, so the service does not join",
            "install the same on all, as requirements.lock has it; the service tries again by itself",
        ),
        "store": (
            "store-unwritable",
            "nothing can be started that cannot be written down",
            "bring the database back, or free space on its disk; the service goes on by itself then",
        ),
    }.get(
        what or "",
        ("conductor-problem", "the conductor starts studies and replaces their runners", "see the service's log"),
    )
    return Finding(
        severity=Severity.PROBLEM, code=code, seen=f"the conductor cannot work: {problem}", why=why, remedy=remedy
    )


def _leadership(facts: ServiceFacts, lease: Lease | None) -> Iterator[Finding]:
    conducting = facts.conducting
    if conducting.leads or not conducting.alive or conducting.problem is not None:
        return
    if lease is None or lease.seconds_left <= 0:
        yield Finding(
            severity=Severity.PROBLEM,
            code="nobody-conducts",
            seen="no service holds the conductor's lease",
            why="one of the services on the store must hold it to start studies; it is taken within a second or two",
            remedy="wait a moment; if this stays, see the services' logs",
        )
    elif lease.seconds_left < RENEWED_LEFT_SECONDS:
        yield Finding(
            severity=Severity.WARNING,
            code="conductor-lease-of-the-dead",
            seen=f"{lease.holder} holds the conductor's lease, which ends in {lease.seconds_left:.1f} s",
            why="it should have renewed it by now and is probably dead; until then nobody may act in its place",
            remedy="wait: this service takes over by itself",
        )
    else:
        yield Finding(
            severity=Severity.NOTE,
            code="another-service-conducts",
            seen=f"{lease.holder} conducts, and renewed its lease a moment ago",
            why="of several services on one store one starts the studies",
            remedy="nothing; ask that service about its cluster",
        )


def _clock(now: float, store: Overview) -> Iterator[Finding]:
    ahead = store.last_event_at - now
    if ahead > CLOCK_SECONDS:
        yield Finding(
            severity=Severity.WARNING,
            code="clock-set-back",
            seen=f"the newest event bears a time {ahead:.0f} s from now",
            why="a clock was set back, or those of two hosts differ; durations and times shown are wrong by as much",
            remedy="let every host keep its time with NTP",
        )


def _disk(disk: Disk) -> Iterator[Finding]:
    share = disk.free / disk.total if disk.total else 1.0
    seen = f"{disk.free / 2**20:,.0f} MiB ({share:.1%}) are free on the disk of {disk.path} ({disk.what})"
    if disk.free < FULL_DISK_BYTES:
        yield Finding(
            severity=Severity.PROBLEM,
            code="disk-full",
            seen=seen,
            why="what cannot be written is refused, and trials wait",
            remedy="free space, or move it to a larger disk",
        )
    elif 1 - share > disk.limit:
        yield Finding(
            severity=Severity.WARNING,
            code="disk-low",
            seen=seen,
            why=f"Ray starts to refuse work on a disk that is {disk.limit:.0%} full",
            remedy="free space, delete studies that nobody needs, or move it to a larger disk",
        )


def _crashes(facts: ServiceFacts) -> Iterator[Finding]:
    for study, crashed in list(facts.conducting.crashes.items())[:SHOWN]:
        yield Finding(
            severity=Severity.WARNING,
            code="runner-crashed",
            seen=f"the runner of study {study} died {crashed.count} times, {crashed.seconds_ago:.0f} s ago the last "
            f"time: {crashed.problem}",
            why="it is started again, each time after a longer pause; after five times in a row the study fails",
            remedy="see the runner's log in Ray's directory; a worker short of memory is the usual reason",
            study=study,
        )


def _queue(facts: ServiceFacts, store: Overview) -> Iterator[Finding]:
    if not store.waiting_studies:
        return
    running, most = store.studies.get(StudyState.RUNNING, 0), facts.conducting.most
    waiting = f"{store.waiting_studies} {'study waits' if store.waiting_studies == 1 else 'studies wait'}"
    if running >= most:
        yield Finding(
            severity=Severity.NOTE,
            code="waits-for-a-place",
            seen=f"{waiting} for a free place; {running} of {most} are taken by {holders(facts)}",
            why="no more studies run at once than max_running_studies allows",
            remedy="wait, pause or cancel one that runs, or raise TUNEWRIGHT_MAX_RUNNING_STUDIES",
        )
    elif store.waiting_since is not None and facts.now - store.waiting_since > STARTING_SECONDS:
        first = store.waiting[0]
        yield Finding(
            severity=Severity.WARNING,
            code="not-started",
            seen=f"{waiting}, {first} for {facts.now - store.waiting_since:.0f} s, though {most - running} of {most} "
            "places are free",
            why="the conductor starts a study within a second or two, unless its runner has just died",
            remedy=f"look at the study: tunewright doctor {first}",
            study=first,
        )


def _cluster(facts: ServiceFacts, store: Overview) -> Iterator[Finding]:
    cluster = facts.conducting.cluster
    if cluster is None or not store.running:
        return
    if cluster.cpus and cluster.free_cpus < 1:
        yield Finding(
            severity=Severity.NOTE,
            code="cluster-busy",
            seen=f"{cluster.cpus - cluster.free_cpus:g} of the cluster's {cluster.cpus:g} processors are taken by "
            f"{store.running_jobs} trials",
            why="further trials wait until one ends",
            remedy="nothing, or add nodes to the cluster",
        )


def _idle(store: Overview) -> Iterator[Finding]:
    paused = store.studies.get(StudyState.PAUSED, 0)
    if store.waiting_studies or store.studies.get(StudyState.RUNNING, 0):
        return
    yield Finding(
        severity=Severity.NOTE,
        code="idle",
        seen=f"no study runs or waits; {paused} are paused" if paused else "no study runs or waits",
        why="there is nothing to do",
        remedy="resume one with: tunewright resume STUDY"
        if paused
        else "submit one with: tunewright submit study.yaml",
    )

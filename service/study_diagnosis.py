"""Why is this study not getting on? From facts to findings; no I/O here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from service.diagnosis import STARTING_SECONDS, ServiceFacts, holders, obstacles, worst_first
from service.store.leases import LEASE_SECONDS
from service.store.overview import RunningJob, StudyFacts
from tunewright.study import EXTERNAL, StudyState, TrialState
from tunewright.views import Finding, Severity, Study
from workers.journal import Wanted

# A worker begins a leg within a second or two; importing what it trains with may take longer.
PLACING_SECONDS = 15.0
# A runner renews its lease every second: with so much of it gone, the runner is dead or held up.
SILENT_LEASE_SECONDS = 4.0
# Half of what a trial may be silent for, and never less than this.
SILENT_SECONDS = 60.0
NEARLY = 0.9
# One failed trial says little.
FAILURES = 3
# How `tunewright.workload.load` tells of it.
_NOT_IMPORTED = re.compile(r'workload "[^"]*": (cannot import it|unknown; known)')


@dataclass(frozen=True)
class _Case:
    study: Study
    work: StudyFacts
    service: ServiceFacts

    @property
    def begun(self) -> list[RunningJob]:
        """Jobs that a worker has begun."""
        return [job for job in self.work.jobs if job.attempts > 0]

    @property
    def unplaced(self) -> list[RunningJob]:
        """Jobs that no worker has begun."""
        return [job for job in self.work.jobs if job.attempts == 0]

    @property
    def external(self) -> bool:
        return self.study.workload == EXTERNAL

    def finding(self, severity: Severity, code: str, seen: str, why: str, remedy: str) -> Finding:
        return Finding(severity=severity, code=code, seen=seen, why=why, remedy=remedy, study=self.study.id)


def diagnose_study(study: Study, work: StudyFacts, service: ServiceFacts) -> list[Finding]:
    """What is to be said of a study, the worst first; what keeps the whole service from working is among it."""
    case = _Case(study, work, service)
    found = [finding for look in _looks(study) for finding in look(case)]
    if not study.state.final:
        found = [*obstacles(service), *found]
    return worst_first(found)


def _looks(study: Study) -> Sequence[Callable[[_Case], Iterator[Finding]]]:
    """What is worth looking at in its state."""
    if study.state.final:
        return (_over, _failing)
    if study.wanted != Wanted.RUN:
        return (_steered, _failing)
    if study.state is not StudyState.RUNNING:
        return (_crashing, _waiting, _too_large)
    return (_crashing, _runner, _too_large, _unplaced, _unasked, _silent, _failing, _between_rungs, _budget)


def _over(case: _Case) -> Iterator[Finding]:
    study = case.study
    failed = study.state is StudyState.FAILED
    yield case.finding(
        Severity.PROBLEM if failed else Severity.NOTE,
        "over",
        f"the study is {study.state}" + (f": {study.reason}" if study.reason else ""),
        "nothing more is started in it",
        f"extend its budget: tunewright extend {study.id}, or clone it: tunewright clone {study.id}",
    )


def _steered(case: _Case) -> Iterator[Finding]:
    study = case.study
    if study.wanted == Wanted.CANCEL:
        seen, remedy = "somebody has cancelled the study; its running trials are being stopped", "wait"
    elif study.state is StudyState.PAUSED:
        seen, remedy = "somebody has paused the study", f"resume it: tunewright resume {study.id}"
    else:
        running = study.counts.get(TrialState.RUNNING, 0)
        seen = f"somebody has paused the study; {running} trials still run, save their state and stop"
        remedy = f"wait, or resume it: tunewright resume {study.id}"
    yield case.finding(Severity.NOTE, study.wanted, seen, "nothing is started in it meanwhile", remedy)


def _crashing(case: _Case) -> Iterator[Finding]:
    crashed = case.service.conducting.crashes.get(case.study.id)
    if crashed is not None:
        yield case.finding(
            Severity.PROBLEM if crashed.count > 1 else Severity.WARNING,
            "runner-crashed",
            f"its runner died {crashed.count} times, {crashed.seconds_ago:.0f} s ago the last time: {crashed.problem}",
            "it is started again, each time after a longer pause; after five times in a row the study fails",
            "see the runner's log in Ray's directory; a node short of memory is the usual reason",
        )


def _waiting(case: _Case) -> Iterator[Finding]:
    store, most = case.service.store, case.service.conducting.most
    if store is None:
        return
    running = store.studies.get(StudyState.RUNNING, 0)
    if running >= most:
        ahead = f"{store.waiting.index(case.study.id)}" if case.study.id in store.waiting else "many"
        yield case.finding(
            Severity.NOTE,
            "waits-for-a-place",
            f"it waits for a free place, behind {ahead} others; {running} of {most} are taken by "
            f"{holders(case.service)}",
            "no more studies run at once than max_running_studies allows",
            "wait, pause or cancel one that runs, or raise TUNEWRIGHT_MAX_RUNNING_STUDIES",
        )
        return
    waited = case.service.now - case.study.created_at.timestamp()
    yield case.finding(
        Severity.NOTE,
        "starting",
        f"it waits for its runner; {most - running} of {most} places are free",
        "a runner starts within a second or two",
        "wait a moment" if waited < STARTING_SECONDS else "see the findings of the service: tunewright doctor",
    )


def _runner(case: _Case) -> Iterator[Finding]:
    lease = case.work.lease
    if lease is None or lease.seconds_left <= 0:
        yield case.finding(
            Severity.WARNING,
            "no-runner",
            "no runner holds the study's lease",
            "its runner has ended or died; the conductor starts another one within a second or two",
            "wait a moment; if this stays, see: tunewright doctor",
        )
    elif LEASE_SECONDS - lease.seconds_left > SILENT_LEASE_SECONDS:
        yield case.finding(
            Severity.WARNING,
            "lease-of-the-dead",
            f"the runner that {lease.holder} started has not renewed the study's lease for "
            f"{LEASE_SECONDS - lease.seconds_left:.1f} s; it ends in {lease.seconds_left:.1f} s",
            "its runner, or the service that started it, is probably dead; nobody may act in its place until then",
            "wait: another runner takes over by itself",
        )


def _too_large(case: _Case) -> Iterator[Finding]:
    cluster, needed = case.service.conducting.cluster, case.study.spec.resources
    if cluster is None or needed is None or case.external:
        return
    for name, amount, total in (("cpus", needed.cpus, cluster.cpus), ("gpus", needed.gpus, cluster.gpus)):
        if amount > total:
            yield case.finding(
                Severity.PROBLEM,
                "needs-more-than-there-is",
                f"a trial needs {amount:g} {name}; the cluster has {total:g}",
                "such a trial waits until the cluster has grown",
                f"add a node to the cluster, or clone the study with smaller resources.{name}",
            )


def _unplaced(case: _Case) -> Iterator[Finding]:
    cluster, needed = case.service.conducting.cluster, case.study.spec.resources
    waiting = [job for job in case.unplaced if case.service.now - job.started_at > PLACING_SECONDS]
    if not waiting or case.external:
        return
    longest = case.service.now - min(job.started_at for job in waiting)
    have = "" if cluster is None else f"; {cluster.free_cpus:g} of {cluster.cpus:g} processors are free"
    need = "" if needed is None else f", each needs {needed.cpus:g} cpus and {needed.gpus:g} gpus"
    free = cluster is not None and needed is not None and cluster.free_cpus >= needed.cpus
    yield case.finding(
        Severity.WARNING,
        "waits-for-workers",
        f"{len(waiting)} trials wait for a worker, {longest:.0f} s the longest{need}{have}",
        "workers are slow to start" if free else "other trials hold what they need",
        "see Ray's logs on the nodes" if free else "wait, pause another study, or add nodes to the cluster",
    )


def _unasked(case: _Case) -> Iterator[Finding]:
    if case.external and not case.work.jobs:
        yield case.finding(
            Severity.WARNING,
            "nobody-asks",
            "no client works on a job of this study",
            "its trials run wherever somebody asks for them (workload: external)",
            f'run your program with: with client.job("{case.study.id}") as job',
        )


def _silent(case: _Case) -> Iterator[Finding]:
    limits = case.study.spec.limits
    allowed = limits.lease_seconds if case.external else limits.silent_seconds
    patience = max(SILENT_SECONDS, allowed / 2)
    for job in case.begun:
        silent = case.service.now - job.heard_at
        if silent > patience:
            yield case.finding(
                Severity.WARNING,
                "trial-silent",
                f"trial {job.trial} on {job.worker} has reported nothing for {silent:.0f} s",
                f"its client may be at work all the same; one that says nothing at all for {allowed:g} s "
                "(limits.lease_seconds) loses its job to the next that asks"
                if case.external
                else f"after {allowed:g} s without a report (limits.silent_seconds) it counts as hung and fails",
                f"read its log: tunewright logs {case.study.id}-{job.trial}",
            )


def _failing(case: _Case) -> Iterator[Finding]:
    counts = case.study.counts
    failed = counts.get(TrialState.FAILED, 0)
    over = sum(count for state, count in counts.items() if state is not TrialState.RUNNING)
    if failed < min(FAILURES, over) or not failed or 2 * failed < over or not case.work.problems:
        return
    problem, trials = case.work.problems[0]
    every = failed == over
    if problem and _NOT_IMPORTED.search(problem):
        yield case.finding(
            Severity.PROBLEM,
            "workload-not-on-workers",
            f"{trials} of {over} trials failed where they ran: {problem}",
            "the service knows the workload, and workers do not: each node of Ray has an environment of its own",
            "install the workload's package, in the same version, on every node; directories of "
            "TUNEWRIGHT_IMPORT_PATHS must exist there too",
        )
        return
    yield case.finding(
        Severity.PROBLEM if every else Severity.WARNING,
        "trials-fail",
        f"{'all' if every else failed} of {over} trials failed, {trials} of them with: {problem or 'no reason given'}",
        "a study whose trials all fail ends as failed" if every else "what fails teaches the optimizer little",
        f"look at one: tunewright trials {case.study.id} --state failed",
    )


def _between_rungs(case: _Case) -> Iterator[Finding]:
    study, begun = case.study, case.begun
    left = study.spec.budget.trials is None or study.trials < study.spec.budget.trials
    idle = study.spec.parallel - len(case.work.jobs)
    if begun and idle > 0 and not case.unplaced and left and not case.external:
        yield case.finding(
            Severity.NOTE,
            "optimizer-waits",
            f"{len(begun)} of {study.spec.parallel} parallel trials run; {study.optimizer} has nothing to start until "
            "one of them ends, or the study's share of the cluster allows no more",
            "an optimizer with synchronous rungs decides when a rung is full; studies share one cluster",
            "wait; the optimizers asha and hypertune do not wait for a rung",
        )


def _budget(case: _Case) -> Iterator[Finding]:
    study, budget = case.study, case.study.spec.budget
    started = study.trials
    if budget.trials is not None and started >= budget.trials:
        yield case.finding(
            Severity.NOTE,
            "last-trials",
            f"all {budget.trials} trials of the budget are started, {len(case.work.jobs)} still run",
            "nothing more is started; the study ends with them",
            f"give it more: tunewright extend {study.id} (once it has ended)",
        )
    elif study.progress >= NEARLY:
        yield case.finding(
            Severity.NOTE,
            "budget-nearly-used",
            f"{study.progress:.0%} of the budget is used",
            "the study ends when it is used up",
            f"give it more: tunewright extend {study.id} (once it has ended)",
        )

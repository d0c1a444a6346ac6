"""One study's life as a single-threaded loop: optimizer in, legs out, everything written down first.

The loop knows nothing of Ray: legs are started through a `Launcher`, and what happens to them comes in through
`report` and `ended`, which any thread may call. Each round takes what has come in, asks the optimizer, and commits
both as one batch. Only then are reports acknowledged and legs started: what a leg was told is in the journal, and
a job that runs is in the journal too.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias, TypeVar

import numpy as np

from optimizers.protocol import Incumbent, Job, JobEnd, Optimizer, Report, Verdict
from tunewright.study import StudySpec, StudyState, TrialState
from workers.copies import Copies
from workers.journal import (
    AttemptStarted,
    Batch,
    Enqueued,
    Fact,
    Fenced,
    JobEnded,
    JobStarted,
    Journal,
    JournalUnavailable,
    Printed,
    Reported,
    Status,
    StudyRecord,
    Wanted,
)
from workers.orders import STOP_GRACE_SECONDS, Launcher, LegOrder, LegResult, Outcome, Reply
from workers.spending import Spending, Spent
from workers.standing import Standing

log = logging.getLogger(__name__)
T = TypeVar("T")

HEARTBEAT_SECONDS = 1.0
# Without anything else to write, the time spent is written this often.
STATUS_SECONDS = 10.0
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class _Reports:
    job: int
    attempt: int
    worker: str
    reports: Sequence[tuple[float, Mapping[str, float]]]
    log: str
    answer: Future[Reply]


@dataclass(frozen=True)
class _Ended:
    job: int
    attempt: int
    result: LegResult


_Message: TypeAlias = _Reports | _Ended


@dataclass
class _Live:
    """A job that has a leg running.

    Attributes:
        losses: how often this loop saw its leg lost.
        began: when its leg was first heard of, by this loop's clock.
        stop: why it was asked to stop, if it was; and since when.
    """

    job: Job
    attempt: int
    losses: int = 0
    began: float | None = None
    stop: Verdict | None = None
    stop_since: float | None = None

    def seconds(self, attempt: int, now: float) -> float | None:
        """Spent on the job until now; unknown of a later attempt, which goes on from what the one before had saved."""
        return None if self.began is None or not self.attempt == attempt == 1 else now - self.began


@dataclass
class _Pending:
    """What the next batch will hold, and what is to be done once it is committed."""

    facts: list[Fact] = field(default_factory=list)
    attempts: list[AttemptStarted] = field(default_factory=list)
    printed: list[Printed] = field(default_factory=list)
    answers: list[tuple[Future[Reply], Reply]] = field(default_factory=list)
    starts: list[_Live] = field(default_factory=list)


class _Ending(StrEnum):
    """Why a study winds down: no new legs, running ones are stopped."""

    PAUSE = "pause"
    CANCEL = "cancel"
    BUDGET = "budget"


class StudyLoop:
    """Runs one study from its journal to its end, a pause, or the loss of its lease."""

    def __init__(
        self,
        journal: Journal,
        make_optimizer: Callable[[StudySpec], Optimizer],
        launcher: Launcher,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._make_optimizer = make_optimizer
        self._launcher = launcher
        self._monotonic = monotonic
        self._wall = wall
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._live: dict[int, _Live] = {}
        self._pending = _Pending()
        self._standing = Standing()
        # Numbers of what waits in the optimizer's queue; None for what a warm start put there.
        self._queue: deque[int | None] = deque()
        self._late: set[tuple[int, float]] = set()
        self._ending: _Ending | None = None
        self._reason: str | None = None
        self._incumbents: list[Incumbent] = []
        self._beat_at = -np.inf
        self._committed_at = -np.inf

    @property
    def study(self) -> str:
        return self._study

    @property
    def incumbents(self) -> list[Incumbent]:
        """The best trials as last written."""
        return self._incumbents

    @property
    def copyable(self) -> frozenset[int]:
        """Trials from whose states others would begin if the study went on."""
        return frozenset(self._optimizer.copyable())

    # Called by other threads

    def report(
        self,
        job: int,
        attempt: int,
        worker: str,
        reports: Sequence[tuple[float, Mapping[str, float]]],
        log: str = "",
    ) -> Future[Reply]:
        """Reports of a leg, in order, and what it printed; without any of them it says that it is alive.

        Returns:
            A future that is done once they are durable.
        """
        answer: Future[Reply] = Future()
        self._inbox.put(_Reports(job, attempt, worker, reports, log, answer))
        return answer

    def ended(self, job: int, attempt: int, result: LegResult) -> None:
        """An attempt is over, in whatever way."""
        self._inbox.put(_Ended(job, attempt, result))

    # The loop

    def run(self) -> StudyState:
        """Run until the study is over or paused.

        Returns:
            The state in which it was left.
        Raises:
            Fenced: another runner has the study; legs of this one are abandoned.
        """
        record = self._unless_unavailable(self._journal.load)
        if record.state.final:
            return record.state
        try:
            self._restore(record)
            self._heartbeat()
            while not self._over():
                self._fill()
                self._commit()
                self._release()
                messages = self._receive()
                self._spending.pass_time(sum(live.began is not None for live in self._live.values()))
                for message in messages:
                    self._handle(message)
                self._heartbeat()
                self._check_budget()
                self._kill_the_deaf()
        except Fenced:
            raise
        except Exception as error:
            log.exception("study %s failed", record.study)
            return self._fail(f"{type(error).__name__}: {error}")
        return self._conclude()

    def _restore(self, record: StudyRecord) -> None:
        self._spec = record.spec
        self._study = record.study
        self._batch = record.batch
        spent = Spent(record.active_seconds, record.cluster_seconds, record.improved_at)
        self._spending = Spending(record.spec, spent, self._monotonic)
        self._optimizer = self._make_optimizer(record.spec)
        self._copies = Copies(self._optimizer)
        if record.earlier:
            self._optimizer.warm_start(record.earlier)
            self._queue.extend([None] * len(self._optimizer.queue))
        for fact in record.facts:
            self._replay(fact)
        self._incumbents = self._optimizer.best()
        for job_id, job in self._optimizer.running.items():
            self._start(_Live(job, record.attempts.get(job_id, 0) + 1))

    def _replay(self, fact: Fact) -> None:
        if isinstance(fact, JobStarted):
            self._optimizer.replay(fact.job)
            self._note_job(fact.job)
        elif isinstance(fact, Enqueued):
            self._enqueue(fact)
        elif isinstance(fact, JobEnded):
            self._optimizer.finish(fact.job, fact.end)
            self._standing.note(fact.trial, fact.trial_state)
        elif fact.late:
            self._late.add((fact.report.trial, fact.report.resource))
        else:
            self._optimizer.observe(fact.report)

    def _over(self) -> bool:
        if self._live:
            return False
        if self._ending is not None:
            return True
        self._fill()
        if not self._live:
            # Somebody may have thought of something in the last moment.
            self._take_enqueued()
            self._fill()
        return not self._live

    def _fill(self) -> None:
        while self._ending is None and len(self._live) < self._spec.parallel:
            job = self._optimizer.next_job()
            if job is None:
                return
            self._pending.facts.append(JobStarted(job, self._note_job(job)))
            self._start(_Live(job, attempt=1))

    def _note_job(self, job: Job) -> int | None:
        """Take a job into the books; returns the number of the enqueued configuration that it took up, if it did."""
        self._standing.note(job.trial, TrialState.RUNNING)
        self._copies.note(job)
        return self._queue.popleft() if len(self._optimizer.queue) < len(self._queue) else None

    def _take_enqueued(self) -> None:
        for fact in self._unless_unavailable(self._journal.enqueued):
            self._enqueue(fact)
            self._pending.facts.append(fact)

    def _enqueue(self, fact: Enqueued) -> None:
        self._optimizer.enqueue(fact.config)
        self._queue.append(fact.number)

    def _start(self, live: _Live) -> None:
        self._live[live.job.id] = live
        self._pending.starts.append(live)

    def _receive(self) -> list[_Message]:
        try:
            messages = [self._inbox.get(timeout=HEARTBEAT_SECONDS)]
        except queue.Empty:
            return []
        while not self._inbox.empty():
            messages.append(self._inbox.get())
        return messages

    def _handle(self, message: _Message) -> None:
        if isinstance(message, _Reports):
            self._on_reports(message)
        else:
            self._on_ended(message)

    def _on_reports(self, message: _Reports) -> None:
        live = self._live.get(message.job)
        current = live is not None and live.attempt == message.attempt
        if live is not None and current and live.began is None:
            live.began = self._monotonic()
            self._pending.attempts.append(AttemptStarted(message.job, message.attempt, message.worker))
        for resource, metrics in message.reports:
            self._take(live, message, resource, metrics)
        self._print(message.job, message.log)
        if live is None or not current:
            reply = Reply.ABANDON
        elif self._ending is not None or live.stop is not None:
            reply = Reply.STOP
        else:
            reply = Reply.CONTINUE
        self._pending.answers.append((message.answer, reply))

    def _take(self, live: _Live | None, message: _Reports, resource: float, metrics: Mapping[str, float]) -> None:
        """One report: each (trial, resource) counts once, whichever attempt it came from."""
        if not 0 <= message.job < len(self._optimizer.jobs):
            return
        trial = self._optimizer.jobs[message.job].trial
        if resource in self._optimizer.trials[trial].reports or (trial, resource) in self._late:
            return
        seconds = None if live is None else live.seconds(message.attempt, self._monotonic())
        report = Report(message.job, trial, resource, metrics, seconds)
        if live is None:
            self._late.add((trial, resource))
            self._pending.facts.append(Reported(report, message.attempt, late=True))
            return
        self._pending.facts.append(Reported(report, message.attempt))
        if self._optimizer.observe(report) is Verdict.STOP and live.stop is None:
            live.stop, live.stop_since = Verdict.STOP, self._monotonic()

    def _on_ended(self, message: _Ended) -> None:
        live = self._live.get(message.job)
        if live is None or live.attempt != message.attempt:
            return
        result = message.result
        self._print(message.job, result.log)
        if result.outcome is Outcome.LOST and self._ending is None and live.stop is None:
            live.losses += 1
            if live.losses <= self._spec.limits.retries:
                log.warning("study %s: job %d was lost (%s); again", self._study, live.job.id, result.problem)
                self._start(_Live(live.job, live.attempt + 1, live.losses))
                return
        del self._live[message.job]
        if self._ending is _Ending.PAUSE and live.stop is None and result.outcome in (Outcome.STOPPED, Outcome.LOST):
            return
        self._finish(live, *self._judge(live, result), result)

    def _print(self, job: int, text: str) -> None:
        if text and 0 <= job < len(self._optimizer.jobs):
            self._pending.printed.append(Printed(self._optimizer.jobs[job].trial, text))

    def _judge(self, live: _Live, result: LegResult) -> tuple[JobEnd, TrialState, str | None]:
        """How a job ended, where that leaves its trial, and the problem in one line."""
        job = live.job
        if result.outcome is Outcome.COMPLETED:
            if job.end not in self._optimizer.trials[job.trial].reports:
                problem = f"the workload returned without a report at resource {job.end:g}, the end of its leg"
                return JobEnd.FAILED, TrialState.FAILED, problem
            assert self._spec.fidelity is not None
            whole = job.end >= self._spec.fidelity.max
            return JobEnd.COMPLETED, TrialState.COMPLETED if whole else TrialState.WAITING, None
        if result.outcome is Outcome.FAILED:
            return JobEnd.FAILED, TrialState.FAILED, result.problem
        if self._ending is _Ending.CANCEL:
            return JobEnd.CANCELLED, TrialState.CANCELLED, None
        if live.stop is not None or self._ending is not None:
            return JobEnd.CANCELLED, TrialState.STOPPED, None
        if result.outcome is Outcome.STOPPED:
            return JobEnd.FAILED, TrialState.FAILED, "the workload raised TrialStopped without being asked to stop"
        return JobEnd.LOST, TrialState.FAILED, f"lost {live.losses} times, the last time: {result.problem}"

    def _finish(self, live: _Live, end: JobEnd, state: TrialState, problem: str | None, result: LegResult) -> None:
        self._optimizer.finish(live.job.id, end)
        self._standing.note(live.job.trial, state)
        traceback = result.traceback if end is JobEnd.FAILED else None
        self._pending.facts.append(JobEnded(live.job.id, live.job.trial, end, state, problem, traceback))

    # Time and steering

    def _heartbeat(self) -> None:
        if self._monotonic() - self._beat_at < HEARTBEAT_SECONDS:
            return
        wanted = self._unless_unavailable(self._journal.heartbeat)
        self._beat_at = self._monotonic()
        if wanted is Wanted.PAUSE:
            self._wind_down(_Ending.PAUSE, None)
        elif wanted is Wanted.CANCEL:
            self._wind_down(_Ending.CANCEL, None)
        elif self._ending is None:
            self._take_enqueued()

    def _check_budget(self) -> None:
        reason = self._spending.enough(self._standing, self._incumbents)
        if reason is not None:
            self._wind_down(_Ending.BUDGET, reason)

    def _wind_down(self, ending: _Ending, reason: str | None) -> None:
        """Stop all legs. A cancellation outranks a pause and the budget; otherwise the first reason stays."""
        if self._ending is not None and not (ending is _Ending.CANCEL and self._ending is not _Ending.CANCEL):
            return
        self._ending, self._reason = ending, reason
        for live in self._live.values():
            if live.stop_since is None:
                live.stop_since = self._monotonic()

    def _kill_the_deaf(self) -> None:
        for live in self._live.values():
            if live.stop_since is not None and self._monotonic() - live.stop_since > STOP_GRACE_SECONDS:
                self._launcher.kill(live.job.id, live.attempt)
                live.stop_since = np.inf

    # Writing

    def _commit(self, state: StudyState = StudyState.RUNNING) -> None:
        """Write what is pending, then do what waited for it."""
        pending = self._pending
        due = self._monotonic() - self._committed_at >= STATUS_SECONDS
        if pending.facts or pending.attempts or pending.printed or due or state is not StudyState.RUNNING:
            self._write(pending, state)
        self._pending = _Pending()
        for answer, reply in pending.answers:
            answer.set_result(reply)
        for live in pending.starts:
            self._launcher.start(self._order(live))

    def _release(self) -> None:
        """Let go of states that nothing written so far can still ask for."""
        for released in self._copies.released():
            self._launcher.release(self._study, released)

    def _write(self, pending: _Pending, state: StudyState) -> None:
        best = self._optimizer.best() if pending.facts else self._incumbents
        improved = bool(best) and best != self._incumbents
        if improved:
            self._spending.improved_at = self._standing.started
        batch = Batch(
            number=self._batch + 1,
            at=self._wall(),
            facts=pending.facts,
            attempts=pending.attempts,
            printed=pending.printed,
            status=self._status(state, best),
            improved=improved,
        )
        self._unless_unavailable(lambda: self._journal.commit(batch))
        self._batch += 1
        self._incumbents = best
        self._committed_at = self._monotonic()

    def _unless_unavailable(self, write: Callable[[], T]) -> T:
        """Do it again until the store is back; legs wait meanwhile, since nothing is acknowledged."""
        while True:
            try:
                return write()
            except JournalUnavailable as error:
                log.warning("%s; trying again", error)
                time.sleep(RETRY_SECONDS)

    def _status(self, state: StudyState, best: Sequence[Incumbent]) -> Status:
        unfinished = not state.final or state is StudyState.CANCELLED
        progress = self._spending.progress(self._standing) if unfinished else 1.0
        active = self._spending.active_seconds
        left = active * (1 - progress) / progress if state is StudyState.RUNNING and progress > 0.01 else None
        return Status(
            state=state,
            active_seconds=active,
            cluster_seconds=self._spending.cluster_seconds,
            reason=self._reason,
            counts=self._standing.counts(state),
            progress=progress,
            seconds_left=left,
            best=best,
        )

    def _order(self, live: _Live) -> LegOrder:
        seed = np.random.SeedSequence([self._spec.seed, live.job.trial]).generate_state(1)[0]
        keep = self._copies.kept(live.job.trial)
        return LegOrder(self._study, live.job, live.attempt, int(seed) >> 1, self._spec, keep)

    def _conclude(self) -> StudyState:
        """Write the last state; jobs that were left open by an earlier runner end with a cancelled study."""
        if self._ending is _Ending.PAUSE:
            state = StudyState.PAUSED
        elif self._ending is _Ending.CANCEL:
            state = StudyState.CANCELLED
        elif self._standing.all_failed:
            state, self._reason = StudyState.FAILED, "every trial failed; open one to see why"
        else:
            state = StudyState.COMPLETED
        self._commit(state)
        self._release()
        return state

    def _fail(self, reason: str) -> StudyState:
        self._reason = reason
        self._ending = _Ending.CANCEL
        for live in list(self._live.values()):
            self._launcher.kill(live.job.id, live.attempt)
            self._finish(live, JobEnd.CANCELLED, TrialState.CANCELLED, None, LegResult(Outcome.STOPPED))
        self._live.clear()
        self._pending.starts.clear()
        self._commit(StudyState.FAILED)
        return StudyState.FAILED

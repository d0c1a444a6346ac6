"""One study's life as a single-threaded loop: optimizer in, legs out, everything written down first.

The loop knows nothing of Ray or of clients: legs are started through a `Launcher`, and what happens to them comes in
through `report` and `ended`, which any thread may call. Each round takes what has come in, asks the optimizer for as
many jobs as there is room for, and commits both as one batch. Only then are reports acknowledged and legs started: what
a leg was told is in the journal, and a job that runs is in the journal too.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TypeVar

import numpy as np

from optimizers.protocol import Incumbent, Job, JobEnd, Optimizer, Report, Verdict
from tunewright.study import StudySpec, StudyState, TrialState
from tunewright.uncollected import uncollected
from workers import logs, tracing
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
from workers.messages import Ended, Live, Message, Reports
from workers.orders import STOP_GRACE_SECONDS, Launcher, LegOrder, LegResult, Outcome, Reply
from workers.spending import Spending, Spent
from workers.standing import Standing

log = logging.getLogger(__name__)
T = TypeVar("T")

HEARTBEAT_SECONDS = 1.0
# Without anything else to write, the time spent is written this often.
STATUS_SECONDS = 10.0
RETRY_SECONDS = 0.5
# By this share a state's resource may lie beside the one that is meant: sums of fractions do.
DUST = 1e-9


@dataclass
class _Pending:
    """What the next batch will hold, and what is to be done once it is committed."""

    facts: list[Fact] = field(default_factory=list)
    attempts: list[AttemptStarted] = field(default_factory=list)
    printed: list[Printed] = field(default_factory=list)
    answers: list[Callable[[], None]] = field(default_factory=list)
    starts: list[Live] = field(default_factory=list)


class _Ending(StrEnum):
    """Why a study winds down: no new legs, running ones are stopped."""

    PAUSE = "pause"
    CANCEL = "cancel"
    BUDGET = "budget"


class StudyLoop:
    """Runs one study from its journal to its end, a pause, or the loss of its lease.

    Attributes:
        begun: what was written has been taken in, and a first job decided; from here on the loop renews its lease.
    """

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
        self.begun = threading.Event()
        self._inbox: queue.SimpleQueue[Sequence[Message]] = queue.SimpleQueue()
        self._live: dict[int, Live] = {}
        # Those without a leg: they are started before anything new.
        self._waiting: deque[Live] = deque()
        self._pending = _Pending()
        self._standing = Standing()
        # Numbers of what waits in the optimizer's queue; None for what a warm start put there.
        self._queue: deque[int | None] = deque()
        self._late: set[tuple[int, float]] = set()
        # Jobs that were told to stop before this runner was there.
        self._stopped: set[int] = set()
        self._ending: _Ending | None = None
        self._reason: str | None = None
        self._incumbents: list[Incumbent] = []
        self._beat_at = -np.inf
        self._committed_at = -np.inf
        self._quiet = False
        # So many facts were written when the optimizer was last known to have more to do.
        self._written = 0
        self._unfinished_at = -1

    @property
    def study(self) -> str:
        return self._study

    @property
    def incumbents(self) -> list[Incumbent]:
        """The best trials as last written."""
        return self._incumbents

    @property
    def kept(self) -> frozenset[int]:
        """Trials whose states outlast the study: the best, and those from which others would begin if it went on.

        Empty where none is known to be the best; one that ended before its journal was taken in knows of none.
        """
        best = frozenset(incumbent.trial for incumbent in self._incumbents)
        return best | frozenset(self._optimizer.copyable()) if best else best

    @property
    def running(self) -> int:
        """Legs that run, or are about to."""
        return len(self._live) - len(self._waiting)

    @property
    def cluster_seconds(self) -> float:
        """Time that legs ran, summed over those that ran side by side."""
        return self._spending.cluster_seconds

    @property
    def ending(self) -> bool:
        """Whether no more legs are started."""
        return self._ending is not None

    def job(self, number: int) -> Job | None:
        """A job that was given out, whether or not it has ended."""
        jobs = self._optimizer.jobs
        return jobs[number] if 0 <= number < len(jobs) else None

    def attempt(self, job: int) -> int | None:
        """Number of the attempt that a job is at; None once it has ended."""
        live = self._live.get(job)
        return None if live is None else live.attempt

    def reached(self, job: int) -> bool:
        """Whether the end of a job has been reported."""
        return self._reached(self._optimizer.jobs[job])

    def seed(self, trial: int) -> int:
        """The seed of a trial, the same in all its legs."""
        return int(np.random.SeedSequence([self._spec.seed, trial]).generate_state(1)[0]) >> 1

    # Called by other threads

    def report(
        self,
        job: int,
        attempt: int,
        worker: str,
        reports: Sequence[tuple[float, Mapping[str, float]]],
        log: str = "",
    ) -> Future[Reply]:
        """As `Reports`; its answer."""
        message = Reports(job, attempt, worker, reports, log)
        # A leg that is killed while it waits takes its call back; what it said is taken in all the same.
        message.answer.set_running_or_notify_cancel()
        self.hear([message])
        return message.answer

    def ended(self, job: int, attempt: int, result: LegResult) -> None:
        """An attempt is over, in whatever way."""
        self.hear([Ended(job, attempt, result)])

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in what belongs together: it becomes part of one batch."""
        self._inbox.put(messages)

    def wake(self) -> None:
        """Begin a round now: there may be more room for legs."""
        self.hear([])

    # The loop

    def run(self) -> StudyState:
        """Run until the study is over or paused.

        Returns:
            The state in which it was left.
        Raises:
            Fenced: another runner has the study; legs of this one are abandoned.
            Exception: what was written cannot be taken in; it stands as it stood.
        """
        with uncollected():
            record = self._unless_unavailable(self._journal.load)
        if record.state.final:
            return record.state
        with logs.about(study=record.study):
            try:
                with uncollected():
                    self._restore(record)
            except Fenced:
                raise
            except Exception as error:
                log.exception("study %s cannot be taken up", record.study)
                if record.facts:
                    # What would be written now knows of no trial; who starts runners knows what stands.
                    raise
                return self._fail(error)
            # The optimizer has what it needs of the facts, which take as much again.
            del record
            return self._run()

    def _run(self) -> StudyState:
        try:
            self._heartbeat()
            # An earlier runner may have used it up, and died while its last legs saved.
            self._check_budget()
            while not self._over():
                self._fill()
                self._commit()
                self._launcher.end_round()
                self._release()
                messages = self._receive()
                self._spending.pass_time(sum(live.began is not None for live in self._live.values()))
                for message in messages:
                    self._handle(message)
                self._quiet = not messages
                self._heartbeat()
                self._check_budget()
                self._kill_the_deaf()
        except Fenced:
            raise
        except Exception as error:
            log.exception("study %s failed", self._study)
            return self._fail(error)
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
        self._launcher.restore(record)
        begun = {attempt.job: attempt for attempt in record.begun}
        for job_id, job in self._optimizer.running.items():
            attempts = record.attempts.get(job_id, 0)
            live = self._live[job_id] = Live(job, attempts + 1, begun=attempts > 0)
            if job_id in begun:
                live.losses, live.failures = begun[job_id].losses, begun[job_id].failures
            if job_id in self._stopped:
                live.stop, live.stop_since = Verdict.STOP, self._monotonic()
            self._waiting.append(live)
            self._resume(live, attempts)

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
        elif self._optimizer.observe(fact.report) is Verdict.STOP:
            self._stopped.add(fact.report.job)

    def _over(self) -> bool:
        if self._ending is not None:
            return not self.running
        if self._live:
            return False
        self._fill()
        if self._live or not self._exhausted():
            return False
        # Somebody may have thought of something in the last moment.
        self._take_enqueued()
        self._fill()
        return not self._live and self._exhausted()

    def _exhausted(self) -> bool:
        """Whether the optimizer has nothing to do, of a study without a leg whose room was filled just now."""
        if self._launcher.room() > 0:
            return True
        # To ask is as dear as a decision: only once nobody has said anything for a while, and not twice of the same.
        if not self._quiet or self._unfinished_at == self._written:
            return False
        exhausted = self._optimizer.exhausted
        self._unfinished_at = -1 if exhausted else self._written
        return exhausted

    def _fill(self) -> None:
        """Start what there is room for."""
        while self._ending is None and self.running < min(self._spec.parallel, self._launcher.room()):
            if not self._waiting:
                job = self._optimizer.next_job()
                # The first decision loads libraries and fits models anew, which can outlast a lease on a busy machine.
                self.begun.set()
                if job is None:
                    return
                self._pending.facts.append(JobStarted(job, self._note_job(job)))
                self._live[job.id] = Live(job, attempt=1)
                self._waiting.append(self._live[job.id])
            self._start(self._waiting.popleft())
            # Many decisions may take longer than a lease lasts.
            self._heartbeat()

    def _note_job(self, job: Job) -> int | None:
        """Take a job into the books; returns the number of the enqueued configuration that it took up, if it did."""
        self._standing.note(job.trial, TrialState.RUNNING)
        self._copies.note(job)
        return self._queue.popleft() if len(self._optimizer.queue) < len(self._queue) else None

    def _take_enqueued(self) -> None:
        # A round of slow decisions looks more than once, and the journal knows nothing yet of what it took up.
        taken = {fact.number for fact in self._pending.facts if isinstance(fact, Enqueued)}
        for fact in self._unless_unavailable(self._journal.enqueued):
            if fact.number not in taken:
                self._enqueue(fact)
                self._pending.facts.append(fact)

    def _enqueue(self, fact: Enqueued) -> None:
        self._optimizer.enqueue(fact.config)
        self._queue.append(fact.number)

    def _start(self, live: Live) -> None:
        begun = self._launcher.assign(live.job.id, live.attempt)
        if begun is not None:
            self._begin(live, begun)
        self._pending.starts.append(live)

    def _begin(self, live: Live, begun: AttemptStarted) -> None:
        live.began, live.resumed, live.begun = self._monotonic(), False, True
        self._pending.attempts.append(replace(begun, losses=live.losses, failures=live.failures))

    def _resume(self, live: Live, attempt: int) -> bool:
        """Let an attempt go on that no other one has followed; whether it does."""
        if not (attempt and self._launcher.resume(self._order(live, attempt))):
            return False
        self._waiting.remove(live)
        live.attempt, live.began, live.resumed = attempt, self._monotonic(), True
        return True

    def _receive(self) -> list[Message]:
        try:
            messages = [*self._inbox.get(timeout=HEARTBEAT_SECONDS)]
        except queue.Empty:
            return []
        while not self._inbox.empty():
            messages.extend(self._inbox.get())
        return messages

    def _handle(self, message: Message) -> None:
        if isinstance(message, Reports):
            self._on_reports(message)
        elif isinstance(message, Ended):
            self._on_ended(message)
        else:
            for following in message() or ():
                self._handle(following)

    def _find(self, job: int, attempt: int) -> tuple[Live | None, bool]:
        """A job that has not ended, and whether this is its attempt that counts."""
        live = self._live.get(job)
        if live is None:
            return None, False
        waits = live.attempt == attempt + 1 and live in self._waiting
        if waits and self._resume(live, attempt):
            # It was taken for lost, and is heard of before another one was started.
            live.losses = max(0, live.losses - 1)
        return live, live.attempt == attempt and live not in self._waiting

    def _on_reports(self, message: Reports) -> None:
        live, current = self._find(message.job, message.attempt)
        if live is not None and current and live.began is None:
            self._begin(live, AttemptStarted(message.job, message.attempt, message.worker))
        for resource, metrics in message.reports:
            self._take(live, message, resource, metrics)
        self._print(message.job, message.log)
        if live is None or not current:
            reply = Reply.ABANDON
        else:
            reply = Reply.CONTINUE if live.stop_since is None else Reply.STOP
        self._pending.answers.append(partial(message.answer.set_result, reply))

    def _take(self, live: Live | None, message: Reports, resource: float, metrics: Mapping[str, float]) -> None:
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

    def _on_ended(self, message: Ended) -> None:
        live, current = self._find(message.job, message.attempt)
        result = message.result
        # Whoever has trained to the end has done the job, even where another attempt at it is under way.
        if live is None or not (current or (result.outcome is Outcome.COMPLETED and self._reached(live.job))):
            self._pending.answers.append(partial(message.answer.set_result, False))
            return
        self._pending.answers.append(partial(message.answer.set_result, True))
        self._print(message.job, result.log)
        if self._stays_open(live, result):
            live.attempt, live.began = live.attempt + 1, None
            self._waiting.append(live)
            return
        del self._live[message.job]
        if live in self._waiting:
            self._waiting.remove(live)
        self._finish(live, *self._judge(live, result), result)

    def _stays_open(self, live: Live, result: LegResult) -> bool:
        """Whether another attempt is to follow: now, or when a paused study goes on."""
        if live.stop is not None:
            return False
        if self._ending is _Ending.PAUSE:
            if result.outcome is Outcome.FAILED:
                return self._fails_again(live, result)
            # A workload that is told to stop may return just as well.
            returned = result.outcome is Outcome.COMPLETED and live.stop_since is not None
            return result.outcome in (Outcome.STOPPED, Outcome.LOST) or (returned and not self._reached(live.job))
        if self._ending is not None:
            return False
        if result.outcome is Outcome.FAILED:
            return self._fails_again(live, result)
        if result.outcome is not Outcome.LOST:
            return False
        live.losses += 1
        if live.losses > self._spec.limits.retries:
            return False
        log.warning("study %s: job %d was lost (%s); again", self._study, live.job.id, result.problem)
        return True

    def _fails_again(self, live: Live, result: LegResult) -> bool:
        """Whether a leg whose program failed is tried once more; its log keeps what went wrong before."""
        most = self._spec.limits.retry_failed
        if live.failures >= most:
            return False
        live.failures += 1
        told = f"tried again from its last state ({live.failures} of {most}): {result.problem}"
        self._print(live.job.id, f"\n{result.traceback or ''}\n[{told}]\n")
        log.warning("study %s: job %d failed and is %s", self._study, live.job.id, told)
        return True

    def _reached(self, job: Job) -> bool:
        return job.end in self._optimizer.trials[job.trial].reports

    def _print(self, job: int, text: str) -> None:
        if text and 0 <= job < len(self._optimizer.jobs):
            self._pending.printed.append(Printed(self._optimizer.jobs[job].trial, text))

    def _judge(self, live: Live, result: LegResult) -> tuple[JobEnd, TrialState, str | None]:
        """How a job ended, where that leaves its trial, and the problem in one line."""
        job = live.job
        if result.outcome is Outcome.COMPLETED and self._reached(job):
            assert self._spec.fidelity is not None
            whole = job.end >= self._spec.fidelity.max
            return JobEnd.COMPLETED, TrialState.COMPLETED if whole else TrialState.WAITING, None
        if result.outcome is Outcome.COMPLETED and live.stop_since is None:
            problem = f"the workload returned without a report at resource {job.end:g}, the end of its leg"
            return JobEnd.FAILED, TrialState.FAILED, problem
        if result.outcome is Outcome.FAILED:
            return JobEnd.FAILED, TrialState.FAILED, result.problem
        if self._ending is _Ending.CANCEL:
            return JobEnd.CANCELLED, TrialState.CANCELLED, None
        if live.stop is not None or self._ending is not None:
            return JobEnd.CANCELLED, TrialState.STOPPED, None
        if result.outcome is Outcome.STOPPED:
            return JobEnd.FAILED, TrialState.FAILED, "the workload raised TrialStopped without being asked to stop"
        return JobEnd.LOST, TrialState.FAILED, f"lost {live.losses} times, the last time: {result.problem}"

    def _finish(self, live: Live, end: JobEnd, state: TrialState, problem: str | None, result: LegResult) -> None:
        self._optimizer.finish(live.job.id, end)
        self._standing.note(live.job.trial, state)
        traceback = result.traceback if end is JobEnd.FAILED else None
        self._pending.facts.append(JobEnded(live.job.id, live.job.trial, end, state, problem, traceback, result.told))

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
        else:
            if self._ending is _Ending.PAUSE and self._launcher.drains:
                # Its legs run on all the same.
                self._ending = None
            if self._ending is None:
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
        if ending is _Ending.PAUSE:
            if self._launcher.drains:
                return
        else:
            self._close_waiting()
        for live in self._live.values():
            if live.stop_since is None:
                live.stop_since = self._monotonic()

    def _close_waiting(self) -> None:
        """End the jobs whose next attempt will not come any more."""
        while self._waiting:
            live = self._waiting.popleft()
            del self._live[live.job.id]
            result = LegResult(Outcome.LOST, "the study ended before it was begun again")
            self._finish(live, *self._judge(live, result), result)

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
        for answer in pending.answers:
            answer()
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
        with tracing.span("study commit", batch=batch.number, facts=len(batch.facts)):
            self._unless_unavailable(lambda: self._journal.commit(batch))
        self._batch += 1
        self._written += len(batch.facts)
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

    def _order(self, live: Live, attempt: int | None = None) -> LegOrder:
        job = live.job
        # A leg that the study's end cuts short leaves a state that is not the one which was measured as the best.
        best = {incumbent.resource for incumbent in self._incumbents if incumbent.trial == job.trial}
        keep = self._copies.kept(job.trial) | best
        seed, most = self.seed(job.trial), self._most(live)
        return LegOrder(self._study, job, attempt or live.attempt, seed, self._spec, keep, most)

    def _most(self, live: Live) -> float:
        """What a state may have been trained to from which the next attempt at a job goes on."""
        job = live.job
        if live.begun and not self._reached(job):
            # States are stored after the reports before them.
            return math.nextafter(job.end, 0.0)
        if live.begun:
            most = job.end
        elif job.begins_trial:
            most = 0.0
        else:
            most = max(job.start, self._optimizer.trials[job.trial].resource)
        return most * (1.0 + DUST)

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

    def _fail(self, error: Exception) -> StudyState:
        self._reason = f"{type(error).__name__}: {error}"
        self._ending = _Ending.CANCEL
        for live in list(self._live.values()):
            self._launcher.kill(live.job.id, live.attempt)
            self._finish(live, JobEnd.CANCELLED, TrialState.CANCELLED, None, LegResult(Outcome.STOPPED))
        self._live.clear()
        self._waiting.clear()
        self._pending.starts.clear()
        self._commit(StudyState.FAILED)
        return StudyState.FAILED

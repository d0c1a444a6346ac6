"""The desk of a study whose trials run elsewhere: clients ask for jobs there and tell how they went.

A job is proposed when somebody asks for it, never ahead. Whoever has one holds a lease on it, which everything that is
said of it renews. A lease that has run out is not the end of the attempt: until somebody else has asked for the job,
its holder only needs to say another word. What holds for legs on Ray holds here too, since to the loop the desk is only
another launcher: what is answered is durable first, and there is one writer.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from optimizers.protocol import Job
from tunewright.study import StudySpec
from workers.ask_tell import Answer, Ask, Finish, Given, GivenJob, Refused, Tell, Told, Why, Word, wrong_report
from workers.journal import AttemptStarted, StudyRecord
from workers.messages import Ended, Message, Reports
from workers.orders import DEAF_SECONDS, Launcher, LegOrder, LegResult, Outcome
from workers.study_loop import StudyLoop

# Leases are looked at this often.
LOOK_SECONDS = 1.0


@dataclass
class _Seat:
    """Somebody who waits for jobs.

    Attributes:
        until: when the patience ends, by the desk's clock.
        assigned: attempts that will be given, once they are written down.
        answers: more than one where the same wish came again.
    """

    ask: Ask
    until: float
    answers: list[Future[Given | Refused]]
    assigned: int = 0
    jobs: list[GivenJob] = field(default_factory=list)


@dataclass
class _Lease:
    """Who has an attempt, when that began, and when it was last heard of."""

    attempt: int
    worker: str
    began: float
    heard: float


@dataclass
class _Known:
    """What was given under a key: numbers of jobs and attempts."""

    digest: str | None
    given: list[tuple[int, int]] = field(default_factory=list)


class Desk(Launcher):
    """Launches nothing: hands out what the loop would start.

    `say` may be called by any thread; everything else belongs to the loop's.
    """

    drains = True
    loop: StudyLoop

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._seats: deque[_Seat] = deque()
        # Job -> the seat that will get it, the lease on it, or the one that has run out.
        self._assigned: dict[int, _Seat] = {}
        self._leases: dict[int, _Lease] = {}
        self._lapsed: dict[int, _Lease] = {}
        self._keys: dict[str, _Known] = {}
        self._looked_at = self._round_at = monotonic()
        self._open: set[Future[Answer]] = set()
        self._closed = False
        self._lock = threading.Lock()

    # What clients say

    def say(self, words: Sequence[Word]) -> list[Future[Answer]]:
        """Take in what clients say; what came together is written together.

        Returns:
            An answer for each, done once it is durable, or at the latest when the study has left this runner.
        """
        answers: list[Future[Answer]] = [Future() for _ in words]
        with self._lock:
            if self._closed:
                return [_done(Refused(Why.CLOSED)) for _ in words]
            self._open.update(answers)
        for answer in answers:
            # Nobody who waits for it may cancel it.
            answer.set_running_or_notify_cancel()
            answer.add_done_callback(self._open.discard)
        # Whether a word is right is seen in the loop, which may still be reading its journal.
        self.loop.hear([partial(self._take, word, answer) for word, answer in zip(words, answers, strict=True)])
        return answers

    def close(self) -> None:
        """Send everybody away: the loop has ended, and the study is over, paused, or somebody else's."""
        for seat in self._seats:
            _give(seat)
        with self._lock:
            self._closed = True
            left = list(self._open)
        for answer in left:
            answer.set_result(Refused(Why.CLOSED))

    def _take(self, word: Word, answer: Future[Answer]) -> Sequence[Message]:
        if isinstance(word, Ask):
            given: Future[Given | Refused] = Future()
            given.add_done_callback(lambda done: answer.set_result(done.result()))
            self._sit(word, given)
            return ()
        refusal = self._wrong(word)
        if refusal is not None:
            answer.set_result(refusal)
            return ()
        return self._messages(word, answer)

    def _messages(self, word: Tell, answer: Future[Answer]) -> list[Message]:
        lease = self._leases.get(word.job) or self._lapsed.get(word.job)
        worker = lease.worker if lease is not None and lease.attempt == word.attempt else ""
        told = Reports(word.job, word.attempt, worker, word.reports)
        messages: list[Message] = [told]
        ended: Future[bool] | None = None
        given: Future[Given | Refused] | None = None
        if word.finish is not None:
            message = Ended(word.job, word.attempt, _result(word, word.finish))
            messages.append(message)
            ended = message.answer
            ended.add_done_callback(partial(self._put_away, word))
        if word.ask is not None:
            given = Future()
            messages.append(partial(self._sit, word.ask, given))

        def done() -> None:
            answer.set_result(
                Told(
                    told.answer.result(),
                    None if ended is None else ended.result(),
                    None if given is None else given.result(),
                )
            )

        told.answer.add_done_callback(lambda _: self._renew(word))
        _when_all([future for future in (told.answer, ended, given) if future is not None], done)
        return messages

    def _wrong(self, word: Tell) -> Refused | None:
        """What is wrong with a word, if anything is."""
        job = self.loop.job(word.job)
        last = None if job is None else self.loop.attempt(job.id)
        if job is None or (last is not None and word.attempt > last):
            return Refused(Why.UNKNOWN, "this study has given out no such job")
        for place, (resource, metrics) in enumerate(word.reports):
            problem = wrong_report(job.end, self._spec.objectives, resource, metrics)
            if problem is not None:
                field, message = problem
                return Refused(Why.INVALID, message, f"reports.{place}.{field}")
        return None

    def _renew(self, word: Tell) -> None:
        lease = self._leases.get(word.job)
        if lease is not None and lease.attempt == word.attempt:
            lease.heard = self._monotonic()

    def _put_away(self, word: Tell, ended: Future[bool]) -> None:
        if ended.result():
            self._leases.pop(word.job, None)

    # Who waits

    def _sit(self, ask: Ask, answer: Future[Given | Refused]) -> None:
        seat = next((seat for seat in self._seats if ask.key is not None and seat.ask.key == ask.key), None)
        known = self._keys.get(ask.key) if ask.key is not None else None
        digest = seat.ask.digest if seat is not None else known.digest if known is not None else ask.digest
        if digest != ask.digest:
            answer.set_result(Refused(Why.CONFLICT, f'"{ask.key}" was used for another request; take a new key'))
        elif seat is not None:
            seat.answers.append(answer)
        elif known is not None and (jobs := [*self._still(known)]):
            answer.set_result(Given(tuple(jobs)))
        else:
            self._seats.append(_Seat(ask, self._monotonic() + ask.wait, [answer]))

    def _still(self, known: _Known) -> Iterable[GivenJob]:
        """What was given under a key, but for jobs that somebody else has now."""
        for number, attempt in known.given:
            job, current = self.loop.job(number), self.loop.attempt(number)
            lease = self._leases.get(number)
            held = lease is not None and lease.attempt == attempt
            if job is not None and (current is None or held):
                if lease is not None:
                    lease.heard = self._monotonic()
                yield self._given(job, attempt, self.loop.seed(job.trial))

    # What the loop does

    def restore(self, record: StudyRecord) -> None:
        self._spec: StudySpec = record.spec
        now = self._monotonic()
        for begun in record.begun:
            self._note_key(begun)
            if begun.job in record.attempts:
                # Its holder knows nothing of the runner's death.
                began = now - self._ran(record.begun_at[begun.job])
                self._lapsed[begun.job] = _Lease(begun.attempt, begun.worker, began, now)

    def _ran(self, since: float) -> float:
        """Seconds that an attempt of an earlier runner counts to have run; its holder has a lease's time to speak."""
        limits = self._spec.limits
        longest = math.inf if limits.leg_seconds is None else max(0.0, limits.leg_seconds - limits.lease_seconds)
        return min(max(0.0, self._wall() - since), longest)

    def room(self) -> int:
        return self.loop.running + sum(seat.ask.count - seat.assigned for seat in self._seats)

    def assign(self, job: int, attempt: int) -> AttemptStarted | None:
        seat = next(seat for seat in self._seats if seat.assigned < seat.ask.count)
        seat.assigned += 1
        self._assigned[job] = seat
        self._lapsed.pop(job, None)
        begun = AttemptStarted(job, attempt, seat.ask.worker, seat.ask.key, seat.ask.digest)
        self._note_key(begun)
        return begun

    def start(self, order: LegOrder) -> None:
        seat, now = self._assigned.pop(order.job.id), self._monotonic()
        self._leases[order.job.id] = _Lease(order.attempt, seat.ask.worker, now, now)
        seat.jobs.append(self._given(order.job, order.attempt, order.seed))

    def resume(self, order: LegOrder) -> bool:
        lease = self._lapsed.get(order.job.id)
        if lease is None or lease.attempt != order.attempt:
            return False
        lease.heard = self._monotonic()
        self._leases[order.job.id] = self._lapsed.pop(order.job.id)
        return True

    def kill(self, job: int, attempt: int) -> None:
        self._leases.pop(job, None)
        self.loop.ended(job, attempt, LegResult(Outcome.LOST, "its worker did not stop when it was told to"))

    def end_round(self) -> None:
        """Answer whoever has jobs now or will not get any, and look at the leases."""
        now = self._monotonic()
        if now - self._round_at > DEAF_SECONDS:
            # Nobody is silent who was not listened to.
            for lease in self._leases.values():
                lease.heard = now
        self._round_at = now
        waiting, self._seats = self._seats, deque()
        for seat in waiting:
            if seat.jobs or seat.until <= now or self.loop.ending:
                _give(seat)
            else:
                self._seats.append(seat)
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            for job, lease in list(self._leases.items()):
                self._look_at(job, lease, now)

    def _look_at(self, job: int, lease: _Lease, now: float) -> None:
        limits = self._spec.limits
        silent = now - lease.heard
        if limits.leg_seconds is not None and now - lease.began > limits.leg_seconds:
            result = LegResult(Outcome.FAILED, f"took longer than limits.leg_seconds, {limits.leg_seconds:g} s")
        elif silent > limits.lease_seconds and self.loop.reached(job):
            # All that was wanted is known; its holder has only not said that it was over.
            result = LegResult(Outcome.COMPLETED)
        elif silent > limits.lease_seconds:
            result = LegResult(Outcome.LOST, f"its worker, {lease.worker}, was not heard of for {silent:.0f} s")
            self._lapsed[job] = lease
        else:
            return
        del self._leases[job]
        self.loop.ended(job, lease.attempt, result)

    def _given(self, job: Job, attempt: int, seed: int) -> GivenJob:
        return GivenJob(job, attempt, seed, self._spec.limits.lease_seconds)

    def _note_key(self, begun: AttemptStarted) -> None:
        if begun.key is not None:
            self._keys.setdefault(begun.key, _Known(begun.digest)).given.append((begun.job, begun.attempt))


def _give(seat: _Seat) -> None:
    for answer in seat.answers:
        answer.set_result(Given(tuple(seat.jobs)))


def _result(word: Tell, finish: Finish) -> LegResult:
    told = f"{word.attempt}:{finish.digest}"
    return LegResult(finish.outcome, finish.problem, finish.traceback, told=told)


def _when_all(futures: Sequence[Future[Any]], done: Callable[[], None]) -> None:
    """Call `done` once all are done; they are so in one thread."""
    left = len(futures)

    def one(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done()

    for future in futures:
        future.add_done_callback(one)


def _done(answer: Answer) -> Future[Answer]:
    future: Future[Answer] = Future()
    future.set_result(answer)
    return future

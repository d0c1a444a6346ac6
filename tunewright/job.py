"""Trials that run wherever the client is: a job is asked for, worked on, and told of.

    with Client() as client:
        for job in client.jobs("06j2..."):
            with job:
                for epoch in job.steps():
                    job.report(epoch, {"loss": train_one_epoch(job.config)})

What may be relied on:
    - while a job is open the service hears of it, from a thread (a task, with `AsyncClient`), however long an epoch is;
    - `report` returns once the report is durable. The one at the job's end travels with the job's end, when the block
      is left; `jobs` asks for the next job in the same request;
    - leaving the block finishes the job: completed; failed when an exception passes, with its last line, and the
      exception goes on; stopped when `TrialStopped` passes, which ends there; given back to be done by somebody else
      when the process is told to end (KeyboardInterrupt, SystemExit);
    - whatever fails for a moment is sent again, for some minutes, and counts once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
import traceback as tracebacks
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from tunewright import _requests as requests
from tunewright._requests import Call
from tunewright.errors import ApiError, ReportError, StudyOver, TrialStopped
from tunewright.study import finite
from tunewright.views import AskedJob, AskedJobs, FinishedJob, Told

log = logging.getLogger(__name__)
T = TypeVar("T")

# An ask waits this long for a job before it is sent again.
WAIT_SECONDS = 20.0
# About eight minutes: what was trained for hours is not lost to a service that is restarted.
RETRIES = 100
BEATS_PER_LEASE = 3
MAX_PROBLEM = 4_000
MAX_TRACEBACK = 64 * 1024


class JobCalls:
    """The client's methods about jobs of studies whose trials run elsewhere."""

    def job(self, study_id: str, worker: str | None = None, wait: float | None = None) -> OneJob:
        """One job: `with client.job(study) as job`.

        Args:
            worker: name to show; None takes host and process id.
            wait: seconds to wait for a job; None waits until there is one.
        Raises:
            StudyOver: on entry: the study has no more jobs.
            TimeoutError: on entry: there was none within `wait`.
        """
        return OneJob(self._send, study_id, worker, wait)

    def jobs(self, study_id: str, worker: str | None = None) -> Generator[Job]:
        """Jobs, one after the other, until the study is over.

        `with job` finishes each as its block ends; one that is not so used is completed when the next is asked for.
        """
        return _jobs(self._send, study_id, worker)

    def ask(
        self,
        study_id: str,
        worker: str | None = None,
        *,
        count: int = 1,
        wait: float = 0.0,
        idempotency_key: str | None = None,
    ) -> AskedJobs:
        """Ask for jobs and nothing more: `tell` and `finish` are up to the caller, and so are heartbeats.

        Args:
            count: jobs at most.
            wait: seconds to wait while there is none, 60 at most and below the client's timeout.
            idempotency_key: the same key gives the same jobs; None makes a new one.
        """
        return self._send(requests.ask(study_id, worker, count, wait, idempotency_key or uuid.uuid4().hex))

    def tell(self, job_id: str, reports: Sequence[Mapping[str, Any]] = ()) -> Told:
        """Reports, each with `resource` and `metrics`; without any, that the job is still being worked on."""
        return self._send(requests.tell(job_id, reports) if reports else requests.heartbeat(job_id))

    def finish(self, job_id: str, **end: Any) -> FinishedJob:
        """Finish a job.

        Args:
            end: `state` (completed, stopped, failed), `problem`, `traceback`, `reports`, `ask`, as in the REST API.
        """
        return self._send(requests.finish(job_id, end))

    def _send(self, call: Call[T], retries: int | None = 0) -> T:
        raise NotImplementedError


class AsyncJobCalls:
    """`JobCalls`, to be awaited."""

    def job(self, study_id: str, worker: str | None = None, wait: float | None = None) -> OneAsyncJob:
        """As `Client.job`: `async with client.job(study) as job`."""
        return OneAsyncJob(self._send, study_id, worker, wait)

    def jobs(self, study_id: str, worker: str | None = None) -> AsyncGenerator[AsyncJob]:
        """As `Client.jobs`."""
        return _async_jobs(self._send, study_id, worker)

    async def ask(
        self,
        study_id: str,
        worker: str | None = None,
        *,
        count: int = 1,
        wait: float = 0.0,
        idempotency_key: str | None = None,
    ) -> AskedJobs:
        """As `Client.ask`."""
        return await self._send(requests.ask(study_id, worker, count, wait, idempotency_key or uuid.uuid4().hex))

    async def tell(self, job_id: str, reports: Sequence[Mapping[str, Any]] = ()) -> Told:
        """As `Client.tell`."""
        return await self._send(requests.tell(job_id, reports) if reports else requests.heartbeat(job_id))

    async def finish(self, job_id: str, **end: Any) -> FinishedJob:
        """As `Client.finish`."""
        return await self._send(requests.finish(job_id, end))

    async def _send(self, call: Call[T], retries: int | None = 0) -> T:
        raise NotImplementedError


class Send(Protocol):
    """Sends a call; so often again while it fails for a moment."""

    def __call__(self, call: Call[T], retries: int | None = ...) -> T: ...


class AsyncSend(Protocol):
    """`Send`, to be awaited."""

    def __call__(self, call: Call[T], retries: int | None = ...) -> Awaitable[T]: ...


class _Job:
    """What is known of a job here.

    Attributes:
        id: names this attempt at the job.
        study, trial: their ids.
        config: parameter -> value.
        start, end: train from this resource to that one; `start` is 0 for a new trial.
        seed: the trial's seed, the same in all its jobs.
        parent: id of the trial whose state at `start` is to be gone on from; None: the trial's own.
    """

    def __init__(self, asked: AskedJob) -> None:
        self.id = asked.id
        self.study = asked.study
        self.trial = asked.trial
        self.config: dict[str, Any] = asked.config
        self.start = asked.start
        self.end = asked.end
        self.seed = asked.seed
        self.parent = asked.parent
        self._beat_seconds = asked.lease_seconds / BEATS_PER_LEASE
        self._told_at = time.monotonic()
        self._answer = "continue"
        self._last: list[dict[str, Any]] = []
        self._end: dict[str, Any] | None = None
        self._finished = False

    def __repr__(self) -> str:
        return f"<job {self.id}: {self.start:g} to {self.end:g}>"

    def steps(self) -> Iterator[int]:
        """Whole resources from the job's start to its end: epochs, rounds, steps."""
        yield from range(int(self.start) + 1, int(self.end) + 1)

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop; `report` raises then."""
        return self._answer != "continue"

    def _check_in(self, resource: float, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """A report as it is to be sent now; None when it goes with the job's end."""
        if self._finished:
            raise ReportError(f"report: job {self.id} is finished")
        # Also of one that was told to stop: what has been measured counts, or is kept as late.
        for name, value in (("resource", resource), *metrics.items()):
            if not finite(_number(value)):
                raise ReportError(f'report: "{name}" is {value!r}; it must be a finite number')
        report = {"resource": _number(resource), "metrics": {name: _number(value) for name, value in metrics.items()}}
        if report["resource"] == self.end:
            self._last = [report]
            return None
        return report

    def _hear(self, answer: str) -> None:
        self._told_at = time.monotonic()
        self._answer = answer

    def _stop_if_told(self) -> None:
        if self.stopped:
            raise TrialStopped(f"the service asked job {self.id} to {self._answer}")

    def _close(self, error: BaseException | None) -> None:
        """Note how it ended."""
        if error is None:
            self._end = {"state": "completed"}
        elif isinstance(error, TrialStopped):
            self._end = {"state": "stopped"}
        elif not isinstance(error, Exception):
            self._end = {"state": "returned"}
        else:
            last = tracebacks.format_exception_only(error)[-1].strip()
            whole = "".join(tracebacks.format_exception(error))
            self._end = {"state": "failed", "problem": last[:MAX_PROBLEM], "traceback": whole[-MAX_TRACEBACK:]}

    def _last_words(self, worker: str | None, wait: float) -> Call[Any]:
        """The request that finishes it; asks for the next job where a worker is named."""
        end = self._end
        if end is None:
            # The loop went on, or was left, without a `with` block.
            end = {"state": "completed" if self._last or worker is not None else "returned"}
        self._finished = True
        ask = None if worker is None else {"worker": worker, "wait": wait}
        return requests.finish(self.id, {**end, "reports": self._last, "ask": ask})


class Job(_Job):
    """A job that this process works on; a context manager that finishes it."""

    def __init__(self, asked: AskedJob, send: Send, heart: _Heart, *, finish_at_exit: bool) -> None:
        super().__init__(asked)
        self._send = send
        self._heart = heart
        self._finish_at_exit = finish_at_exit
        heart.hold(self)

    def report(self, resource: float, metrics: Mapping[str, float]) -> None:
        """Report metrics measured at a resource.

        Args:
            resource: in the fidelity's unit; at most the job's end.
            metrics: all objectives, finite; further numbers are kept and drawn.
        Raises:
            TrialStopped: the trial is to end now; let it pass. Not at the job's end, where it ends by itself.
            ReportError: a value is no finite number.
            ApiError: the service refuses it, or did not answer for some minutes.
        """
        report = self._check_in(resource, metrics)
        if report is not None:
            self._hear(self._send(requests.tell(self.id, [report]), RETRIES).answer)
            self._stop_if_told()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._close(error)
        if error is None or isinstance(error, TrialStopped):
            if self._finish_at_exit:
                self._finish()
            return error is not None
        try:
            self._finish()
        except ApiError as failure:
            # What went wrong first is what people have to know.
            log.warning("job %s could not be finished: %s", self.id, failure)
        return False

    def _finish(self, worker: str | None = None, wait: float = 0.0) -> AskedJobs | None:
        """Finish it, once; returns the answer to what was asked for beside."""
        if self._finished:
            return None
        call = self._last_words(worker, wait)
        try:
            following: AskedJobs | None = self._send(call, RETRIES).next
        finally:
            self._heart.let_go()
        return following


class _Heart:
    """Tells the service, from a thread, that a job is still being worked on.

    The thread sleeps until something has to be said; jobs that come and go meanwhile do not wake it.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._job: _Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._idle = False
        self._over = False

    def hold(self, job: _Job) -> None:
        with self._changed:
            self._job = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="tunewright-heartbeats", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify()

    def let_go(self) -> None:
        with self._changed:
            self._job = None

    def stop(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def _beat(self) -> None:
        while (job := self._due()) is not None:
            with suppress(ApiError):
                job._hear(self._send(requests.heartbeat(job.id), 0).answer)
            # Also after a failure: the next beat is early enough.
            job._told_at = time.monotonic()

    def _due(self) -> _Job | None:
        """A job of which the service has not heard for a while; None at the end."""
        with self._changed:
            while not self._over:
                job = self._job
                left = None if job is None else job._told_at + job._beat_seconds - time.monotonic()
                if job is not None and left is not None and left <= 0:
                    return job
                self._idle = job is None
                self._changed.wait(left)
        return None


class OneJob:
    """`Client.job`: asks for a job on entry, and finishes it on exit."""

    def __init__(self, send: Send, study_id: str, worker: str | None, wait: float | None) -> None:
        self._send = send
        self._study_id = study_id
        self._worker = worker or _own_name()
        self._wait = wait
        self._heart = _Heart(send)

    def __enter__(self) -> Job:
        asked = _first(_ask_until(self._send, self._study_id, self._worker, self._wait))
        self._job = Job(asked, self._send, self._heart, finish_at_exit=True)
        return self._job

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            return self._job.__exit__(kind, error, traceback)
        finally:
            self._heart.stop()


def _jobs(send: Send, study_id: str, worker: str | None) -> Generator[Job]:
    """As `Client.jobs`."""
    worker = worker or _own_name()
    heart = _Heart(send)
    job: Job | None = None
    try:
        asked: AskedJobs | None = None
        while True:
            if asked is None or not asked.jobs:
                asked = _ask_until(send, study_id, worker, None)
            if not asked.jobs:
                return
            job = Job(asked.jobs[0], send, heart, finish_at_exit=False)
            yield job
            asked = job._finish(worker, WAIT_SECONDS)
            if asked is not None and asked.over:
                return
    finally:
        if job is not None:
            job._finish()
        heart.stop()


def _ask_until(send: Send, study_id: str, worker: str, wait: float | None) -> AskedJobs:
    """Ask until there is a job or the study is over.

    Raises:
        TimeoutError: there was none for so long.
    """
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        left = WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, max(0.0, deadline - time.monotonic()))
        asked = send(requests.ask(study_id, worker, 1, left, uuid.uuid4().hex), RETRIES)
        if asked.jobs or asked.over:
            return asked
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"study {study_id} had no job within {wait:g} s: {asked.reason}")


class AsyncJob(_Job):
    """`Job` for asyncio: `async with job`, `await job.report(...)`."""

    def __init__(self, asked: AskedJob, send: AsyncSend, *, finish_at_exit: bool) -> None:
        super().__init__(asked)
        self._send = send
        self._finish_at_exit = finish_at_exit
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeats of {self.id}")

    async def report(self, resource: float, metrics: Mapping[str, float]) -> None:
        """As `Job.report`."""
        report = self._check_in(resource, metrics)
        if report is not None:
            self._hear((await self._send(requests.tell(self.id, [report]), RETRIES)).answer)
            self._stop_if_told()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._close(error)
        if error is None or isinstance(error, TrialStopped):
            if self._finish_at_exit:
                await self._finish()
            return error is not None
        try:
            await self._finish()
        except ApiError as failure:
            log.warning("job %s could not be finished: %s", self.id, failure)
        return False

    async def _finish(self, worker: str | None = None, wait: float = 0.0) -> AskedJobs | None:
        if self._finished:
            return None
        call = self._last_words(worker, wait)
        try:
            following: AskedJobs | None = (await self._send(call, RETRIES)).next
        finally:
            self._heart.cancel()
        return following

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._told_at + self._beat_seconds - time.monotonic()))
            if time.monotonic() >= self._told_at + self._beat_seconds:
                with suppress(ApiError):
                    self._hear((await self._send(requests.heartbeat(self.id), 0)).answer)
                self._told_at = time.monotonic()


class OneAsyncJob:
    """`AsyncClient.job`: asks for a job on entry, and finishes it on exit."""

    def __init__(self, send: AsyncSend, study_id: str, worker: str | None, wait: float | None) -> None:
        self._send = send
        self._study_id = study_id
        self._worker = worker or _own_name()
        self._wait = wait

    async def __aenter__(self) -> AsyncJob:
        asked = _first(await _ask_until_async(self._send, self._study_id, self._worker, self._wait))
        self._job = AsyncJob(asked, self._send, finish_at_exit=True)
        return self._job

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return await self._job.__aexit__(kind, error, traceback)


async def _async_jobs(send: AsyncSend, study_id: str, worker: str | None) -> AsyncGenerator[AsyncJob]:
    """As `AsyncClient.jobs`."""
    worker = worker or _own_name()
    job: AsyncJob | None = None
    try:
        asked: AskedJobs | None = None
        while True:
            if asked is None or not asked.jobs:
                asked = await _ask_until_async(send, study_id, worker, None)
            if not asked.jobs:
                return
            job = AsyncJob(asked.jobs[0], send, finish_at_exit=False)
            yield job
            asked = await job._finish(worker, WAIT_SECONDS)
            if asked is not None and asked.over:
                return
    finally:
        if job is not None:
            await job._finish()


async def _ask_until_async(send: AsyncSend, study_id: str, worker: str, wait: float | None) -> AskedJobs:
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        left = WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, max(0.0, deadline - time.monotonic()))
        asked = await send(requests.ask(study_id, worker, 1, left, uuid.uuid4().hex), RETRIES)
        if asked.jobs or asked.over:
            return asked
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"study {study_id} had no job within {wait:g} s: {asked.reason}")


def _first(asked: AskedJobs) -> AskedJob:
    if not asked.jobs:
        raise StudyOver(f"there are no more jobs: {asked.reason}")
    return asked.jobs[0]


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _number(value: Any) -> Any:
    """A NumPy or torch scalar as the number that it holds; an array of several is none, and stays as it is."""
    plain: Callable[[], Any] | None = getattr(value, "item", None)
    try:
        return plain() if plain is not None else value
    except (ValueError, RuntimeError):
        return value

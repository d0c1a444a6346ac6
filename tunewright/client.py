"""The way to a running service from Python: `Client`, and `AsyncClient` with the same methods.

    with Client() as client:
        study = client.submit(Path("study.yaml"))
        for study in client.watch(study.id):
            print(f"{study.progress:.0%}", study.best)

What may be relied on:
    - problems that the service answers with are `ApiError`; no answer at all is its subclass `ConnectionFailed`;
    - calls that may be repeated are repeated a few times when the connection fails or the service is not available
      for a moment. A study is submitted once, a configuration enqueued once, however often the call had to be sent;
    - iterators over events go on after a lost connection where they stopped.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import httpx_sse

from tunewright import _credentials
from tunewright import _requests as requests
from tunewright._connection import RETRIES, SILENT_SECONDS, Attempts, EventLine, after_event
from tunewright._requests import Call
from tunewright.databases import AsyncDatabaseCalls, DatabaseCalls
from tunewright.errors import ApiError
from tunewright.exchange import AsyncExchangeCalls, ExchangeCalls
from tunewright.job import AsyncJobCalls, JobCalls
from tunewright.labelling import AsyncLabellingCalls, LabellingCalls
from tunewright.life import AsyncLifeCalls, LifeCalls
from tunewright.study import Budget, StudySpec, StudyState, TrialState
from tunewright.views import (
    AuditEntry,
    Curves,
    Diagnosis,
    Event,
    Improvement,
    Measurement,
    OptimizerInfo,
    Page,
    Plot,
    PlotInfo,
    QueuedConfig,
    Study,
    StudySummary,
    Trial,
    TrialDetail,
    Workloads,
)

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
# `Client.wait` and a log that is followed ask this often.
POLL_SECONDS = 0.5


class Client(JobCalls, LifeCalls, ExchangeCalls, DatabaseCalls, LabellingCalls):
    """A connection to a Tunewright service; may be used from several threads.

    Args:
        url: of the service; None takes TUNEWRIGHT_URL from the environment, else http://127.0.0.1:8080.
        timeout: seconds to wait for an answer, beside those for which the service was asked to wait for a job.
        transport: how requests travel, for tests and special networks.
        token: says who asks; None takes it from `token_file`, TUNEWRIGHT_TOKEN, the file that TUNEWRIGHT_TOKEN_FILE
            names, or ~/.config/tunewright/token, whichever there is first, and sends none if there is none.
        token_file: holds a token, and may be read by its owner alone.
    Raises:
        SpecError: the address is no http address, or the token's file cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        *,
        token: str | None = None,
        token_file: Path | None = None,
    ) -> None:
        self.url = requests.service_url(url)
        self._timeout = timeout
        self._http = httpx.Client(
            base_url=self.url,
            headers=_credentials.headers(token, token_file),
            timeout=timeout,
            transport=transport,
            trust_env=requests.through_proxy(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # Studies

    def submit(self, spec: StudySpec | Path | str | Mapping[str, Any], idempotency_key: str | None = None) -> Study:
        """Submit a study.

        Args:
            spec: a StudySpec, a YAML file's Path, YAML text, or a mapping.
            idempotency_key: the same key with the same study gives the study submitted first; None makes a new one.
        Raises:
            SpecError, pydantic.ValidationError: the study is wrong, seen from here.
            ApiError: the service refuses it; `errors` names the fields.
        """
        return self._send(requests.submit(requests.read_spec(spec), idempotency_key or uuid.uuid4().hex))

    def studies(self, state: StudyState | None = None, tags: Sequence[str] = ()) -> Iterator[StudySummary]:
        """Studies, newest first: all of them, or those in a state and with all of these tags."""
        return self._pages(lambda cursor: requests.studies(state, tags, cursor))

    def study(self, study_id: str) -> Study:
        """One study with its state, progress, incumbent and full specification."""
        return self._send(requests.study(study_id))

    def pause(self, study_id: str) -> Study:
        """Pause: running trials save their state and stop."""
        return self._send(requests.steer(study_id, "pause"))

    def resume(self, study_id: str) -> Study:
        """Resume a paused study."""
        return self._send(requests.steer(study_id, "resume"))

    def cancel(self, study_id: str) -> Study:
        """Cancel for good; what was measured stays."""
        return self._send(requests.steer(study_id, "cancel"))

    def extend(self, study_id: str, budget: Budget | Mapping[str, Any]) -> Study:
        """Let a study that has ended go on under a larger budget, what it has used already included.

        Args:
            budget: or its fields, as in `{"trials": 200}`.
        Raises:
            pydantic.ValidationError: it is no budget, seen from here.
            ApiError: the budget is used up already, or the study has not ended or was cancelled.
        """
        return self._send(requests.extend(study_id, budget))

    def delete(self, study_id: str) -> None:
        """Delete a study that is over, with everything measured in it."""
        self._send(requests.delete(study_id))

    def enqueue(self, study_id: str, config: Mapping[str, Any], idempotency_key: str | None = None) -> QueuedConfig:
        """Enqueue a configuration: the next new trial has it, whatever the optimizer would choose.

        Args:
            config: parameter -> value; what it leaves out are the defaults of the search space.
            idempotency_key: the same key with the same configuration gives the entry made first; None makes a new one.
        Raises:
            ApiError: a value does not fit (`errors` says which), or the study has no trial left.
        """
        return self._send(requests.enqueue(study_id, config, idempotency_key or uuid.uuid4().hex))

    def queue(self, study_id: str) -> Iterator[QueuedConfig]:
        """Configurations that were enqueued, oldest first, and the trials that they became."""
        return self._pages(lambda cursor: requests.queue(study_id, cursor))

    def curves(self, study_id: str, metric: str | None = None, *, trials: int = 200, points: int = 100) -> Curves:
        """Learning curves of the best and the newest trials, thinned; None: of the first objective without a bound."""
        return self._send(requests.curves(study_id, metric, trials, points))

    def plots(self, study_id: str) -> list[PlotInfo]:
        """The plots that say something about a study."""
        return self._send(requests.plots(study_id))

    def plot(self, study_id: str, name: str, *, parameter: str | None = None, second: str | None = None) -> Plot:
        """One plot as data for Plotly; `tunewright.plots` makes figures of them."""
        return self._send(requests.plot(study_id, name, parameter, second))

    def improvements(self, study_id: str) -> list[Improvement]:
        """How the incumbent got better, oldest first."""
        return self._send(requests.improvements(study_id))

    # Trials

    def trials(self, study_id: str, state: TrialState | None = None) -> Iterator[Trial]:
        """A study's trials, newest first."""
        return self._pages(lambda cursor: requests.trials(study_id, state, cursor))

    def trial(self, trial_id: str) -> TrialDetail:
        """One trial with its jobs, tracebacks and the end of its log."""
        return self._send(requests.trial(trial_id))

    def reports(self, trial_id: str) -> Iterator[Measurement]:
        """A trial's reports, by resource."""
        return self._pages(lambda cursor: requests.reports(trial_id, cursor))

    def log(self, trial_id: str, *, follow: bool = False) -> Iterator[str]:
        """What a trial has printed, piece by piece; a line says how much of a very long log was left out.

        Args:
            follow: go on with what it prints, until it is over.
        """
        position = 0
        while True:
            page = self._send(requests.log(trial_id, position), retries=None if follow and position else RETRIES)
            if page.text:
                yield page.whole_text
            position = page.next_position
            if page.more:
                continue
            if page.over or not follow:
                return
            time.sleep(POLL_SECONDS)

    # The service

    def workloads(self) -> Workloads:
        """What studies can tune."""
        return self._send(requests.workloads())

    def optimizers(self) -> list[OptimizerInfo]:
        """What studies can be tuned by."""
        return self._send(requests.optimizers())

    def diagnosis(self, study_id: str | None = None) -> Diagnosis:
        """Why nothing is running, in words: of the service, or of one study."""
        return self._send(requests.diagnosis(study_id))

    def audit(self) -> Iterator[AuditEntry]:
        """What was done or refused, newest first; needs a token with the scope `admin` for all projects."""
        return self._pages(requests.audit)

    def ready(self) -> bool:
        """Whether the service is ready for work; False while it starts.

        Raises:
            ConnectionFailed: there is no service.
        """
        try:
            self._send(requests.ready())
        except ApiError as error:
            if error.status != 503:
                raise
            return False
        return True

    # Following

    def events(self, study: str | None = None, after: int | None = None) -> Iterator[Event]:
        """Events as they happen, without end; close the iterator, or break out of the loop, to stop.

        Args:
            study: only this study's.
            after: id of the last event seen; None starts now.
        Raises:
            ConnectionFailed: there is no service. One that was there and went away is waited for instead.
        """
        with closing(self._event_line(study, EventLine(self.url, after))) as events:
            yield from (event for event in events if event is not None)

    def watch(self, study_id: str) -> Iterator[Study]:
        """The study now, again whenever something about it has changed, and last when it is over.

        Raises:
            ApiError: there is no such study, or it was deleted.
        """
        study = self.study(study_id)
        yield study
        if study.state.final:
            return
        with closing(self._event_line(study_id, EventLine(self.url, None, resume=False))) as events:
            for event in events:
                changed = after_event(study, event)
                if changed is None:
                    changed = self._send(requests.study(study_id), retries=None)
                if changed != study:
                    study = changed
                    yield study
                if study.state.final:
                    return

    def wait(self, study_id: str, timeout: float | None = None) -> Study:
        """Wait until a study is over.

        Args:
            timeout: seconds to wait at most.
        Raises:
            TimeoutError: it was not over by then.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        study = self.study(study_id)
        while not study.state.final:
            left = POLL_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise _still_going(study, timeout)
            time.sleep(min(POLL_SECONDS, left))
            study = self._send(requests.study(study_id), retries=None, deadline=deadline)
        return study

    def _send(self, call: Call[T], retries: int | None = RETRIES, deadline: float | None = None) -> T:
        attempts = Attempts(call, self.url, retries)
        while True:
            try:
                return call.read(self._http.request(**call.arguments(), timeout=call.timeout(self._timeout)))
            except (httpx.TransportError, ApiError) as failure:
                pause = attempts.failed(failure)
                if deadline is not None and time.monotonic() + pause > deadline:
                    raise TimeoutError(f"{self.url} did not come back in time") from failure
            time.sleep(pause)

    def _pages(self, call: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
        cursor = None
        while True:
            page = self._send(call(cursor))
            yield from page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    def _event_line(self, study: str | None, line: EventLine) -> Generator[Event | None]:
        """Events, over any number of connections; None whenever a connection stands, so that a caller can look anew."""
        timeout = httpx.Timeout(self._timeout, read=SILENT_SECONDS)
        while True:
            try:
                with httpx_sse.connect_sse(self._http, **requests.events(study, line.after), timeout=timeout) as source:
                    if not source.response.is_success:
                        source.response.read()
                        raise requests.problem(source.response)
                    for message in source.iter_sse():
                        yield line.take(message)
                pause = line.lost(None)
            except (httpx.TransportError, httpx_sse.SSEError, ApiError) as failure:
                pause = line.lost(failure)
            time.sleep(pause)


class AsyncClient(AsyncJobCalls, AsyncLifeCalls, AsyncExchangeCalls, AsyncDatabaseCalls, AsyncLabellingCalls):
    """`Client` for asyncio: the same methods, to be awaited or iterated with `async for`."""

    def __init__(
        self,
        url: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        token: str | None = None,
        token_file: Path | None = None,
    ) -> None:
        self.url = requests.service_url(url)
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=_credentials.headers(token, token_file),
            timeout=timeout,
            transport=transport,
            trust_env=requests.through_proxy(self.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Client.close`."""
        await self._http.aclose()

    async def submit(
        self, spec: StudySpec | Path | str | Mapping[str, Any], idempotency_key: str | None = None
    ) -> Study:
        """As `Client.submit`."""
        return await self._send(requests.submit(requests.read_spec(spec), idempotency_key or uuid.uuid4().hex))

    def studies(self, state: StudyState | None = None, tags: Sequence[str] = ()) -> AsyncIterator[StudySummary]:
        """As `Client.studies`."""
        return self._pages(lambda cursor: requests.studies(state, tags, cursor))

    async def study(self, study_id: str) -> Study:
        """As `Client.study`."""
        return await self._send(requests.study(study_id))

    async def pause(self, study_id: str) -> Study:
        """As `Client.pause`."""
        return await self._send(requests.steer(study_id, "pause"))

    async def resume(self, study_id: str) -> Study:
        """As `Client.resume`."""
        return await self._send(requests.steer(study_id, "resume"))

    async def cancel(self, study_id: str) -> Study:
        """As `Client.cancel`."""
        return await self._send(requests.steer(study_id, "cancel"))

    async def extend(self, study_id: str, budget: Budget | Mapping[str, Any]) -> Study:
        """As `Client.extend`."""
        return await self._send(requests.extend(study_id, budget))

    async def delete(self, study_id: str) -> None:
        """As `Client.delete`."""
        await self._send(requests.delete(study_id))

    async def enqueue(
        self, study_id: str, config: Mapping[str, Any], idempotency_key: str | None = None
    ) -> QueuedConfig:
        """As `Client.enqueue`."""
        return await self._send(requests.enqueue(study_id, config, idempotency_key or uuid.uuid4().hex))

    def queue(self, study_id: str) -> AsyncIterator[QueuedConfig]:
        """As `Client.queue`."""
        return self._pages(lambda cursor: requests.queue(study_id, cursor))

    async def curves(self, study_id: str, metric: str | None = None, *, trials: int = 200, points: int = 100) -> Curves:
        """As `Client.curves`."""
        return await self._send(requests.curves(study_id, metric, trials, points))

    async def plots(self, study_id: str) -> list[PlotInfo]:
        """As `Client.plots`."""
        return await self._send(requests.plots(study_id))

    async def plot(self, study_id: str, name: str, *, parameter: str | None = None, second: str | None = None) -> Plot:
        """As `Client.plot`."""
        return await self._send(requests.plot(study_id, name, parameter, second))

    async def improvements(self, study_id: str) -> list[Improvement]:
        """As `Client.improvements`."""
        return await self._send(requests.improvements(study_id))

    def trials(self, study_id: str, state: TrialState | None = None) -> AsyncIterator[Trial]:
        """As `Client.trials`."""
        return self._pages(lambda cursor: requests.trials(study_id, state, cursor))

    async def trial(self, trial_id: str) -> TrialDetail:
        """As `Client.trial`."""
        return await self._send(requests.trial(trial_id))

    def reports(self, trial_id: str) -> AsyncIterator[Measurement]:
        """As `Client.reports`."""
        return self._pages(lambda cursor: requests.reports(trial_id, cursor))

    async def log(self, trial_id: str, *, follow: bool = False) -> AsyncIterator[str]:
        """As `Client.log`."""
        position = 0
        while True:
            page = await self._send(requests.log(trial_id, position), retries=None if follow and position else RETRIES)
            if page.text:
                yield page.whole_text
            position = page.next_position
            if page.more:
                continue
            if page.over or not follow:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def workloads(self) -> Workloads:
        """As `Client.workloads`."""
        return await self._send(requests.workloads())

    async def optimizers(self) -> list[OptimizerInfo]:
        """As `Client.optimizers`."""
        return await self._send(requests.optimizers())

    async def diagnosis(self, study_id: str | None = None) -> Diagnosis:
        """As `Client.diagnosis`."""
        return await self._send(requests.diagnosis(study_id))

    def audit(self) -> AsyncIterator[AuditEntry]:
        """As `Client.audit`."""
        return self._pages(requests.audit)

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            await self._send(requests.ready())
        except ApiError as error:
            if error.status != 503:
                raise
            return False
        return True

    async def events(self, study: str | None = None, after: int | None = None) -> AsyncIterator[Event]:
        """As `Client.events`."""
        async with aclosing(self._event_line(study, EventLine(self.url, after))) as events:
            async for event in events:
                if event is not None:
                    yield event

    async def watch(self, study_id: str) -> AsyncIterator[Study]:
        """As `Client.watch`."""
        study = await self.study(study_id)
        yield study
        if study.state.final:
            return
        async with aclosing(self._event_line(study_id, EventLine(self.url, None, resume=False))) as events:
            async for event in events:
                changed = after_event(study, event)
                if changed is None:
                    changed = await self._send(requests.study(study_id), retries=None)
                if changed != study:
                    study = changed
                    yield study
                if study.state.final:
                    return

    async def wait(self, study_id: str, timeout: float | None = None) -> Study:
        """As `Client.wait`."""
        study = await self.study(study_id)
        try:
            async with asyncio.timeout(timeout):
                async for seen in self.watch(study_id):
                    study = seen
        except TimeoutError:
            raise _still_going(study, timeout) from None
        return study

    async def _send(self, call: Call[T], retries: int | None = RETRIES) -> T:
        attempts = Attempts(call, self.url, retries)
        while True:
            try:
                return call.read(await self._http.request(**call.arguments(), timeout=call.timeout(self._timeout)))
            except (httpx.TransportError, ApiError) as failure:
                pause = attempts.failed(failure)
            await asyncio.sleep(pause)

    async def _pages(self, call: Callable[[str | None], Call[Page[T]]]) -> AsyncIterator[T]:
        cursor = None
        while True:
            page = await self._send(call(cursor))
            for item in page.items:
                yield item
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    async def _event_line(self, study: str | None, line: EventLine) -> AsyncGenerator[Event | None]:
        timeout = httpx.Timeout(self._timeout, read=SILENT_SECONDS)
        while True:
            try:
                async with httpx_sse.aconnect_sse(
                    self._http, **requests.events(study, line.after), timeout=timeout
                ) as source:
                    if not source.response.is_success:
                        await source.response.aread()
                        raise requests.problem(source.response)
                    async with aclosing(source.aiter_sse()) as messages:
                        async for message in messages:
                            yield line.take(message)
                pause = line.lost(None)
            except (httpx.TransportError, httpx_sse.SSEError, ApiError) as failure:
                pause = line.lost(failure)
            await asyncio.sleep(pause)


def _still_going(study: Study, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"study {study.id} is still {study.state} after {timeout:g} seconds")

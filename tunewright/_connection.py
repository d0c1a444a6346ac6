"""What the clients do when the line breaks, and what they know of a study while they follow it. No I/O."""

from __future__ import annotations

import random
from typing import Any

import httpx
import httpx_sse
from pydantic import BaseModel, Field

from tunewright._requests import Call
from tunewright.errors import ApiError, ConnectionFailed
from tunewright.study import TrialState
from tunewright.views import Best, Event, Study

RETRIES = 3
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
# The service may ask for a longer pause than this one, and gets it at most.
LONGEST_ASKED = 60.0
TOO_MANY = 429
# The service sends something at least every 15 seconds; a line silent for longer than this is dead.
SILENT_SECONDS = 45.0

Failure = httpx.TransportError | ApiError


class Backoff:
    """Growing pauses between attempts, up to a bound."""

    def __init__(self) -> None:
        self.failures = 0

    def pause(self, failure: object = None) -> float:
        """Seconds to wait after one more failure; scattered, so that not all clients come back at once.

        Args:
            failure: where the service says in it how long to wait, it is at least so long.
        """
        longest = min(FIRST_PAUSE * 2.0 ** min(self.failures, 10), LONGEST_PAUSE)
        self.failures += 1
        asked = failure.retry_after or 0.0 if isinstance(failure, ApiError) else 0.0
        return min(asked, LONGEST_ASKED) + random.uniform(0.5, 1.0) * longest  # nosec B311


class Attempts:
    """The attempts to send one call.

    Args:
        retries: attempts after the first; None never gives up while the failure is a passing one.
    """

    def __init__(self, call: Call[Any], url: str, retries: int | None) -> None:
        self._call = call
        self._url = url
        self._retries = retries
        self._backoff = Backoff()

    def failed(self, failure: Failure) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            ApiError: there is none; says why.
        """
        never_began = isinstance(failure, (httpx.ConnectError, httpx.ConnectTimeout)) or (
            isinstance(failure, ApiError) and failure.status == TOO_MANY
        )
        repeatable = self._call.repeatable or never_began
        left = self._retries is None or self._backoff.failures < self._retries
        if not (repeatable and left and passing(failure)):
            raise as_api_error(failure, self._url) from failure
        return self._backoff.pause(failure)


class EventLine:
    """The state of an event stream over its connections.

    Args:
        after: id of the last event seen before; None starts now.
        resume: a new connection goes on where the last one broke; False: it starts with what happens then, for a caller
            who looks the rest up, and who has reached the service before.
    Attributes:
        after: where the next connection goes on.
    """

    def __init__(self, url: str, after: int | None, *, resume: bool = True) -> None:
        self.after = after
        self._url = url
        self._resume = resume
        self._was_there = not resume
        self._backoff = Backoff()

    def take(self, message: httpx_sse.ServerSentEvent) -> Event | None:
        """The event in a message; None for the greeting that opens each connection."""
        self._was_there = True
        self._backoff = Backoff()
        if self._resume and message.id.isdigit():
            self.after = int(message.id)
        return Event.model_validate_json(message.data) if message.data else None

    def lost(self, failure: Failure | httpx_sse.SSEError | None) -> float:
        """Seconds to wait before connecting again; `failure` is None when the service closed the stream.

        Raises:
            ApiError: the service refuses the stream, or none was there from the beginning.
        """
        if isinstance(failure, httpx_sse.SSEError):
            raise ApiError(200, "unexpected answer", f"{self._url} is not a Tunewright service") from failure
        never_there = not self._was_there and self._backoff.failures >= RETRIES
        if failure is not None and (never_there or not passing(failure)):
            raise as_api_error(failure, self._url) from failure
        return self._backoff.pause(failure)


class _Progress(BaseModel):
    counts: dict[TrialState, int]
    progress: float
    seconds_left: float | None
    best: list[Best] = Field(default_factory=list)


def after_event(study: Study, event: Event | None) -> Study | None:
    """The study as it is after an event about it; None when it has to be fetched."""
    if event is None or event.kind != "progress":
        return None
    return study.model_copy(update=dict(_Progress.model_validate(event.body)))


def passing(failure: Failure) -> bool:
    """Whether the same call may succeed in a moment."""
    if isinstance(failure, ApiError):
        return failure.status in (TOO_MANY, 502, 503, 504)
    return not isinstance(failure, (httpx.UnsupportedProtocol, httpx.ProxyError))


def as_api_error(failure: Failure, url: str) -> ApiError:
    """A failure as users meet it."""
    if isinstance(failure, ApiError):
        return failure
    reason = "timed out" if isinstance(failure, httpx.TimeoutException) else str(failure) or type(failure).__name__
    return ConnectionFailed(url, reason)

"""Prometheus metrics: requests as they are answered, studies and readiness as they stand when asked."""

from __future__ import annotations

import logging
import time
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.conductor import Conductor
from service.store.repository import Repository
from tunewright.study import StudyState

log = logging.getLogger(__name__)

# Methods and routes become labels; what clients make up must not.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

registry = CollectorRegistry()
_requests = Histogram(
    "tunewright_request_seconds",
    "Time to answer a request, until its headers are sent",
    ["method", "route", "status"],
    registry=registry,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
_studies = Gauge("tunewright_studies", "Studies in each state", ["state"], registry=registry)
_ready = Gauge("tunewright_ready", "1 when the store, the cluster and the conductor work", registry=registry)
_last_event = Gauge("tunewright_last_event_id", "Id of the newest event", registry=registry)


class RequestMetrics:
    """ASGI middleware that times requests by route, so that ids in paths do not become labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        answered = False

        def observe(status: int) -> None:
            nonlocal answered
            answered = True
            method = scope["method"] if scope["method"] in _METHODS else "other"
            _requests.labels(method, _route(scope), str(status)).observe(time.perf_counter() - began)

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                observe(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, timed)
        except Exception:
            # The answer to it is sent further out, where this does not see it.
            if not answered:
                observe(500)
            raise


def render(repository: Repository, conductor: Conductor) -> bytes:
    """All metrics in Prometheus' text format."""
    ready = conductor.problem is None and conductor.alive
    try:
        counts = repository.study_counts()
        for state in StudyState:
            _studies.labels(state.value).set(counts.get(state, 0))
        _last_event.set(repository.last_event())
    except SQLAlchemyError as error:
        # Numbers are wanted most when something is wrong, so the others are still told.
        log.warning("metrics: the store cannot be read: %s", error)
        ready = False
    _ready.set(ready)
    return generate_latest(registry)


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown")

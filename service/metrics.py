"""Prometheus metrics: requests as they are answered, studies and readiness as they stand when asked."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.conductor import Conductor
from service.store.repository import Repository
from tunewright.study import StudyState

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

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _requests.labels(scope["method"], _route(scope), str(message["status"])).observe(
                    time.perf_counter() - began
                )
            await send(message)

        await self._app(scope, receive, timed)


def render(repository: Repository, conductor: Conductor) -> bytes:
    """All metrics in Prometheus' text format."""
    counts = repository.study_counts()
    for state in StudyState:
        _studies.labels(state.value).set(counts.get(state, 0))
    _ready.set(1 if conductor.problem is None and conductor.alive else 0)
    _last_event.set(repository.last_event())
    return generate_latest(registry)


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown")

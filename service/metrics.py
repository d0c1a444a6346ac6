"""Prometheus metrics: requests, writes and events as they happen; everything else as it stands when asked.

A scrape costs a few queries and a page of text, however many studies there are: only the newest that run are told one
by one. docs/observability.md says what each metric is good for.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import events
from service.conducting import Conducting
from service.events import EventFeed
from service.store import overview, timing
from service.store.overview import Overview
from tunewright import __version__
from tunewright.session import SessionState
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
for _metric in (timing.WRITES, timing.ERRORS, events.LAG, events.REFUSED):
    registry.register(_metric)


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
            _requests.labels(method_label(scope), route_label(scope), str(status)).observe(time.perf_counter() - began)

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


def method_label(scope: Scope) -> str:
    """A request's method, or `other`."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_label(scope: Scope) -> str:
    """The template of the route that answers a request, or `unknown`."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown")


def render(engine: Engine, conducting: Conducting, feed: EventFeed, data_dir: Path) -> bytes:
    """All metrics in Prometheus' text format."""
    try:
        seen: Overview | None = overview.read(engine)
    except SQLAlchemyError as error:
        # Numbers are wanted most when something is wrong, so the others are still told.
        log.warning("metrics: the store cannot be read: %s", error)
        seen = None
    now = CollectorRegistry()
    now.register(_Now([*_of_service(conducting, feed, data_dir, seen), *_of_store(seen, feed)]))
    return generate_latest(registry) + generate_latest(now)


class _Now(Collector):
    """Metrics that were put together for one scrape."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _of_service(conducting: Conducting, feed: EventFeed, data_dir: Path, seen: Overview | None) -> Iterator[Metric]:
    ready = conducting.problem is None and conducting.alive and seen is not None
    yield _gauge("build_info", "1; the label says which release answers", 1, version=__version__)
    yield _gauge("ready", "1 when the store, the cluster and the conductor work", ready)
    yield _gauge("conductor_leads", "1 when this service's conductor is the one that acts", conducting.leads)
    yield _gauge(
        "conductor_tick_age_seconds",
        "Since this service's conductor last looked at the studies",
        conducting.tick_seconds,
    )
    yield _gauge("studies_limit", "Studies that may run at once (max_running_studies)", conducting.most)
    yield CounterMetricFamily(
        "tunewright_runner_crashes", "Runners of studies that died, since this service began", conducting.crashed
    )
    cluster = conducting.cluster
    for name, help_text in (
        ("cpus", "Processors of the cluster"),
        ("free_cpus", "Processors that no trial occupies"),
        ("gpus", "GPUs of the cluster"),
        ("free_gpus", "GPUs that no trial occupies"),
    ):
        yield _gauge(f"cluster_{name}", help_text, None if cluster is None else getattr(cluster, name))
    yield _gauge(
        "cluster_age_seconds", "Age of what is known of the cluster", None if cluster is None else cluster.seconds_ago
    )
    yield _gauge("event_clients", "Clients that follow /v1/events of this service", feed.clients)
    yield _gauge("data_free_bytes", "Free space on the data directory's disk", _free_bytes(data_dir))


def _of_store(seen: Overview | None, feed: EventFeed) -> Iterator[Metric]:
    """What the store says; without it, names without values."""
    studies = GaugeMetricFamily("tunewright_studies", "Studies in each state", labels=["state"])
    progress = GaugeMetricFamily(
        "tunewright_study_progress_ratio", "Done share of a running study's budget", labels=["study"]
    )
    trials = GaugeMetricFamily(
        "tunewright_study_trials", "Trials of a running study in each state", labels=["study", "state"]
    )
    sessions = GaugeMetricFamily("tunewright_sessions", "Tuning sessions in each state", labels=["state"])
    seconds = GaugeMetricFamily(
        "tunewright_study_cluster_seconds", "Time that a running study's trials have run", labels=["study"]
    )
    if seen is not None:
        for state in StudyState:
            studies.add_metric([state.value], seen.studies.get(state, 0))
        for standing in SessionState:
            sessions.add_metric([standing.value], seen.sessions.get(standing, 0))
        for study in seen.running:
            progress.add_metric([study.id], study.progress)
            seconds.add_metric([study.id], study.cluster_seconds)
            for name, count in study.counts.items():
                trials.add_metric([study.id, name], count)
    yield from (studies, sessions, progress, trials, seconds)
    yield _gauge(
        "sessions_touched",
        "Tuning sessions that may have settings of theirs on a database",
        None if seen is None else seen.touched_sessions,
    )
    lease = None if seen is None else seen.conductor
    unread = None if seen is None or feed.newest is None else max(0, seen.last_event - feed.newest)
    yield _gauge("studies_waiting", "Studies that wait for a place", None if seen is None else seen.waiting_studies)
    yield _gauge("trials_running", "Trials that run, of all studies", None if seen is None else seen.running_jobs)
    yield _gauge(
        "conductor_lease_left_seconds",
        "Until the conductor's lease ends unless it is renewed; negative: nobody conducts",
        None if lease is None else lease.seconds_left,
    )
    yield _gauge("last_event_id", "Id of the newest event", None if seen is None else seen.last_event)
    yield _gauge("event_backlog", "Events of the store that listeners here have not been offered yet", unread)


def _gauge(name: str, help_text: str, value: float | None, **labels: str) -> GaugeMetricFamily:
    """A gauge of one sample; of none when the value is not known."""
    family = GaugeMetricFamily(f"tunewright_{name}", help_text, labels=list(labels))
    if value is not None:
        family.add_metric(list(labels.values()), value)
    return family


def _free_bytes(path: Path) -> float | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None

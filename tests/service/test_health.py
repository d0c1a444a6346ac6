"""Liveness, readiness, numbers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from service.store import overview
from service.store.errors import Conflict
from tests.service.conftest import Service, sqlite_only
from tunewright.study import StudyState


def samples(service: Service) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = service.client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def requests(service: Service, method: str, route: str, status: str) -> float:
    labels = frozenset({("method", method), ("route", route), ("status", status)})
    return samples(service).get(("tunewright_request_seconds_count", labels), 0.0)


def break_store(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("gone"))

    monkeypatch.setattr(type(service.repository), "last_event", fail)
    monkeypatch.setattr(overview, "read", fail)


def test_it_is_alive_and_ready(shared_service: Service) -> None:
    answers = [shared_service.client.get(path) for path in ("/healthz", "/readyz")]

    assert [answer.json() for answer in answers] == [{"status": "ok"}] * 2


@sqlite_only
def test_it_is_alive_while_other_requests_have_taken_all_threads(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, enough = threading.Event(), threading.Event()

    def wait_for_the_store(*_: Any) -> Any:
        begun.set()
        enough.wait(30)
        raise Conflict("it was away")

    def leave_one_thread() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1

    monkeypatch.setattr(service.repository, "steer", wait_for_the_store)
    portal = service.client.portal
    assert portal is not None
    portal.call(leave_one_thread)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(service.client.post, "/v1/studies/0123456789abcdef/pause")
        assert begun.wait(30)
        try:
            status = pool.submit(service.client.get, "/healthz").result(timeout=5).status_code
        finally:
            enough.set()

    assert (status, waiting.result().status_code) == (200, 409)


@sqlite_only
def test_it_is_not_ready_while_the_conductor_has_a_problem(service: Service) -> None:
    service.services.conductor.problem = "the cluster is starting"

    answer = service.client.get("/readyz")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the cluster is starting"
    assert service.client.get("/healthz").status_code == 200


@sqlite_only
def test_it_is_not_ready_after_the_conductor_has_ended(service: Service) -> None:
    service.services.conductor.stop()

    answer = service.client.get("/readyz")

    assert answer.status_code == 503
    assert "restart" in answer.json()["detail"]


@sqlite_only
def test_it_is_not_ready_without_its_store(shared_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    break_store(shared_service, monkeypatch)

    answer = shared_service.client.get("/readyz")

    assert answer.status_code == 503
    assert "store" in answer.json()["title"]
    assert "SELECT" not in answer.text


def test_metrics_count_studies_by_state(service: Service) -> None:
    ids = [service.create(name=str(n))["id"] for n in range(3)]
    service.runner(ids[0]).finish(StudyState.FAILED)

    found = samples(service)

    assert found["tunewright_studies", frozenset({("state", "queued")})] == 2
    assert found["tunewright_studies", frozenset({("state", "failed")})] == 1
    assert found["tunewright_ready", frozenset()] == 1


@sqlite_only
def test_metrics_are_told_without_the_store(shared_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    break_store(shared_service, monkeypatch)

    assert samples(shared_service)["tunewright_ready", frozenset()] == 0


def test_requests_are_counted_by_route_and_not_by_id(shared_service: Service) -> None:
    before = requests(shared_service, "GET", "/v1/studies/{study_id}", "404")

    for study in ("a", "b"):
        shared_service.client.get(f"/v1/studies/{study}")

    assert requests(shared_service, "GET", "/v1/studies/{study_id}", "404") == before + 2


@sqlite_only
def test_made_up_methods_and_paths_share_one_label(shared_service: Service) -> None:
    before = requests(shared_service, "other", "unknown", "404")

    for name in ("BREW", "STEEP"):
        shared_service.client.request(name, f"/{name}")

    assert requests(shared_service, "other", "unknown", "404") == before + 2


@sqlite_only
def test_unexpected_errors_are_counted(shared_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    before = requests(shared_service, "GET", "/v1/studies", "500")
    monkeypatch.setattr(type(shared_service.repository), "studies", fail)

    shared_service.client.get("/v1/studies")

    assert requests(shared_service, "GET", "/v1/studies", "500") == before + 1

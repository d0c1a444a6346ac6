"""Every answer that is not a success is one form of document, and gives nothing away."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.app import create_app
from service.hosts import host_name
from service.settings import ServiceSettings
from tests.service.conftest import Service, sqlite_only
from tunewright.errors import TunewrightError, WorkloadError


def fail_with(service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Any:
    """The answer when reading studies raises `error`."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(type(service.repository), "studies", fail)
    return service.client.get("/v1/studies")


def sqlite_error(code: int, text: str, kind: type = sqlite3.OperationalError) -> sqlite3.Error:
    error: sqlite3.Error = kind(text)
    error.sqlite_errorcode = code
    return error


@sqlite_only
@pytest.mark.parametrize(
    ("method", "path", "status", "hint"),
    [
        ("GET", "/v1/nothing", 404, "openapi.json"),
        ("GET", "/v2", 404, "openapi.json"),
        ("PUT", "/v1/studies", 405, "allows"),
        ("POST", "/healthz", 405, "allows GET"),
        ("BREW", "/v1/workloads", 405, "allows GET"),
        ("GET", "/v1/studies/x", 404, "does not exist"),
        ("GET", "/v1/studies?limit=0", 422, "limit"),
    ],
)
def test_every_error_is_a_problem_document(
    shared_service: Service, method: str, path: str, status: int, hint: str
) -> None:
    answer = shared_service.client.request(method, path, follow_redirects=False)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    assert problem["type"].startswith("https://tunewright.dev/problems/")
    assert hint in problem["detail"]


@sqlite_only
def test_a_refused_method_names_those_that_are_allowed(shared_service: Service) -> None:
    assert shared_service.client.post("/healthz").headers["allow"] == "GET"


SECRET = "SELECT secret FROM studies WHERE password = 'hunter2'"


@sqlite_only
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError(SECRET, {"p": "hunter2"}, sqlite_error(sqlite3.SQLITE_BUSY, "database is locked")), 503),
        (OperationalError(SECRET, {}, sqlite_error(sqlite3.SQLITE_IOERR, "error 28 at hunter2")), 503),
        (OperationalError(SECRET, {}, sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full")), 507),
        (PoolTimeout("QueuePool limit of hunter2 reached"), 503),
        (IntegrityError(SECRET, {}, sqlite_error(sqlite3.SQLITE_CONSTRAINT, "hunter2", sqlite3.IntegrityError)), 500),
        (TunewrightError("hunter2 in /etc/passwd"), 500),
        (RuntimeError("hunter2"), 500),
    ],
)
def test_internals_stay_in_the_log(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    answer = fail_with(shared_service, monkeypatch, error)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text
    assert "SELECT" not in answer.text


@sqlite_only
def test_what_an_import_printed_is_cut_short(shared_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = fail_with(shared_service, monkeypatch, WorkloadError("it printed: " + "x" * 100_000))

    assert answer.status_code == 422
    assert len(answer.text) < 10_000


@sqlite_only
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.2", "[::2]:80"]
)
def test_a_foreign_host_is_refused(shared_service: Service, host: str) -> None:
    answer = shared_service.client.get("/healthz", headers={"host": host})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert "allowed_hosts" in answer.json()["detail"]


@sqlite_only
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]", "[::1]:8080"])
def test_loopback_is_served(shared_service: Service, host: str) -> None:
    assert shared_service.client.get("/healthz", headers={"host": host}).status_code == 200


@sqlite_only
def test_hosts_can_be_added(settings: ServiceSettings) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": ["tune.example", "*.lab.example"]}))
    client = TestClient(app)

    statuses = {
        host: client.get("/healthz", headers={"host": host}).status_code
        for host in ("tune.example:80", "a.lab.example", "b.tune.example", "lab.example")
    }

    assert statuses == {"tune.example:80": 200, "a.lab.example": 200, "b.tune.example": 400, "lab.example": 400}


@pytest.mark.parametrize(
    ("header", "name"),
    [("a", "a"), ("A:1", "a"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", ""), ("[", ""), (":80", "")],
)
def test_the_host_name_stands_before_the_port(header: str, name: str) -> None:
    assert host_name(header) == name


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


@pytest.fixture(scope="module")
def document(shared_service: Service) -> dict[str, Any]:
    found: dict[str, Any] = shared_service.client.get("/openapi.json").json()
    return found


@sqlite_only
def test_every_documented_error_is_a_problem_document(document: dict[str, Any]) -> None:
    for operation in operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
        assert {"400", "422", "500", "503"} <= set(errors)
        for answer in errors.values():
            assert answer["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }


@sqlite_only
def test_operations_have_readable_names(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document)]

    assert len(set(names)) == len(names)
    assert {"create_study", "list_studies", "get_trial", "stream_events", "list_workloads"} <= set(names)


@sqlite_only
def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            inner = set().union(*map(references, value.values())) if value else set()
            return inner | ({value["$ref"]} if isinstance(value.get("$ref"), str) else set())
        return set().union(*map(references, value)) if isinstance(value, list) and value else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert "#/components/schemas/HTTPValidationError" not in known


@sqlite_only
def test_the_document_says_what_the_service_answers_with(document: dict[str, Any]) -> None:
    create = document["paths"]["/v1/studies"]["post"]["responses"]
    assert {"201", "409", "413", "415", "507"} <= set(create)
    events = document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    assert list(events) == ["text/event-stream"]


@sqlite_only
def test_the_document_keeps_to_what_most_readers_of_such_documents_know(document: dict[str, Any]) -> None:
    assert "prefixItems" not in json.dumps(document)
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    assert document["components"]["schemas"]["TrialCurve"]["properties"]["median"]["items"] == pair


@sqlite_only
def test_the_document_is_made_once(shared_service: Service) -> None:
    app: FastAPI = shared_service.app

    assert app.openapi() is app.openapi()

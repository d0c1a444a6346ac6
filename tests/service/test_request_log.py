"""Requests in the log and in traces: ids, lines, and what may come in from outside."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from service.logs import HEADER
from tests.service.conftest import Service, sqlite_only, study_json
from workers import logs, tracing
from workers.logs import JsonLines

pytestmark = sqlite_only
UNKNOWN = "0" * 16


class Seen(logging.Handler):
    """Lines as JSON, with what they were about when they were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self._form = JsonLines()

    def emit(self, record: logging.LogRecord) -> None:
        import json

        self.lines.append(json.loads(self._form.format(record)))


@pytest.fixture
def seen() -> Iterator[Seen]:
    found, logger = Seen(), logging.getLogger("service")
    level = logger.level
    logger.addHandler(found)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(found)
    logger.setLevel(level)


def test_a_request_is_logged_with_its_route_and_not_with_its_path(service: Service, seen: Seen) -> None:
    service.client.get(f"/v1/studies/{UNKNOWN}?x=secret")

    (line,) = [line for line in seen.lines if "status" in line]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/studies/{study_id}", 404)
    assert line["study"] == UNKNOWN
    assert line["ms"] > 0
    assert "secret" not in str(seen.lines)


def test_the_trial_that_a_path_names_is_told(service: Service, seen: Seen) -> None:
    service.client.get(f"/v1/trials/{UNKNOWN}-12/log")

    assert (seen.lines[-1]["study"], seen.lines[-1]["trial"]) == (UNKNOWN, 12)


def test_the_job_that_a_path_names_is_told(service: Service, seen: Seen) -> None:
    service.client.post(f"/v1/jobs/{UNKNOWN}-j7a2:heartbeat")

    line = seen.lines[-1]
    assert (line["study"], line["job"], line["attempt"]) == (UNKNOWN, 7, 2)


def test_an_answer_gives_back_the_id_that_came_with_the_request(service: Service, seen: Seen) -> None:
    answer = service.client.get("/v1/studies", headers={HEADER: "ci-42.a"})

    assert answer.headers[HEADER] == "ci-42.a"
    assert seen.lines[-1]["request"] == "ci-42.a"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"}', "-a", "é"])
def test_an_id_that_is_not_sane_is_replaced(service: Service, given: str) -> None:
    answer = service.client.get("/v1/studies", headers={HEADER: given.encode()})

    assert answer.headers[HEADER] != given
    assert len(answer.headers[HEADER]) == 16


def test_questions_of_machines_stay_out_of_the_log(service: Service, seen: Seen) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert service.client.get(path).status_code == 200

    assert seen.lines == []


def test_what_goes_wrong_here_is_found_by_the_id_in_the_answer(
    service: Service, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(type(service.repository), "studies", fail)

    answer = service.client.get("/v1/studies")

    request = answer.headers[HEADER]
    assert answer.status_code == 500
    assert request in answer.json()["detail"]
    failed = next(line for line in seen.lines if "exception" in line)
    assert failed["request"] == request
    assert "RuntimeError: a bug" in failed["exception"]
    assert any(line.get("status") == 500 and line["request"] == request for line in seen.lines)


def test_made_up_methods_and_paths_do_not_reach_the_log(service: Service, seen: Seen) -> None:
    service.client.request("BREW", "/%0Aforged")

    assert (seen.lines[-1]["method"], seen.lines[-1]["route"]) == ("other", "unknown")


def test_a_request_and_its_write_are_one_trace(service: Service) -> None:
    exporter_module = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = exporter_module.InMemorySpanExporter()
    tracing.use(SimpleSpanProcessor(exporter), "service")
    trace = "0af7651916cd43dd8448eb211c80319c"
    try:
        sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        answer = service.client.post("/v1/studies", json=study_json(), headers=sent)
    finally:
        tracing.off()

    # The service writes by itself, too.
    ours = [span for span in exporter.get_finished_spans() if format(span.context.trace_id, "032x") == trace]
    spans = {span.name: span for span in ours}
    request, write = spans["POST /v1/studies"], spans["store write"]
    assert answer.status_code == 201
    assert write.parent.span_id == request.context.span_id
    assert request.attributes["http.response.status_code"] == 201
    assert logs.bound() == {}

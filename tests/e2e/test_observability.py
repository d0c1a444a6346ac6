"""One study on real workers, seen from outside: its logs, its metrics, its trace, and what the doctor says of it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service_process import ServiceProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Collector:
    """Takes spans as OpenTelemetry's collector does."""

    def __init__(self) -> None:
        trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        spans: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sent = trace_service.ExportTraceServiceRequest.FromString(body)
                spans.extend(s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.spans = spans
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of_trace(self, trace: bytes) -> dict[str, list[Any]]:
        """A trace's spans, by name."""
        found: dict[str, list[Any]] = {}
        for span in list(self.spans):
            if span.trace_id == trace:
                found.setdefault(span.name, []).append(span)
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


@pytest.fixture
def ray_dir() -> Iterator[Path]:
    """Ray's sockets and logs; sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="tw-o-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def service(tmp_path: Path, ray_dir: Path, collector: Collector) -> Iterator[ServiceProcess]:
    environment = {
        "TUNEWRIGHT_LOG_FORMAT": "json",
        "TUNEWRIGHT_LOG_LEVEL": "debug",
        "TUNEWRIGHT_RAY_TEMP_DIR": str(ray_dir),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    service = ServiceProcess(tmp_path / "data", environment)
    service.start()
    yield service
    service.stop()


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def lines(*files: Path) -> list[dict[str, Any]]:
    """Log lines that are JSON; Ray's own files have others too."""
    texts = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    return [json.loads(line) for line in texts if line.startswith("{")]


def doctor(service: ServiceProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunewright.cli", "doctor", "--url", service.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_study_is_seen_from_its_request_to_its_legs(
    service: ServiceProcess, collector: Collector, ray_dir: Path, tmp_path: Path
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "seen-1"}
    spec = {
        "name": "seen",
        "workload": "steady:Steady",
        "optimizer": "random",
        "budget": {"trials": 2},
        "data": {"trace": str(tmp_path / "trace.jsonl"), "seconds": 0.01},
    }

    answer = service.client.post("/v1/studies", json=spec, headers=sent)
    study = answer.json()["id"]
    metrics = service.client.get("/metrics").text
    service.wait_for_state(study, "completed")

    assert answer.headers["X-Request-ID"] == "seen-1"
    assert "tunewright_conductor_leads 1.0" in metrics
    assert "tunewright_cluster_cpus 2.0" in metrics
    wait_until(lambda: len(collector.of_trace(bytes.fromhex(trace)).get("leg", [])) == 2, 30, "the legs' spans")
    spans = collector.of_trace(bytes.fromhex(trace))
    assert {"POST /v1/studies", "store write", "study commit", "leg"} <= set(spans)
    assert sorted(attributes(span)["tunewright.trial"] for span in spans["leg"]) == [0, 1]
    assert {attributes(span)["tunewright.study"] for name in ("leg", "study commit") for span in spans[name]} == {study}

    own = lines(service.log)
    assert any(line.get("request") == "seen-1" and line.get("status") == 201 for line in own)
    workers = lines(*ray_dir.glob("session_*/logs/worker-*.err"))
    assert {line["trial"] for line in workers if line.get("study") == study and "leg from" in line["message"]} == {0, 1}


def test_the_doctor_says_why_a_study_does_not_get_on(service: ServiceProcess) -> None:
    failing = service.submit(name="failing", workload="rude:Raises", optimizer="random", budget={"trials": 3})
    service.wait_for_state(failing, "failed")

    well, found = doctor(service), doctor(service, failing)

    assert well.returncode == 0, well.stdout
    assert found.returncode == 1
    assert "all of 3 trials failed, 3 of them with: ValueError: the data are broken" in found.stdout

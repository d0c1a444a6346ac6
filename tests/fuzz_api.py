"""Fuzz the whole API of a real service on a real store, from its own OpenAPI document, with Schemathesis.

    python -m tests.fuzz_api [--cases 10000] [--seed 0]

Runs until so many cases were sent: examples, boundary values, random requests good and bad, and walks along the
document's links. Fails on any 5xx, and on any status, media type, header or body that the document does not allow.
Trials run nowhere; those of studies that are asked for from outside have their runners here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from db_knobs.address import Address
from db_knobs.catalog import Host
from service.store import databases, sessions
from service.store.databases import NewDatabase
from service.store.repository import new_id
from tests.fuzz_hooks import STUDY
from tests.service.session_runners import PROBE, Writer, began, measured
from tests.tunewright.live_service import LiveService
from tunewright.session import SessionSpec

# Never ends by itself; tests/service/test_events.py and test_event_clients.py are about it.
LEFT_OUT = "stream_events"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
    "use_after_free",
)
# Each has a thread of its own.
RUNNERS = 20
ROOT = Path(__file__).parents[1]


@dataclass
class Found:
    """What a run came to.

    Attributes:
        cases: requests that were sent and checked.
        statuses: how many of each status came back.
        failures: what was wrong, in Schemathesis' words.
    """

    cases: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def fuzz(cases: int, seed: int = 0, examples: int = 25) -> Found:
    """Send at least so many cases, or as many as it takes to find something wrong.

    Args:
        examples: cases for each operation in one round.
    """
    found = Found()
    with tempfile.TemporaryDirectory(prefix="tw-fuzz-") as name:
        service = LiveService(Path(name) / "data")
        _give_runners(service)
        service.start()
        try:
            _sow(service)
            while found.cases < cases and not found.failures:
                _round(service, Path(name), seed, examples, found)
                seed += 1
        finally:
            service.close()
    return found


def _give_runners(service: LiveService) -> None:
    """Let studies whose trials are asked for be run, as long as there are not too many of them."""
    started: list[str] = []

    def nudge(study: str | None = None) -> None:
        if study is not None and len(started) < RUNNERS:
            started.append(study)
            service.desk_runners.start(service.settings.store_url, study)

    service.conductor.nudge = nudge  # type: ignore[method-assign]


def _sow(service: LiveService) -> None:
    """Something to find: a study with trials that run and that are over, one that is paused, one that is cancelled."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        studies = [client.post("/v1/studies", json=STUDY).raise_for_status().json()["id"] for _ in range(4)]
        jobs = client.post(f"/v1/studies/{studies[0]}/jobs:ask", json={"count": 2}).raise_for_status().json()["jobs"]
        report = {"reports": [{"resource": jobs[0]["end"], "metrics": {"loss": 0.5}}]}
        client.post(f"/v1/jobs/{jobs[0]['id']}/reports", json=report).raise_for_status()
        client.post(f"/v1/studies/{studies[1]}/pause").raise_for_status()
        client.post(f"/v1/studies/{studies[2]}/cancel").raise_for_status()
    _sow_sessions(service)


def _sow_sessions(service: LiveService) -> None:
    """A database that nobody answers for, and a session on it that has begun."""
    engine = service.repository.engine
    address = Address("postgresql", "127.0.0.1", 1, "tuner", database="shop")
    new = NewDatabase(new_id(), "prod", "default", address, "none", None, Host(2**33, 4), "local:1", PROBE)
    database = databases.add(engine, new)
    session = sessions.create(engine, SessionSpec(database=database.id), database.id)
    Writer.of(engine, service.settings.store_url, session.id).commit(began(), measured())


def _round(service: LiveService, directory: Path, seed: int, examples: int, found: Found) -> None:
    report = directory / f"report-{seed}.ndjson"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
        *("--exclude-operation-id", LEFT_OUT, "--checks", ",".join(CHECKS)),
        *("--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none"),
        *("--continue-on-failure", "--no-shrink", "--suppress-health-check", "all", "--warnings", "off"),
        *("--report", "ndjson", "--report-ndjson-path", str(report), "--request-timeout", "20", "--no-color"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz_hooks", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment, check=False)
    _count(report, found)
    if ended.returncode != 0:
        found.failures.append(f"seed {seed}:\n{ended.stdout}\n{ended.stderr}")


def _count(report: Path, found: Found) -> None:
    """Add up the cases in a report."""
    for line in report.read_text().splitlines() if report.exists() else []:
        for status in _statuses(json.loads(line)):
            found.cases += 1
            found.statuses[status] = found.statuses.get(status, 0) + 1


def _statuses(event: Any) -> list[str]:
    """The statuses of all answers in a report's event."""
    if isinstance(event, dict):
        own = [str(event["status_code"])] if isinstance(event.get("status_code"), int) else []
        return own + [status for value in event.values() for status in _statuses(value)]
    if isinstance(event, list):
        return [status for value in event for status in _statuses(value)]
    return []


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_api", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="send at least so many")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each round has the next one")
    asked = parser.parse_args(argv)
    found = fuzz(asked.cases, asked.seed)
    print("\n".join(found.failures))
    print(f"{found.cases:,} cases; answers: {dict(sorted(found.statuses.items()))}")
    sys.exit(1 if found.failures else 0)


if __name__ == "__main__":
    main()

"""A service on a Ray cluster that runs already: studies go on while the service is away."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.service_process import ServiceProcess, descendants, free_port, kill, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Ray head of its own; yields the settings by which a service joins it."""
    port = free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--include-dashboard=false"),
            *(f"--port={port}", "--num-cpus=2", "--object-store-memory=100000000"),
            *("--disable-usage-stats", f"--temp-dir=/tmp/tw-head-{os.getpid()}"),
        ],
        env={**os.environ, **token},
        stdout=(tmp_path / "head.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until(lambda: "Ray runtime started" in (tmp_path / "head.log").read_text(), 60, "the Ray head")
        yield {"TUNEWRIGHT_RAY_ADDRESS": f"127.0.0.1:{port}", **token}
    finally:
        # Asked politely, Ray takes half a minute to leave.
        processes = descendants(head.pid)
        for process in [psutil.Process(head.pid), *processes]:
            kill(process.pid)
        head.wait()
        psutil.wait_procs(processes, timeout=10)


@pytest.fixture
def service(cluster: dict[str, str], tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path / "data", cluster)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_a_study_goes_on_while_the_service_is_away(service: ServiceProcess, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    study = service.submit(
        name="away",
        workload="steady:Steady",
        optimizer="random",
        budget={"trials": 8},
        parallel=2,
        data={"trace": str(trace), "seconds": 0.05},
    )
    wait_until(lambda: any(t["resource"] > 3 for t in service.trials(study)), 90, "some progress")

    service.kill()
    steps = len(trace.read_text().splitlines())
    wait_until(lambda: len(trace.read_text().splitlines()) > steps + 20, 60, "the study to go on alone")
    service.start()
    service.wait_for_state(study, "completed", 120)

    jobs = [job for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    assert {job["attempts"] for job in jobs} == {1}, "no leg should have been run again"

"""What several end-to-end tests need: a service, and a Ray cluster that is there before services and outlives them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e.service_process import ServiceProcess, descendants, free_port, kill, wait_until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()


@dataclass(frozen=True)
class RayHead:
    """A Ray cluster of one node.

    Attributes:
        environment: the settings by which a service joins it.
        directory: its sockets and logs.
    """

    pid: int
    environment: dict[str, str]
    directory: Path


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    log = tmp_path_factory.mktemp("head") / "log"
    port = free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    directory = Path(f"/tmp/tw-head-{os.getpid()}")
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--include-dashboard=false"),
            *(f"--port={port}", "--num-cpus=2", "--object-store-memory=100000000"),
            *("--disable-usage-stats", f"--temp-dir={directory}"),
        ],
        env={**os.environ, **token},
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until(lambda: "Ray runtime started" in log.read_text(), 60, "the Ray head")
        yield RayHead(process.pid, {"TUNEWRIGHT_RAY_ADDRESS": f"127.0.0.1:{port}", **token}, directory)
    finally:
        # Asked politely, Ray takes half a minute to leave.
        processes = descendants(process.pid)
        for child in [psutil.Process(process.pid), *processes]:
            kill(child.pid)
        process.wait()
        psutil.wait_procs(processes, timeout=10)
        shutil.rmtree(directory, ignore_errors=True)

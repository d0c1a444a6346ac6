"""A real service in a process of its own, for tests that kill it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from tunewright.cli.service_process import inherited
from tunewright.study import StudyState

WORKLOADS = Path(__file__).parent / "workloads"
# Importing and starting Ray on two busy processors takes its time.
READY_SECONDS = 90.0
# A machine may have more to do than these tests; how long things take is measured by benchmarks.
PATIENCE = 4


class ServiceProcess:
    """`tunewright serve` on a data directory; can be killed and started again.

    Attributes:
        url: address; the port stays the same over restarts.

    Args:
        environment: settings; what is set for another service is not inherited.
        directory: where it is started; None: here.
        cpus: what its Ray offers to trials; those that wait most of the time need none of their own.
    """

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        directory: Path | None = None,
        cpus: int = 2,
    ) -> None:
        self.data_dir = data_dir
        self.log = log or data_dir.parent / "service.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)
        self._environment = dict(environment or {})
        self._directory = directory
        self._cpus = cpus
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        if self.client.is_closed:
            self.client = httpx.Client(base_url=self.url, timeout=30)
        log = self.log.open("ab")
        self._process = subprocess.Popen(
            [
                # As the installed command, it does not look for modules in the current directory.
                *(sys.executable, "-P", "-m", "tunewright.cli", "serve"),
                *("--data-dir", str(self.data_dir), "--port", str(self.port), "--ray-cpus", str(self._cpus)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **inherited(),
                "TUNEWRIGHT_IMPORT_PATHS": f'["{WORKLOADS}"]',
                "TUNEWRIGHT_RAY_TEMP_DIR": f"/tmp/tw-test-{os.getpid()}",
                **self._environment,
            },
            start_new_session=True,
            cwd=self._directory,
        )
        log.close()
        wait_until(self._ready, READY_SECONDS, "the service to be ready")

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    def kill(self) -> None:
        """kill -9 of the service's own process, nothing else."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_everything(self) -> None:
        """kill -9 of the service, Ray, runners, workers and trials, as one."""
        victims = [psutil.Process(self.pid), *descendants(self.pid)]
        for victim in victims:
            kill(victim.pid)
        assert self._process is not None
        self._process.wait()
        psutil.wait_procs(victims, timeout=30)

    def stop(self) -> None:
        """End the service as an operator would; by force when that does not help."""
        if self._process is None:
            return
        children = descendants(self.pid) if self._process.poll() is None else []
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, alive = psutil.wait_procs(children, timeout=15)
        for process in alive:
            kill(process.pid)
        self.client.close()

    def cancel_all(self) -> None:
        """Cancel every study that is not over, and wait until no runner is left."""
        for study in self.client.get("/v1/studies?limit=100").json()["items"]:
            if not StudyState(study["state"]).final:
                self.client.post(f"/v1/studies/{study['id']}/cancel")
        wait_until(lambda: not runner_pids(self.pid), 60, "the runners to be gone")

    def submit(self, **spec: Any) -> str:
        answer = self.client.post("/v1/studies", json=spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def study(self, study: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/studies/{study}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def trials(self, study: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/v1/studies/{study}/trials?limit=500").json()["items"]
        return found

    def trial(self, trial: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/trials/{trial}").json()
        return found

    def reports(self, trial: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/v1/trials/{trial}/reports?limit=500").json()["items"]
        return found

    def wait_for_state(self, study: str, state: str, seconds: float = 120) -> dict[str, Any]:
        wait_until(lambda: self.study(study)["state"] == state, seconds, f"study {study} to be {state}")
        return self.study(study)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition, looking often.

    Args:
        seconds: what it may take on a quiet machine; a busy one gets more.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE * seconds:g} s for {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def living(pid: int) -> dict[int, list[str]]:
    """A process's descendants that live, each with its name and its command line."""
    found = {}
    for process in descendants(pid):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = [process.name(), *process.cmdline()]
        except psutil.NoSuchProcess:
            pass
    return found


def runner_pids(pid: int) -> list[int]:
    """The study runners among a process's descendants."""
    return [found for found, words in living(pid).items() if "StudyRunner" in " ".join(words)]


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

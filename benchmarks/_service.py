"""A real service with a local Ray, in processes of its own and on a fresh data directory."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tunewright.cli.service_process import inherited

SERVE = (sys.executable, "-m", "tunewright.cli", "serve")
WORKLOADS = Path(__file__).parent / "workloads"
READY_SECONDS = 120.0
STOP_SECONDS = 40.0
POLL_SECONDS = 0.02


class Service:
    """A running service, and the few requests that benchmarks make of it.

    Attributes:
        process: the service's own process; Ray and trials are its children.
    """

    def __init__(self, process: psutil.Popen, host: str, port: int) -> None:
        self.process = process
        self.host = host
        self.port = port
        self.url = f"http://{host}:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        answer.raise_for_status()
        return answer.json()

    def submit(self, spec: Mapping[str, Any]) -> str:
        """Submit a study; returns its id."""
        answer = self.client.post("/v1/studies", json=spec)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def study(self, study: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/v1/studies/{study}")
        return found

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a list."""
        cursor = ""
        while True:
            page = self.get(f"{path}?limit=500{cursor}")
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={page['next_cursor']}"

    def wait_until_over(self, study: str, seconds: float = 300) -> dict[str, Any]:
        """Wait for a study's end.

        Raises:
            RuntimeError: it failed.
        """
        over = ("completed", "failed", "cancelled")
        wait(lambda: self.study(study)["state"] in over, seconds, f"study {study} to end", every=0.2)
        found = self.study(study)
        if found["state"] == "failed":
            raise RuntimeError(f"study {study} failed: {found['reason']}")
        return found

    def cancel(self, study: str) -> None:
        """Cancel a study and wait until its trials are gone."""
        self.client.post(f"/v1/studies/{study}/cancel").raise_for_status()
        self.wait_until_over(study)


@contextmanager
def running_service(cpus: int = 2, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start a service, hand it out once it is ready, stop it and remove everything it wrote.

    Args:
        environment: settings beside those that every benchmark has; nothing else is set.
    Raises:
        RuntimeError: it ended, or was not ready in time; the end of its log is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="tw-bench-", ignore_cleanup_errors=True) as name:
        home, port = Path(name), free_port()
        log = home / "service.log"
        with log.open("wb") as output:
            process = psutil.Popen(
                [*SERVE, "--data-dir", str(home / "data"), "--port", str(port), "--ray-cpus", str(cpus)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    # Ray's sockets need a short path.
                    "TUNEWRIGHT_RAY_TEMP_DIR": str(home / "ray"),
                    **inherited(),
                    "TUNEWRIGHT_IMPORT_PATHS": json.dumps([str(WORKLOADS)]),
                    **(environment or {}),
                },
                start_new_session=True,
            )
        service = Service(process, "127.0.0.1", port)
        try:
            wait(lambda: _ready(service), READY_SECONDS, "the service to be ready", every=0.2)
            yield service
        except (RuntimeError, TimeoutError, httpx.HTTPError) as error:
            raise RuntimeError(f"{error}; the service's log ends with:\n{log.read_text()[-4000:]}") from error
        finally:
            service.client.close()
            _stop(process)


def wait(condition: Callable[[], object], seconds: float, what: str, every: float = POLL_SECONDS) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(every)


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _ready(service: Service) -> bool:
    if service.process.poll() is not None:
        raise RuntimeError(f"the service ended with status {service.process.returncode}")
    try:
        return service.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _stop(process: psutil.Popen) -> None:
    """As an operator would; by force where that does not help, so that nothing of it outlives the benchmark."""
    children = process.children(recursive=True) if process.poll() is None else []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(children, timeout=10)
    for child in left:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            pass

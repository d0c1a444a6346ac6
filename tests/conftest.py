"""What several rooms' tests need: a child process to run workloads in, message by message; a PostgreSQL server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from db_knobs.lab.postgres import PrivatePostgres, binaries
from tunewright.child import CHANNEL_VARIABLE

# Tests run side by side. Threads of BLAS and of OpenMP would spin while they wait for processors that others have: with
# two of them a fit of a few samples takes four times the processor's time. Trials are given their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What tests find must not depend on how full the disk of this machine is; Ray and our services read it here.
os.environ["RAY_local_fs_capacity_threshold"] = "1"  # noqa: SIM112

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

TEST_WORKLOADS = Path(__file__).parent / "tunewright"


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """Between processes only Unicode travels, and some tests log what is none."""
    report = yield
    if report is not None and "sections" in report:
        report["sections"] = [
            (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report["sections"]
        ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_directories_left() -> Iterator[None]:
    """Ray's directories have short paths, since they hold sockets, and so they are none of pytest's."""
    yield
    for path in Path("/tmp").glob(f"tw-*-{os.getpid()}"):
        shutil.rmtree(path, ignore_errors=True)


class ChildProcess:
    """`python -m tunewright.child`, spoken to as a worker does; what it prints goes to `log`."""

    def __init__(self, root: Path) -> None:
        self.states = root / "states"
        self.states.mkdir()
        self.log = root / "log"
        out, channel = os.pipe()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tunewright.child"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[channel],
                cwd=root,
                env={**os.environ, CHANNEL_VARIABLE: str(channel), "PYTHONPATH": str(TEST_WORKLOADS)},
                text=True,
            )
        os.close(channel)
        self._out = os.fdopen(out)

    def send(self, type: str, **fields: Any) -> None:
        self.write(json.dumps({"type": type, **fields}))

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        line = self._out.readline()
        if not line:
            raise EOFError(f"the child is gone; its log:\n{self.log.read_text()}")
        message: dict[str, Any] = json.loads(line)
        return message

    def start_leg(self, workload: str, end: float, **fields: Any) -> None:
        """Send a leg; `fields` replace parts of the message."""
        message = {
            "workload": workload,
            "config": {},
            "leg": {"start": 0, "end": end, "seed": 0},
            "data": {},
            "objectives": ["loss"],
            "checkpoint": {"root": str(self.states), "latest": None, "resource": 0, "interval": 1000},
        }
        self.send("leg", **{**message, **fields})

    def messages(self) -> Iterator[dict[str, Any]]:
        """Messages up to and with "ended"; every checkpoint is acknowledged after it was handed on."""
        while True:
            message = self.receive()
            yield message
            if message["type"] == "checkpoint":
                self.send("saved", problem=None)
            if message["type"] == "ended":
                return

    def run_leg(self, workload: str, end: float, **fields: Any) -> list[dict[str, Any]]:
        self.start_leg(workload, end, **fields)
        return list(self.messages())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()


@pytest.fixture
def start_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], ChildProcess]]:
    """Starts child processes, which can import the modules beside `tests/tunewright`; ends them after the test."""
    children: list[ChildProcess] = []

    def start() -> ChildProcess:
        children.append(ChildProcess(tmp_path_factory.mktemp("child")))
        return children[-1]

    yield start
    for child in children:
        child.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL server that all tests share; each makes databases of its own on it."""
    if binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    server = PrivatePostgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres: PrivatePostgres) -> Iterator[str]:
    """URL of an empty database."""
    database = postgres.create_database()
    yield postgres.url(database)
    postgres.drop_database(database)

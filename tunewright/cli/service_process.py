"""A service of one's own as a child process, which never outlives the block that uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from tunewright.cli.serve import READY
from tunewright.errors import TunewrightError

START_SECONDS = 120
# The service stops its trials and its Ray in well under this.
STOP_SECONDS = 45
# What is set of Tunewright's for this machine, and not for another service.
OWN_VARIABLES = ("TUNEWRIGHT_CACHE_DIR", "TUNEWRIGHT_OFFLINE", "TUNEWRIGHT_RAY_TEMP_DIR")
LOG_LINES = 20


class ServiceEnded(TunewrightError):
    """The service did not start, or ended by itself; the message has the end of its log."""


@contextmanager
def running_service(data_dir: Path, port: int, *, cpus: int, ray_temp_dir: Path | None = None) -> Iterator[str]:
    """Start a service, give its address when it is ready, and end it and everything that it started.

    SIGTERM in the block ends the block as Ctrl-C does, with exit code 143. Main thread only.

    Raises:
        ServiceEnded: it did not start, or ended before the block did.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "serve.log"
    process: subprocess.Popen[str] | None = None

    def child_ended(_signal: int, _frame: Any) -> None:
        if process is not None and process.poll() is not None:
            raise ServiceEnded(_last_words(log, process.returncode))

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _end)}
    try:
        process = _start(data_dir, port, cpus, ray_temp_dir, log)
        address = _wait_until_ready(process, log)
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, child_ended)
        if process.poll() is not None:
            raise ServiceEnded(_last_words(log, process.returncode))
        yield address
    finally:
        # A second Ctrl-C must not leave processes behind.
        before.setdefault(signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if process is not None:
            _stop(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def inherited() -> dict[str, str]:
    """The environment without what is set for another service, such as the address of its store."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("TUNEWRIGHT_") or name in OWN_VARIABLES
    }


def _end(_signal: int, _frame: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _start(data_dir: Path, port: int, cpus: int, ray_temp_dir: Path | None, log: Path) -> subprocess.Popen[str]:
    # -P: a package named `service` or `models` in the current directory is not ours.
    command = [sys.executable, "-P", "-m", "tunewright.cli", "serve"]
    command += ["--data-dir", str(data_dir), "--port", str(port), "--ray-cpus", str(cpus)]
    if ray_temp_dir is not None:
        command += ["--ray-temp-dir", str(ray_temp_dir)]
    with log.open("w") as output:
        # Its own session: Ctrl-C reaches this process alone, which then ends the service in order.
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=output, text=True, env=inherited(), start_new_session=True
        )


def _wait_until_ready(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    too_late = Timer(START_SECONDS, process.terminate)
    too_late.start()
    try:
        for line in process.stdout:
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
    finally:
        too_late.cancel()
    raise ServiceEnded(_last_words(log, process.wait()))


def _last_words(log: Path, code: int) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join([f"the service ended with exit code {code}; the end of its log:", *lines])


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in _session(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if process.stdout is not None:
        process.stdout.close()


def _session(leader: int) -> list[int]:
    """Processes that are left of a session (where /proc tells)."""
    left = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[3]) == leader and after_name[0] != "Z":
            left.append(int(stat.parent.name))
    return left

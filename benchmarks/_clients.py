"""Processes that ask and tell, one sequential loop in each; ours, or a peer's that speaks the same lines.

{"study": ..., ...}    -> {"ready": true}     the client knows its study and has made one pair
{"seconds": 5}         -> {"pairs": 812, "seconds": 5.003, "errors": 0}
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tunewright import Client

ROOT = Path(__file__).parents[1]
OURS = (sys.executable, "-m", "benchmarks._clients")


class Clients:
    """So many client processes, for one measurement after the other."""

    def __init__(self, command: Sequence[str], count: int) -> None:
        self._processes = [
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            for _ in range(count)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give the first of them an order; its answer."""
        _say(self._processes[0], order)
        return _hear(self._processes[0])

    def pairs_per_second(self, count: int, order: Mapping[str, Any], seconds: float) -> tuple[float, int]:
        """Let the first `count` of them work at a study for a while, at the same time.

        Returns:
            Their pairs per second, all together, and how many requests failed and were made again.
        """
        working = self._processes[:count]
        for process in working:
            _say(process, order)
        for process in working:
            _hear(process)
        began = time.perf_counter()
        for process in working:
            _say(process, {"seconds": seconds})
        found = [_hear(process) for process in working]
        took = time.perf_counter() - began
        return sum(each["pairs"] for each in found) / took, sum(each["errors"] for each in found)


def main() -> None:
    """Be a client of ours: `order` names the service and the study."""
    for line in sys.stdin:
        order = json.loads(line)
        with Client(order["url"]) as client:
            jobs = client.jobs(order["study"])
            job = next(jobs)
            job.report(job.end, {"loss": random.random()})
            job = next(jobs)
            _print({"ready": True})
            seconds = json.loads(sys.stdin.readline())["seconds"]
            pairs, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                job.report(job.end, {"loss": random.random()})
                job = next(jobs)
                pairs += 1
            took = time.perf_counter() - began
            job.report(job.end, {"loss": random.random()})
            jobs.close()
        _print({"pairs": pairs, "seconds": took, "errors": 0})


def _say(process: subprocess.Popen[str], line: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(line) + "\n")


def _hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a client ended with status {process.wait()}; what it said stands above")
    found: dict[str, Any] = json.loads(line)
    return found


def _print(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

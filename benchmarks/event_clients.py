"""Do those who follow events slow the others down? A real service, with nobody listening and with fifty who do.

Of the fifty one reads slowly (20 kB/s) and one never reads. They run in a process of their own on the same machine,
whose share of the processors is part of what is measured.

reads            100 requests per second, open loop, while two trials report 25 times a second each
report to page   meanwhile, from a trial's call of `report` to its arrival in a client that reads
memory           the service's memory while two trials report as fast as they can
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks._harness import Cell, Result, arguments, percentile, publish
from benchmarks._open_loop import open_loop
from benchmarks._service import Service, running_service, wait
from benchmarks._stamped import listening, stamped

NAME = "event_clients"
CLIENTS = 50
RATE = 100
PAUSE = 0.04
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        seconds: of reads, for each number of clients in each repeat.
        reports: per trial, while memory is measured.
    """

    repeats: int
    seconds: float
    reports: int


QUICK = Scale(repeats=1, seconds=12, reports=20_000)
WHOLE = Scale(repeats=3, seconds=30, reports=60_000)


@dataclass
class _Heard:
    """What the listeners took; filled when they have gone."""

    readers: list[int] = field(default_factory=list)
    slow: int = 0
    cut_off: int = 0


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    asked = arguments(NAME, __doc__ or "", argv)
    scale = scale or (QUICK if asked.quick else WHOLE)
    result = Result(NAME, asked.command)
    with running_service() as service:
        service.wait_until_over(service.submit(stamped(5, seconds=0)))
        for number in range(scale.repeats):
            # Nobody, everybody, and the other way round the next time.
            for clients in sorted((0, CLIENTS), reverse=bool(number % 2)):
                _at_work(service, scale, number, clients, result)
        _memory(service, scale, result)
    for clients in (0, CLIENTS):
        rows = [row for row in result.rows if row["measurement"] == "at work" and row["clients"] == clients]
        for name in ("read_p99_ms", "report_to_page_p99_ms", "report_to_page_ms"):
            result.headline[f"{name}_{clients}_clients"] = round(median(_floats(rows, name)), 2)
    publish(result, asked.json)


def _at_work(service: Service, scale: Scale, number: int, clients: int, result: Result) -> None:
    """Reads and reports side by side."""
    steps = int((scale.seconds + 4) / PAUSE)
    delays: list[float] = []

    def take(event: dict[str, Any], at: float) -> None:
        delays.extend(at - metrics["sent"] for _, _, metrics in event["body"].get("reports", []))

    with _listeners(service, clients) as heard, listening(service, take):
        study = service.submit(stamped(steps, seconds=PAUSE))
        wait(lambda: len(delays) > 0, 60, "the first report")
        paths = ("/v1/studies", f"/v1/studies/{study}", f"/v1/studies/{study}/trials", f"/v1/trials/{study}-0")
        requests = [("read", paths[n % len(paths)]) for n in range(int(RATE * scale.seconds))]
        answers = asyncio.run(open_loop(service.host, service.port, requests, RATE))
        service.wait_until_over(study)
        wait(lambda: len(delays) >= 2 * steps, 10, "the last events")
    wrong = {answer.status for answer in answers} - {200}
    if wrong:
        raise RuntimeError(f"reads were answered with {sorted(wrong)}")
    times = [answer.seconds * 1e3 for answer in answers]
    row: dict[str, Cell] = {
        "measurement": "at work",
        "repeat": number,
        "clients": clients,
        "read_p50_ms": percentile(times, 0.5),
        "read_p99_ms": percentile(times, 0.99),
        "report_to_page_ms": median(delays) * 1e3,
        "report_to_page_p99_ms": percentile(delays, 0.99) * 1e3,
        "least_heard_kb": min(heard.readers, default=0) / 1e3,
        "most_heard_kb": max(heard.readers, default=0) / 1e3,
        "load_1m": round(os.getloadavg()[0], 1),
    }
    result.rows.append(row)


def _memory(service: Service, scale: Scale, result: Result) -> None:
    """What the service holds while events come faster than the slow one reads and the dead one never does."""
    with _listeners(service, CLIENTS) as heard:
        before = _megabytes(service)
        study = service.submit(stamped(scale.reports, seconds=0))
        samples: list[float] = []

        def over() -> bool:
            samples.append(_megabytes(service))
            return bool(service.study(study)["state"] == "completed")

        wait(over, 600, "the reports", every=SAMPLE_SECONDS)
    half = len(samples) // 2
    row: dict[str, Cell] = {
        "measurement": "memory",
        "clients": CLIENTS,
        "reports": 2 * scale.reports,
        "before_mb": before,
        "first_half_mb": max(samples[: half or 1]),
        "second_half_mb": max(samples[half:]),
        "sent_to_each_mb": min(heard.readers) / 1e6,
        "slow_took_mb": heard.slow / 1e6,
        "cut_off": heard.cut_off,
    }
    result.rows.append(row)
    result.headline["memory_growth_mb"] = round(max(samples) - before, 1)
    result.headline["memory_growth_later_mb"] = round(max(samples[half:]) - max(samples[: half or 1]), 1)


@contextmanager
def _listeners(service: Service, clients: int) -> Iterator[_Heard]:
    """So many clients, the slow one and the one that never reads among them; afterwards, what they heard."""
    heard = _Heard()
    if clients == 0:
        yield heard
        return
    command = [sys.executable, "-m", "benchmarks._listeners", service.host, str(service.port), str(clients - 2)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the listeners could not connect")
        try:
            yield heard
        finally:
            process.stdin.close()
            told = json.loads(process.stdout.readline())
            heard.readers, heard.slow, heard.cut_off = told["readers"], told["slow"], told["cut_off"]


def _megabytes(service: Service) -> float:
    return float(service.process.memory_info().rss) / 1e6


def _floats(rows: Sequence[dict[str, Cell]], name: str) -> list[float]:
    return [float(value) for row in rows if isinstance(value := row[name], (int, float))]


if __name__ == "__main__":
    main()

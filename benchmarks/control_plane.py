"""How quick is the control plane while studies run? A real service, a local Ray, everything on this machine.

reads              200 requests per second, open loop, while an XGBoost study runs two trials at a time
reports            two trials that report as fast as they can; every report must be in the store, once
report to page     from a trial's call of `report` to its arrival in a client of /v1/events
submit to running  from POST /v1/studies until a worker has begun the first trial, on a warm cluster

Whoever else uses the machine is measured as well. Two columns tell how much: the load average, and by how much the
load generator, which sleeps nearly all the time, was woken too late.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from benchmarks._harness import Cell, Result, arguments, percentile, publish
from benchmarks._open_loop import Answer, open_loop
from benchmarks._service import Service, running_service, wait
from benchmarks._stamped import listening, stamped

NAME = "control_plane"
RATE = 200
# Of ten reads that the dashboard and the client make.
MIX = {"study": 3, "studies": 2, "trials": 2, "trial": 2, "curves": 1}


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        warm_trials: trials that the XGBoost study has behind it before it is read.
        reports: per trial, two trials at a time.
        page_reports: per trial, 25 a second.
    """

    repeats: int
    read_seconds: float
    warm_trials: int
    reports: int
    page_reports: int
    submissions: int


QUICK = Scale(repeats=1, read_seconds=15, warm_trials=20, reports=5_000, page_reports=150, submissions=3)
WHOLE = Scale(repeats=3, read_seconds=30, warm_trials=100, reports=20_000, page_reports=500, submissions=7)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    asked = arguments(NAME, __doc__ or "", argv)
    scale = scale or (QUICK if asked.quick else WHOLE)
    result = Result(NAME, asked.command)
    with running_service() as service:
        _warm_up(service)
        submit_to_running(service, scale, result)
        reports_per_second(service, scale, result)
        report_to_page(service, scale, result)
        reads(service, scale, result)
    publish(result, asked.json)


def reads(service: Service, scale: Scale, result: Result) -> None:
    """Answer times of reads while two trials train."""
    study = service.submit(_xgboost(trials=100_000, rounds=81))
    wait(lambda: sum(service.study(study)["counts"].values()) >= scale.warm_trials, 600, "trials", every=0.5)
    p50, p99 = [], []
    for number in range(scale.repeats):
        requests = _requests(study, scale, seed=number)
        before = _cpu_seconds(service)
        answers = asyncio.run(open_loop(service.host, service.port, requests, RATE))
        busy = (_cpu_seconds(service) - before) / (len(requests) / RATE)
        wrong = [answer.status for answer in answers if answer.status != 200]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(answers)} reads were answered with {sorted(set(wrong))}")
        result.rows += [_read_row(number, kind, answers) for kind in [*MIX, "all"]]
        trials = sum(service.study(study)["counts"].values())
        late = percentile([a.late for a in answers], 0.99) * 1e3
        result.rows.append(
            _row(
                "reads", number, rate=RATE, service_cpus=round(busy, 2), study_trials=trials, generator_late_p99_ms=late
            )
        )
        p50.append(percentile([a.seconds for a in answers], 0.5) * 1e3)
        p99.append(percentile([a.seconds for a in answers], 0.99) * 1e3)
    service.cancel(study)
    result.headline |= {"read_p50_ms": round(median(p50), 2), "read_p99_ms": round(median(p99), 2)}


def reports_per_second(service: Service, scale: Scale, result: Result) -> None:
    """Reports from two trials to the store, each durable before it is acknowledged."""
    rates = []
    for number in range(scale.repeats):
        study = service.submit(stamped(scale.reports, seconds=0))
        service.wait_until_over(study)
        found = [list(service.pages(f"/v1/trials/{study}-{trial}/reports")) for trial in range(2)]
        total = sum(len(reports) for reports in found)
        if total != 2 * scale.reports:
            raise RuntimeError(f"{total} reports are in the store; {2 * scale.reports} were made")
        first = min(reports[0]["metrics"]["sent"] for reports in found)
        last = max(_seconds(reports[-1]["at"]) for reports in found)
        rates.append(total / (last - first))
        result.rows.append(_row("reports", number, count=total, seconds=last - first, per_second=rates[-1]))
    result.headline["reports_per_second"] = round(median(rates), 1)


def report_to_page(service: Service, scale: Scale, result: Result) -> None:
    """From a trial's `report` to the event in a client that listens."""
    medians, tails = [], []
    for number in range(scale.repeats):
        expected = 2 * scale.page_reports
        delays: list[float] = []

        def take(event: dict[str, Any], at: float, delays: list[float] = delays) -> None:
            delays += [at - metrics["sent"] for _, _, metrics in event["body"].get("reports", [])]

        with listening(service, take):
            study = service.submit(stamped(scale.page_reports, seconds=0.04))
            service.wait_until_over(study)
            wait(lambda seen=delays, all=expected: len(seen) >= all, 10, "the last events")  # type: ignore[misc]
        medians.append(median(delays) * 1e3)
        tails.append(percentile(delays, 0.99) * 1e3)
        result.rows.append(
            _row("report to page", number, count=len(delays), p50_ms=medians[-1], p99_ms=tails[-1])
            | {"max_ms": max(delays) * 1e3}
        )
    result.headline |= {
        "report_to_page_ms": round(median(medians), 1),
        "report_to_page_p99_ms": round(median(tails), 1),
    }


def submit_to_running(service: Service, scale: Scale, result: Result) -> None:
    """From the request until a worker has begun the first trial, and until its first report."""
    begun = []
    for number in range(scale.submissions):
        at = time.perf_counter()
        study = service.submit(_xgboost(trials=2, rounds=9))
        wait(lambda: _first_job(service, study).get("attempts", 0) >= 1, 60, "the first attempt")  # noqa: B023
        begun.append(time.perf_counter() - at)
        wait(lambda: _trials(service, study)[-1]["resource"] > 0, 60, "the first report")  # noqa: B023
        reported = time.perf_counter() - at
        result.rows.append(_row("submit to running", number, seconds=begun[-1]) | {"first_report_s": reported})
        service.wait_until_over(study)
    result.headline["submit_to_running_s"] = round(median(begun), 3)


def _warm_up(service: Service) -> None:
    """One small study, so that Ray has started workers and the workloads' declarations are known."""
    service.wait_until_over(service.submit(_xgboost(trials=2, rounds=3)))


def _requests(study: str, scale: Scale, seed: int) -> list[tuple[str, str]]:
    paths: dict[str, Callable[[int], str]] = {
        "studies": lambda _: "/v1/studies",
        "study": lambda _: f"/v1/studies/{study}",
        "trials": lambda _: f"/v1/studies/{study}/trials",
        "curves": lambda _: f"/v1/studies/{study}/curves",
        "trial": lambda number: f"/v1/trials/{study}-{number % scale.warm_trials}",
    }
    kinds = [kind for kind, share in MIX.items() for _ in range(share)]
    chosen = random.Random(seed).choices(kinds, k=int(RATE * scale.read_seconds))
    return [(kind, paths[kind](number)) for number, kind in enumerate(chosen)]


def _read_row(number: int, kind: str, answers: Sequence[Answer]) -> dict[str, Cell]:
    own = [a for a in answers if kind in ("all", a.kind)]
    times = [a.seconds * 1e3 for a in own]
    return _row(
        f"read {kind}", number, count=len(own), p50_ms=percentile(times, 0.5), p99_ms=percentile(times, 0.99)
    ) | {"max_ms": max(times), "kilobytes": round(sum(a.size for a in own) / len(own) / 1000, 1)}


def _row(measurement: str, number: int, **cells: Cell) -> dict[str, Cell]:
    return {"measurement": measurement, "repeat": number, **cells, "load_1m": round(os.getloadavg()[0], 1)}


def _trials(service: Service, study: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get(f"/v1/studies/{study}/trials")["items"]
    return found or [{"resource": 0}]


def _first_job(service: Service, study: str) -> dict[str, Any]:
    answer = service.client.get(f"/v1/trials/{study}-0")
    jobs: list[dict[str, Any]] = answer.json()["jobs"] if answer.status_code == 200 else []
    return jobs[0] if jobs else {}


def _cpu_seconds(service: Service) -> float:
    times = service.process.cpu_times()
    return float(times.user + times.system)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _xgboost(trials: int, rounds: int) -> dict[str, Any]:
    return {
        "name": "XGBoost on digits",
        "workload": "xgboost",
        "optimizer": "asha",
        "fidelity": {"name": "rounds", "min": 1, "max": rounds},
        "budget": {"trials": trials},
        "parallel": 2,
    }


if __name__ == "__main__":
    main()

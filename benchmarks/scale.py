"""How far does one store, and one machine, carry? What grows with reports, workers, studies and tuning sessions.

    python -m benchmarks.scale [--quick] [--json FILE]

Workers are simulated: the real loops on the real store (SQLite), each study in a process of its own, with legs that
cost nothing and report as soon as their last report is durable. So a rate is the most that there is, and what a worker
may ask for is that rate over the number of workers. Each cost is measured at several sizes and fitted as
`fixed + each * size`; docs/scale.md extrapolates from these and says what moves the limits.

reports_per_second       durable reports at the largest number of workers, all studies together
seconds_between_reports  how often each of the workers may then report
bytes_per_report         of the store, with everything that a study keeps beside its reports
load_us_per_report       of a new runner that reads a study's journal
read_p99_ms              the slowest page of the API's lists on the largest store
heartbeat_ms             one lease renewed, and so the bound on what runs on one store
runner_mib, session_mib  memory of a study's and of a session's runner, of its own
interval_ms              one interval of a tuning session written
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from sqlalchemy import Engine, text

from benchmarks._harness import Cell, Result, arguments, percentile, publish
from benchmarks._memory import peak_mib
from benchmarks._scale_workers import run, spec
from service.store import leases
from service.store.engine import migrate, open_engine
from service.store.journal import SqlJournal
from service.store.repository import Repository
from tests.tunewright.session_writer import SessionWriter, attach

NAME = "scale"
READS = 200
_IMPORTED = """
import importlib, sys, psutil
importlib.import_module(sys.argv[1])
print(psutil.Process().memory_full_info().uss / 2**20)
"""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        workers: at once; each makes so many `steps`.
        studies: in the store, for lists and heartbeats.
        intervals: of a tuning session.
    """

    workers: Sequence[int]
    steps: int
    studies: Sequence[int]
    intervals: int


QUICK = Scale(workers=(100, 1_000, 2_000), steps=20, studies=(100, 1_000), intervals=200)
WHOLE = Scale(workers=(100, 1_000, 3_000, 10_000), steps=100, studies=(100, 1_000, 10_000), intervals=2_000)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    asked = arguments(NAME, "How far does one store carry?", argv)
    scale = scale or (QUICK if asked.quick else WHOLE)
    result = Result(NAME, asked.command)
    with tempfile.TemporaryDirectory(prefix="tw-scale-") as directory:
        for workers in scale.workers:
            _workers(Path(directory, f"workers-{workers}.db"), workers, scale, result)
        _studies(Path(directory, "studies.db"), scale, result)
        _sessions(Path(directory, "sessions.db"), scale, result)
    _processes(result)
    publish(result, asked.json)


def _workers(path: Path, workers: int, scale: Scale, result: Result) -> None:
    """Many workers at once; then what their reports cost whoever reads them."""
    engine, url = _store(path)
    ran = run(url, workers, scale.steps)
    reports = sum(study.reports for study in ran)
    if reports != workers * scale.steps:
        raise RuntimeError(f"{reports} reports were answered; {workers * scale.steps} were made")
    seconds = max(study.ended for study in ran) - min(study.began for study in ran)
    waits = [wait for study in ran for wait in study.waits]
    size = _bytes(path) / reports
    loading = _loading(engine, url, ran[0].study)
    reads = _reads(Repository(engine), ran[0].study)
    engine.dispose()
    path.unlink()
    result.rows.append(
        {
            "workers": workers,
            "studies": len(ran),
            "reports": reports,
            "seconds": seconds,
            "reports/s": reports / seconds,
            "answer p50 ms": 1e3 * median(waits),
            "answer p99 ms": 1e3 * percentile(waits, 0.99),
        }
    )
    result.rows.append(
        {
            "reports": reports,
            "bytes/report": size,
            "of one study": ran[0].reports,
            "load s": loading[0],
            "load MiB": loading[1],
            "slowest page ms": reads,
        }
    )
    result.headline |= {
        "reports_per_second": round(reports / seconds, 1),
        "seconds_between_reports": round(workers / (reports / seconds), 5),
        "bytes_per_report": round(size, 1),
        "load_us_per_report": round(1e6 * loading[0] / ran[0].reports, 1),
        "read_p99_ms": round(reads, 2),
    }


def _loading(engine: Engine, url: str, study: str) -> tuple[float, float | None]:
    """Seconds, and MiB at most, that a new runner needs to read a study's journal."""
    with engine.connect() as connection:
        found = leases.lease(connection, leases.study_lease(study))
    journal = SqlJournal(url, study, 0 if found is None else found.epoch)
    # First the memory, whose measurement loads twice: then nothing is loaded for the first time.
    peak = peak_mib(journal.load)
    return _seconds(journal.load), peak


def _reads(repository: Repository, study: str) -> float:
    """The slowest of what a page asks for, in ms, each the 99th percentile of READS: of fewer it would be the worst."""
    calls: Sequence[Callable[[], object]] = (
        lambda: repository.studies(limit=50),
        lambda: repository.study(study),
        lambda: repository.trials(study, limit=100),
        lambda: repository.reports(f"{study}-0", limit=500),
        lambda: repository.curves(study, "loss", trials=50, points=200),
        lambda: repository.improvements(study),
    )
    for call in calls:
        call()
    return 1e3 * max(percentile([_seconds(call) for _ in range(READS)], 0.99) for call in calls)


def _studies(path: Path, scale: Scale, result: Result) -> None:
    """Studies that are there, and leases that their runners renew every second."""
    engine, url = _store(path)
    repository = Repository(engine)
    made: list[str] = []
    costs: list[tuple[int, float]] = []
    for studies in scale.studies:
        began = time.perf_counter()
        added = [repository.create_study(spec(10, 10)).id for _ in range(studies - len(made))]
        creation = (time.perf_counter() - began) / len(added)
        made += added
        beats = _heartbeats(engine, url, made[-100:])
        listing = median(_seconds(lambda: repository.studies(limit=50)) for _ in range(5))
        waiting = median(_seconds(repository.unfinished) for _ in range(5))
        costs.append((studies, waiting))
        result.rows.append(
            {
                "studies": studies,
                "submit ms": 1e3 * creation,
                "heartbeat ms": 1e3 * beats,
                "list ms": 1e3 * listing,
                "conductor's look ms": 1e3 * waiting,
                "kB/study": _bytes(path) / studies / 1e3,
            }
        )
        result.headline["heartbeat_ms"] = round(1e3 * beats, 2)
    result.rows.append(_fit("conductor's look, by studies that are not over", costs))
    engine.dispose()


def _heartbeats(engine: Engine, url: str, studies: Sequence[str]) -> float:
    """Seconds of one renewed lease, of many studies in turn."""
    journals = []
    for study in studies:
        epoch = leases.acquire(engine, leases.study_lease(study), "benchmark", seize=True)
        assert epoch is not None
        journals.append(SqlJournal(url, study, epoch))
    # A runner's first has a connection to open.
    journals[0].heartbeat()
    shared = journals[0]._engine
    for journal in journals:
        journal._opened = shared
    return median(_seconds(journal.heartbeat) for journal in journals)


def _sessions(path: Path, scale: Scale, result: Result) -> None:
    """A tuning session's journal, as its runner writes it."""
    engine, url = _store(path)
    writer = SessionWriter(engine, url, attach(engine))
    writer.begin()
    empty = _bytes(path)
    seconds = [_seconds(writer.interval) for _ in range(scale.intervals)]
    result.rows.append(
        {
            "intervals": scale.intervals,
            "interval p50 ms": 1e3 * median(seconds),
            "interval p99 ms": 1e3 * percentile(seconds, 0.99),
            "bytes/interval": (_bytes(path) - empty) / scale.intervals,
        }
    )
    result.headline["interval_ms"] = round(1e3 * median(seconds), 2)
    writer.let_go()
    engine.dispose()


def _processes(result: Result) -> None:
    """Memory that a runner has for itself, before its study is read."""
    for name, module in (("runner_mib", "workers.study_runner"), ("session_mib", "workers.session_runner")):
        told = subprocess.run([sys.executable, "-c", _IMPORTED, module], capture_output=True, text=True, check=True)
        result.headline[name] = round(float(told.stdout), 1)


def _fit(what: str, measured: Sequence[tuple[int, float]]) -> dict[str, Cell]:
    """`fixed + each * size` through the measurements, by least squares."""
    sizes, seconds = np.array(measured, dtype=np.float64).T
    each, fixed = np.polyfit(sizes, seconds, 1)
    return {"cost": what, "fixed ms": 1e3 * float(fixed), "each µs": 1e6 * float(each)}


def _store(path: Path) -> tuple[Engine, str]:
    url = f"sqlite:///{path}"
    engine = open_engine(url)
    migrate(engine)
    return engine, url


def _bytes(path: Path) -> int:
    """Of the store, once its log is written back."""
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return path.stat().st_size


def _seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


if __name__ == "__main__":
    main()

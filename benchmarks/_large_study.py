"""Our side of a large study: its rows as its runner would have left them, and reports that go on coming."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import insert

from benchmarks._large_trials import RUNGS, LargeTrial, LiveReport, large_trials, live_reports, names, paced
from optimizers.protocol import Incumbent, Job, JobEnd, Report
from service.store import leases
from service.store.engine import migrate, open_engine
from service.store.journal import SqlJournal
from service.store.repository import Repository
from service.store.tables import ReportRow, TrialRow
from tunewright.study import StudySpec, StudyState, TrialState
from workers.journal import Batch, Fact, JobEnded, JobStarted, Reported, Status

BEAT_SECONDS = 1.0


class LargeStudy:
    """A study that runs, and whose runner this is.

    Attributes:
        id: of the study.
    """

    def __init__(self, url: str, trials: int) -> None:
        engine = open_engine(url)
        migrate(engine)
        self._engine = engine
        self._planned = 2 * trials
        self.id = Repository(engine).create_study(_spec(self._planned)).id
        epoch = leases.acquire(engine, leases.study_lease(self.id), "benchmark", seize=True)
        assert epoch is not None
        self._journal = SqlJournal(url, self.id, epoch)
        self._counts: Counter[TrialState] = Counter()
        self._batch = 0
        self._best: Incumbent | None = None
        self._began = time.time() - 3600
        for chunk in large_trials(trials):
            self._fill(chunk)
        self._live = live_reports(trials)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renews the lease, so that the service does not start a runner of its own."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                self._journal.heartbeat()

        self._journal.heartbeat()
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._journal.release()
            self._engine.dispose()

    def live(self, seconds: float, rate: float) -> int:
        """Commit reports for so long, each in a batch of its own; returns how many."""
        reports = 0
        for report in paced(self._live, rate, seconds):
            self._commit(self._facts(report))
            reports += 1
        return reports

    def _fill(self, trials: Sequence[LargeTrial]) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(TrialRow), [_trial_row(self.id, trial) for trial in trials])
            connection.execute(insert(ReportRow), [row for trial in trials for row in _report_rows(self.id, trial)])
        for trial in trials:
            self._counts[_state(trial)] += 1
            resource, loss = trial.curve[-1]
            if self._best is None or loss < self._best.metrics["loss"]:
                self._best = Incumbent(trial.number, dict(trial.config), resource, {"loss": loss})
                self._commit([], improved=True)

    def _facts(self, report: LiveReport) -> list[Fact]:
        trial = report.trial
        facts: list[Fact] = [Reported(Report(trial, trial, report.resource, {"loss": report.loss}), 1)]
        if report.begins:
            self._counts[TrialState.RUNNING] += 1
            facts.insert(0, JobStarted(Job(trial, trial, dict(report.config), 0, RUNGS[-1], rung=0, bracket=0)))
        if report.ends:
            self._counts[TrialState.RUNNING] -= 1
            self._counts[TrialState.COMPLETED] += 1
            facts.append(JobEnded(trial, trial, JobEnd.COMPLETED, TrialState.COMPLETED))
        return facts

    def _commit(self, facts: Sequence[Fact], improved: bool = False) -> None:
        self._batch += 1
        progress = self._counts.total() / self._planned
        status = Status(
            state=StudyState.RUNNING,
            active_seconds=time.time() - self._began,
            counts=dict(self._counts),
            progress=progress,
            seconds_left=3600 * (1 - progress),
            best=[self._best] if self._best else [],
        )
        self._journal.commit(Batch(self._batch, time.time(), facts, [], status, improved))


def _spec(trials: int) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "large",
            "workload": "none",
            "space": {name: {"type": "float", "low": 0, "high": 1} for name in names()},
            "objectives": [{"metric": "loss"}],
            "fidelity": {"name": "epochs", "max": RUNGS[-1]},
            "budget": {"trials": trials},
        }
    )


def _state(trial: LargeTrial) -> TrialState:
    return TrialState.COMPLETED if trial.whole else TrialState.STOPPED


def _trial_row(study: str, trial: LargeTrial) -> dict[str, object]:
    resource, loss = trial.curve[-1]
    return {
        "study_id": study,
        "number": trial.number,
        "state": _state(trial),
        "config": trial.config,
        "resource": resource,
        "metrics": {"loss": loss},
        "started_at": 0.0,
        "ended_at": 1.0,
        "seconds": 1.0,
        "rung": len(trial.curve) - 1,
        "bracket": 0,
    }


def _report_rows(study: str, trial: LargeTrial) -> Iterator[dict[str, object]]:
    for at, (resource, loss) in enumerate(trial.curve):
        yield {
            "study_id": study,
            "trial": trial.number,
            "resource": resource,
            "metrics": {"loss": loss},
            "job": trial.number,
            "attempt": 1,
            "seconds": 1.0,
            "seq": 10 * trial.number + at,
            "at": 0.0,
        }

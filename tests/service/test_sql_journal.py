"""What the journal's batches leave in the tables, and how it behaves when the store does not."""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from optimizers.protocol import JobEnd
from service.store import journal as journal_module
from service.store import leases
from service.store.engine import writing
from service.store.journal import SqlJournal
from service.store.repository import Repository
from service.store.tables import EventRow
from tests.service.conftest import Runner, complete_spec, ended, incumbent, report, sqlite_only, start
from tunewright.study import StudyState, TrialState
from tunewright.views import Study
from workers.journal import AttemptStarted, JournalUnavailable, Printed

W = TrialState.WAITING


def test_a_trial_follows_its_jobs(repository: Repository, runner: Runner, study: Study) -> None:
    seen = []
    batches: list[tuple[list[Any], list[Printed]]] = [
        ([start(0, 0)], []),
        ([report(0, 0, 1, 0.9), report(0, 0, 3, 0.7)], []),
        ([ended(0, 0, W)], [Printed(0, "first leg, ")]),
        ([start(1, 0, begin=3.0, end=9.0, rung=1)], []),
        ([report(1, 0, 9, 0.1), ended(1, 0, TrialState.COMPLETED)], [Printed(0, "second leg")]),
    ]
    for facts, printed in batches:
        runner.commit(*facts, printed=printed)
        trial = repository.trial(f"{study.id}-0")
        seen.append((trial.state.value, trial.resource, trial.rung, trial.ended_at is not None, trial.log))

    assert seen == [
        ("running", 0.0, None, False, ""),
        ("running", 3.0, None, False, ""),
        ("waiting", 3.0, None, True, "first leg, "),
        ("running", 3.0, 1, False, "first leg, "),
        ("completed", 9.0, 1, True, "first leg, second leg"),
    ]
    assert trial.metrics == {"loss": 0.1, "size": 1.0}
    assert trial.config == {"x": 0.1, "n": 2, "flag": True}
    assert [(job.start, job.end, job.state) for job in trial.jobs] == [(0, 3, "completed"), (3, 9, "completed")]


def test_a_trial_that_goes_on_in_the_batch_that_ended_its_job_runs(
    repository: Repository, runner: Runner, study: Study
) -> None:
    runner.commit(start(0, 0))

    runner.commit(report(0, 0, 3), ended(0, 0, W), start(1, 0, begin=3.0, end=9.0))

    trial = repository.trial(f"{study.id}-0")
    assert (trial.state, trial.ended_at) == (TrialState.RUNNING, None)


def test_a_job_may_start_and_end_in_one_batch(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0), ended(0, 0, TrialState.CANCELLED))

    assert repository.trial(f"{study.id}-0").state is TrialState.CANCELLED


def test_a_trials_time_leaves_out_the_time_before_its_last_attempt(
    repository: Repository, runner: Runner, study: Study
) -> None:
    runner.commit(start(0, 0))
    runner.at += 3_600.0
    runner.commit(attempts=[AttemptStarted(0, 2, "host:7")])

    runner.commit(ended(0, 0, W))

    trial = repository.trial(f"{study.id}-0")
    assert trial.seconds == 1.0
    assert (trial.jobs[0].attempts, trial.jobs[0].worker) == (2, "host:7")


def test_a_trial_never_ran_for_less_than_no_time(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0))
    # The clock is set back.
    runner.at -= 600.0
    runner.commit(ended(0, 0, W))
    runner.commit(start(1, 0, begin=3.0, end=9.0))
    runner.commit(ended(1, 0, TrialState.COMPLETED))

    assert repository.trial(f"{study.id}-0").seconds == 1.0


def test_what_a_program_says_is_kept_whatever_characters_it_has(
    repository: Repository, runner: Runner, study: Study
) -> None:
    said = "a\0b\ud800c\n\N{SNOWMAN}"
    runner.commit(start(0, 0, why={"said": said}))

    runner.commit(ended(0, 0, TrialState.FAILED, JobEnd.FAILED, problem=said, traceback=said))
    runner.commit(state=StudyState.FAILED, reason=said)

    kept = "a?b?c\n\N{SNOWMAN}"
    trial = repository.trial(f"{study.id}-0")
    assert (trial.problem, trial.jobs[0].traceback) == (kept, kept)
    assert repository.study(study.id).reason == kept
    events = repository.events(0, limit=100)
    assert [event.body["ended"][0]["problem"] for event in events if event.body.get("ended")] == [kept]


def test_a_late_report_is_kept_and_marked(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0), report(0, 0, 1), ended(0, 0, W))

    runner.commit(report(0, 0, 2, late=True))

    page = repository.reports(f"{study.id}-0", limit=10)
    assert [(item.resource, item.late) for item in page.items] == [(1.0, False), (2.0, True)]


def test_a_study_shows_its_newest_status(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0), counts={TrialState.RUNNING: 1}, progress=0.25, seconds_left=9.0)
    runner.commit(
        counts={W: 1},
        progress=0.5,
        best=[incumbent(0, 0.5)],
        improved=True,
        state=StudyState.PAUSED,
    )
    runner.commit(counts={W: 1}, best=[incumbent(0, 0.5)], state=StudyState.FAILED, reason="it broke")

    found = repository.study(study.id)
    assert (found.state, found.reason, found.counts, found.active_seconds) == (
        "failed",
        "it broke",
        {"waiting": 1},
        3.0,
    )
    assert (found.best[0].trial, found.best[0].config) == (0, {"x": 0.1, "n": 2, "flag": True})
    assert found.started_at is not None
    assert found.ended_at is not None
    assert (found.ended_at - found.started_at).total_seconds() == 2.0
    assert [(entry.trials, entry.seconds) for entry in repository.improvements(study.id)] == [(1, 2.0)]


def test_trials_that_wait_when_a_study_ends_have_stopped(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0), ended(0, 0, W))

    runner.finish()

    assert repository.trial(f"{study.id}-0").state is TrialState.STOPPED
    record = runner.journal.load()
    assert record.state is StudyState.COMPLETED


def test_every_batch_is_one_progress_event_and_every_change_of_state_one_study_event(
    repository: Repository, runner: Runner, study: Study
) -> None:
    runner.commit(start(0, 0, why={"score": float("inf")}), progress=0.1)
    runner.commit(report(0, 0, 1, 0.9), progress=0.2)
    runner.finish()

    events = repository.events(0, limit=100)
    assert [(e.kind, e.body.get("state")) for e in events] == [
        ("study", "queued"),
        ("study", "running"),
        ("progress", None),
        ("progress", None),
        ("study", "completed"),
        ("progress", None),
    ]
    assert events[2].body["jobs"][0]["why"] == {"score": None}
    assert events[3].body["reports"] == [[0, 1, {"loss": 0.9, "size": 1.0}]]
    assert [event.id for event in events] == sorted(event.id for event in events)


def test_old_events_are_pruned(repository: Repository, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "KEPT_EVENTS", 10)
    monkeypatch.setattr(journal_module, "PRUNE_EVERY", 5)

    for _ in range(40):
        runner.commit()

    with repository.engine.connect() as connection:
        left = connection.execute(select(func.count()).select_from(EventRow)).scalar_one()
    assert 10 <= left < 15


def test_a_batch_that_breaks_a_constraint_is_not_tried_again(runner: Runner, study: Study) -> None:
    runner.commit(start(0, 0), report(0, 0, 1))

    with pytest.raises(IntegrityError):
        runner.commit(report(0, 0, 2), report(0, 0, 1))

    assert runner.journal.load().batch == 1
    assert len(runner.journal.load().facts) == 2


def test_a_deleted_study_fences_its_runner_off(repository: Repository, runner: Runner, study: Study) -> None:
    runner.commit(state=StudyState.COMPLETED)
    repository.delete_study(study.id)

    with pytest.raises(journal_module.Fenced):
        runner.commit(start(0, 0))
    with pytest.raises(journal_module.Fenced):
        runner.journal.heartbeat()


@pytest.fixture
def file_limit(tmp_path: Path, runner: Runner) -> Iterator[Any]:
    """Call it to let no file grow beyond what the store's log has now: the kernel's way to say that a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit() -> None:
        size = (tmp_path / "store.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


@sqlite_only
def test_a_full_disk_loses_nothing_and_the_batch_goes_through_later(
    repository: Repository, runner: Runner, study: Study, file_limit: Any
) -> None:
    big = [start(n, n, why={"text": "x" * 10_000}) for n in range(20)]
    runner.commit()
    before = runner.journal.load()
    file_limit()
    errors = []
    for _ in range(2):
        with pytest.raises(JournalUnavailable) as unavailable:
            runner.commit(*big)
        errors.append(str(unavailable.value))
        runner.batch -= 1
    during = repository.study(study.id)
    loaded = runner.journal.load()

    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    runner.commit(*big)

    assert loaded == before
    assert during.state is StudyState.RUNNING
    assert all("INSERT" not in error and "xxx" not in error for error in errors)
    assert len(runner.journal.load().facts) == 20


@sqlite_only
def test_a_store_with_no_page_left_is_unavailable(
    repository: Repository, runner: Runner, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = runner.journal._engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    with pytest.raises(JournalUnavailable, match="full"):
        runner.commit(*[start(n, n, why={"text": "x" * 10_000}) for n in range(20)])

    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1073741823")
    runner.batch -= 1
    runner.commit(start(0, 0))
    assert len(runner.journal.load().facts) == 1


BATCHES = 8


def write_studies(url: str, studies: list[tuple[str, int]], trouble: Any) -> None:
    """Some runners' work, each in a thread with an engine of its own, in a process of theirs."""

    def write(study: str, epoch: int) -> None:
        runner = Runner(SqlJournal(url, study, epoch))
        for n in range(BATCHES):
            runner.commit(start(n, n), *[report(n, n, r) for r in range(1, 6)], ended(n, n, W))
            runner.journal.heartbeat()

    with ThreadPoolExecutor(len(studies)) as pool:
        for written in [pool.submit(write, *study) for study in studies]:
            if (error := written.exception()) is not None:
                trouble.put(f"{type(error).__name__}: {error}")


@pytest.mark.slow
def test_eight_runners_write_at_once_while_people_read(repository: Repository, store_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    trouble = context.SimpleQueue()
    ids = [repository.create_study(complete_spec()).id for _ in range(8)]
    held = [(study, leases.acquire(repository.engine, leases.study_lease(study), "test")) for study in ids]
    runners = [context.Process(target=write_studies, args=(store_url, part, trouble)) for part in (held[:4], held[4:])]
    done = threading.Event()
    problems: list[Exception] = []

    def read() -> None:
        for study in itertools.cycle(ids):
            if done.wait(0.01):
                return
            try:
                repository.studies(limit=10)
                repository.trials(study, limit=50)
                repository.curves(study, "loss", trials=10, points=10)
                repository.events(0, limit=100)
            except Exception as error:
                problems.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for process in runners:
        process.start()
    for process in runners:
        process.join(timeout=120)
    done.set()
    reader.join(timeout=30)

    assert trouble.empty()
    assert [process.exitcode for process in runners] == [0, 0]
    assert problems == []
    for study in ids:
        assert len(SqlJournal(store_url, study, 0).load().facts) == BATCHES * 7


def test_a_write_that_fails_leaves_nothing_behind(repository: Repository, study: Study) -> None:
    def fail() -> None:
        with writing(repository.engine) as connection:
            connection.execute(EventRow.__table__.insert().values(study_id="x", kind="study", at=0.0, body={}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert all(event.study != "x" for event in repository.events(0, limit=100))

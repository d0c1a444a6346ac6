"""A batch's facts as rows.

Whoever trains fast waits for these statements, so they are built once: to put one together anew takes SQLAlchemy
several times as long as to send it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, case, insert, select, update

from optimizers.protocol import Job
from service.store import storable
from service.store.tables import Base, EnqueuedRow, JobRow, ReportRow, TrialRow
from tunewright.study import TrialState
from workers.journal import AttemptStarted, Batch, Enqueued, Fact, JobEnded, JobStarted, Reported


def _table(row: type[Base]) -> Table:
    found = row.__table__
    assert isinstance(found, Table)
    return found


_TRIALS, _JOBS, _REPORTS, _ENQUEUED = map(_table, (TrialRow, JobRow, ReportRow, EnqueuedRow))


def update_of(table: Table, key: Sequence[str], fields: Iterable[str], **values: Any) -> Any:
    """An update whose parameters are `of_<column>` for its key and `new_<column>` for what it sets."""
    new = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in fields}
    statement = update(table).values({**new, **values})
    for name in key:
        statement = statement.where(table.c[name] == bindparam(f"of_{name}", type_=table.c[name].type))
    return statement


_KEY = ("study_id", "number")
_INSERT_TRIALS, _INSERT_JOBS, _INSERT_REPORTS = insert(_TRIALS), insert(_JOBS), insert(_REPORTS)
_SHOW_REPORT = update_of(_TRIALS, _KEY, ("resource", "metrics")).where(_TRIALS.c.resource < bindparam("new_resource"))
_RESUME_TRIAL = update_of(_TRIALS, _KEY, ("state", "rung"), ended_at=None)
_BEGIN_ATTEMPT = update_of(
    _JOBS, _KEY, ("attempts", "attempt_at", "worker", "ask_key", "ask_digest", "losses", "failures")
)
_END_JOB = update_of(_JOBS, _KEY, ("state", "trial_state", "end_seq", "ended_at", "problem", "traceback", "told"))
_BEGAN = (
    select(_JOBS.c.attempt_at)
    .where(_JOBS.c.study_id == bindparam("of_study_id"), _JOBS.c.number == bindparam("job"))
    .scalar_subquery()
)
_ENDED = bindparam("new_ended_at", type_=_TRIALS.c.ended_at.type)
# The clock may have been set back meanwhile.
_RAN = case((_ENDED > _BEGAN, _ENDED - _BEGAN), else_=0.0)
_END_TRIAL = update_of(_TRIALS, _KEY, ("state", "ended_at", "problem"), seconds=_TRIALS.c.seconds + _RAN)
_TAKE_ENQUEUED = update_of(_ENQUEUED, _KEY, ("seq",))
_START_ENQUEUED = update_of(_ENQUEUED, _KEY, ("trial",))
_NAME_RETRIED = update_of(
    _TRIALS,
    _KEY,
    (),
    retry_of=select(_ENQUEUED.c.retry_of)
    .where(_ENQUEUED.c.study_id == bindparam("of_study_id"), _ENQUEUED.c.number == bindparam("enqueued"))
    .scalar_subquery(),
)


def write(connection: Connection, study_id: str, batch: Batch, seq: int) -> None:
    """Insert and update rows for a batch's facts, whose sequence numbers start at `seq`."""
    numbered = list(enumerate(batch.facts, start=seq))
    started = [(n, fact.job) for n, fact in numbered if isinstance(fact, JobStarted)]
    reports = [(n, fact) for n, fact in numbered if isinstance(fact, Reported)]
    _insert_jobs(connection, study_id, batch, started)
    insert_reports(connection, study_id, batch.at, reports)
    _write_enqueued(connection, study_id, numbered)
    # One batch may end a trial's job and start its next one, so trials move in the order of the facts.
    for n, fact in numbered:
        if isinstance(fact, JobStarted):
            _resume_trial(connection, study_id, fact.job)
        elif isinstance(fact, JobEnded):
            _end_job(connection, study_id, batch.at, n, fact)


def insert_reports(connection: Connection, study_id: str, at: float, reports: list[tuple[int, Reported]]) -> None:
    """Add reports under their sequence numbers, and show a trial's newest with it."""
    if not reports:
        return
    connection.execute(
        _INSERT_REPORTS,
        [
            {
                "study_id": study_id,
                "trial": fact.report.trial,
                "resource": fact.report.resource,
                "metrics": dict(fact.report.metrics),
                "job": fact.report.job,
                "attempt": fact.attempt,
                "seconds": fact.report.seconds,
                "seq": seq,
                "at": at,
                "late": fact.late,
            }
            for seq, fact in reports
        ],
    )
    newest = {fact.report.trial: fact.report for _, fact in sorted(reports, key=lambda r: r[1].report.resource)}
    connection.execute(
        _SHOW_REPORT,
        [
            {
                **_of(study_id, trial),
                "new_resource": report.resource,
                "new_metrics": dict(report.metrics),
            }
            for trial, report in newest.items()
        ],
    )


def _insert_jobs(connection: Connection, study_id: str, batch: Batch, started: list[tuple[int, Job]]) -> None:
    attempts = {attempt.job: attempt for attempt in batch.attempts}
    new_trials = [job for _, job in started if job.begins_trial]
    if new_trials:
        connection.execute(
            _INSERT_TRIALS,
            [
                {
                    "study_id": study_id,
                    "number": job.trial,
                    "state": TrialState.RUNNING,
                    "config": job.config,
                    "metrics": {},
                    "rung": job.rung,
                    "bracket": job.bracket,
                    "started_at": batch.at,
                }
                for job in new_trials
            ],
        )
    if started:
        # Who has asked for a job begins its first attempt with it.
        first = [(seq, job, attempts.pop(job.id, None)) for seq, job in started]
        connection.execute(_INSERT_JOBS, [_job_row(study_id, batch.at, *each) for each in first])
    for attempt in attempts.values():
        new = {f"new_{name}": value for name, value in _attempt_fields(attempt).items()}
        connection.execute(_BEGIN_ATTEMPT, {**_of(study_id, attempt.job), **new, "new_attempt_at": batch.at})


def _job_row(study_id: str, at: float, seq: int, job: Job, attempt: AttemptStarted | None) -> Mapping[str, Any]:
    return {
        "study_id": study_id,
        "number": job.id,
        "trial": job.trial,
        "start": job.start,
        "end": job.end,
        "rung": job.rung,
        "bracket": job.bracket,
        "parent": job.parent,
        "why": storable.json(job.why),
        "state": "running",
        "seq": seq,
        "started_at": at,
        "attempt_at": at,
        **_attempt_fields(attempt),
    }


def _attempt_fields(attempt: AttemptStarted | None) -> dict[str, Any]:
    return {
        "attempts": 0 if attempt is None else attempt.attempt,
        "worker": None if attempt is None else attempt.worker,
        "ask_key": None if attempt is None else attempt.key,
        "ask_digest": None if attempt is None else attempt.digest,
        "losses": 0 if attempt is None else attempt.losses,
        "failures": 0 if attempt is None else attempt.failures,
    }


def _resume_trial(connection: Connection, study_id: str, job: Job) -> None:
    if not job.begins_trial:
        connection.execute(
            _RESUME_TRIAL, {**_of(study_id, job.trial), "new_state": TrialState.RUNNING, "new_rung": job.rung}
        )


def _end_job(connection: Connection, study_id: str, at: float, seq: int, fact: JobEnded) -> None:
    connection.execute(
        _END_JOB,
        {
            **_of(study_id, fact.job),
            "new_state": fact.end,
            "new_trial_state": fact.trial_state,
            "new_end_seq": seq,
            "new_ended_at": at,
            "new_problem": fact.problem,
            "new_traceback": fact.traceback,
            "new_told": fact.told,
        },
    )
    connection.execute(
        _END_TRIAL,
        {
            **_of(study_id, fact.trial),
            "job": fact.job,
            "new_state": fact.trial_state,
            "new_ended_at": at,
            "new_problem": fact.problem,
        },
    )


def _write_enqueued(connection: Connection, study_id: str, numbered: Iterable[tuple[int, Fact]]) -> None:
    """Note where the optimizer was told of enqueued configurations, and which trials they became."""
    for n, fact in numbered:
        if isinstance(fact, Enqueued):
            connection.execute(_TAKE_ENQUEUED, {**_of(study_id, fact.number), "new_seq": n})
        elif isinstance(fact, JobStarted) and fact.enqueued is not None:
            connection.execute(_START_ENQUEUED, {**_of(study_id, fact.enqueued), "new_trial": fact.job.trial})
            connection.execute(_NAME_RETRIED, {**_of(study_id, fact.job.trial), "enqueued": fact.enqueued})


def _of(study_id: str, number: int) -> dict[str, Any]:
    return {"of_study_id": study_id, "of_number": number}

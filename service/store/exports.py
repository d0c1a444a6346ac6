"""What exports read of a study: all of it, a chunk at a time.

Every chunk is a transaction of its own, so that a slow reader holds nothing up. Of a study that runs meanwhile, rows of
tables may know more in the last chunk than they did in the first. A document, which can be imported, says what there
was up to one place in its journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Engine, Row, func, join, select, true, tuple_

from service.store.rows import utc
from service.store.tables import (
    EarlierRow,
    EnqueuedRow,
    ImprovementRow,
    JobRow,
    ReportRow,
    StatusRow,
    TrialNoteRow,
    TrialRow,
)
from tunewright.document import (
    DocumentBest,
    DocumentEarlier,
    DocumentImprovement,
    DocumentJob,
    DocumentQueued,
    DocumentReport,
    DocumentTrial,
)
from tunewright.study import MAX_TRIALS, TrialState

# Trials, or entries of other lists, in one transaction; and reports, of which a trial may have ten thousand.
CHUNK = 200
REPORTS = 5_000


def trials(engine: Engine, study_id: str) -> Iterator[Row[Any]]:
    """A study's trials, by number."""
    return _rows(engine, TrialRow, study_id, "number")


def reports(engine: Engine, study_id: str, first: int = 0, last: int = MAX_TRIALS) -> Iterator[Row[Any]]:
    """A study's reports, by trial and resource, of its trials from `first` to `last`."""
    seen = (first, 0.0)
    while True:
        with engine.connect() as connection:
            found = connection.execute(
                select(ReportRow.__table__)
                .where(ReportRow.study_id == study_id, ReportRow.trial <= last)
                .where(tuple_(ReportRow.trial, ReportRow.resource) > seen)
                .order_by(ReportRow.trial, ReportRow.resource)
                .limit(REPORTS)
            ).all()
        yield from found
        if len(found) < REPORTS:
            return
        seen = (found[-1].trial, found[-1].resource)


def metric_names(engine: Engine, table: type[TrialRow] | type[ReportRow], study_id: str) -> list[str]:
    """Names of everything that was measured, sorted."""
    names: Any
    if engine.dialect.name == "postgresql":
        names = func.json_object_keys(table.metrics).table_valued("key").render_derived()
    else:
        names = func.json_each(table.metrics).table_valued("key")
    with engine.connect() as connection:
        found = connection.execute(
            select(names.c.key).select_from(join(table, names, true())).where(table.study_id == study_id).distinct()
        )
        return sorted(found.scalars())


@dataclass(frozen=True)
class Horizon:
    """How far a document looks into a study's journal.

    Attributes:
        place: the first that it does not tell.
        trials: that had begun by then.
        batch: the last one that had been written by then.
    """

    place: int
    trials: int
    batch: int

    @classmethod
    def of(cls, engine: Engine, study_id: str) -> Horizon:
        """All that there is now."""
        with engine.connect() as connection:
            place, batch = connection.execute(
                select(StatusRow.seq, StatusRow.batch).where(StatusRow.study_id == study_id)
            ).one_or_none() or (0, 0)
            last = connection.scalar(
                select(func.max(JobRow.trial)).where(JobRow.study_id == study_id, JobRow.seq < place)
            )
        return cls(place, 0 if last is None else last + 1, batch)


def document_trials(engine: Engine, study_id: str, horizon: Horizon) -> Iterator[DocumentTrial]:
    """Trials with their jobs, reports and notes, by number."""
    for chunk in _chunks(trials(engine, study_id)):
        first, last = chunk[0].number, chunk[-1].number
        with engine.connect() as connection:
            jobs = _by_trial(connection, JobRow, study_id, first, last, JobRow.number)
            notes = _by_trial(connection, TrialNoteRow, study_id, first, last, TrialNoteRow.trial)
        measured = reports(engine, study_id, first, last)
        ahead = next(measured, None)
        for row in chunk:
            if row.number >= horizon.trials:
                return
            own = []
            while ahead is not None and ahead.trial <= row.number:
                own.append(ahead)
                ahead = next(measured, None)
            every = jobs.get(row.number, ())
            begun = [_job(job, horizon) for job in every if job.seq < horizon.place]
            later = len(begun) < len(every) or any((job.end_seq or 0) >= horizon.place for job in every)
            yield DocumentTrial.model_construct(
                number=row.number,
                state=begun[-1].trial_state or TrialState.RUNNING if later else TrialState(row.state),
                config=row.config,
                rung=row.rung,
                bracket=row.bracket,
                started_at=utc(row.started_at),
                ended_at=None if later else _time(row.ended_at),
                seconds=row.seconds,
                problem=None if later else row.problem,
                retry_of=row.retry_of,
                notes="".join(note.text for note in notes.get(row.number, ())),
                jobs=begun,
                reports=[_report(report) for report in own if report.seq < horizon.place],
            )


def document_queue(engine: Engine, study_id: str, horizon: Horizon) -> Iterator[DocumentQueued]:
    """Configurations that were enqueued, in order."""
    for row in _rows(engine, EnqueuedRow, study_id, "number"):
        taken = row.seq is not None and row.seq < horizon.place
        yield DocumentQueued(
            number=row.number,
            config=row.config,
            seq=row.seq if taken else None,
            trial=row.trial if row.trial is not None and row.trial < horizon.trials else None,
            retry_of=row.retry_of,
            created_at=utc(row.created_at),
        )


def document_improvements(engine: Engine, study_id: str, horizon: Horizon) -> Iterator[DocumentImprovement]:
    """How the best trial changed, oldest first."""
    for row in _rows(engine, ImprovementRow, study_id, "batch"):
        if row.batch > horizon.batch:
            return
        yield DocumentImprovement(at=utc(row.at), seconds=row.seconds, trials=row.trials, best=DocumentBest(**row.best))


def document_earlier(engine: Engine, study_id: str) -> Iterator[DocumentEarlier]:
    """Trials with which the study was warm-started, in order."""
    for row in _rows(engine, EarlierRow, study_id, "number"):
        yield DocumentEarlier(
            source_study=row.source_study,
            source_trial=row.source_trial,
            config=row.config,
            reports=row.reports,
            failed=row.failed,
        )


def _job(row: Row[Any], horizon: Horizon) -> DocumentJob:
    ended = row.end_seq is not None and row.end_seq < horizon.place
    return DocumentJob.model_construct(
        number=row.number,
        start=row.start,
        end=row.end,
        rung=row.rung,
        bracket=row.bracket,
        parent=row.parent,
        why=row.why,
        state=row.state if ended else "running",
        trial_state=TrialState(row.trial_state) if ended and row.trial_state is not None else None,
        attempts=row.attempts,
        seq=row.seq,
        end_seq=row.end_seq if ended else None,
        started_at=utc(row.started_at),
        ended_at=_time(row.ended_at) if ended else None,
        problem=row.problem if ended else None,
    )


def _report(row: Row[Any]) -> DocumentReport:
    return DocumentReport.model_construct(
        resource=row.resource,
        metrics=row.metrics,
        job=row.job,
        attempt=row.attempt,
        seconds=row.seconds,
        seq=row.seq,
        at=utc(row.at),
        late=row.late,
    )


def _rows(engine: Engine, table: Any, study_id: str, key: str) -> Iterator[Row[Any]]:
    place: Column[Any] = table.__table__.c[key]
    last = -1
    while True:
        with engine.connect() as connection:
            found = connection.execute(
                select(table.__table__).where(table.study_id == study_id, place > last).order_by(place).limit(CHUNK)
            ).all()
        yield from found
        if len(found) < CHUNK:
            return
        last = getattr(found[-1], key)


def _by_trial(
    connection: Any, table: Any, study_id: str, first: int, last: int, order: Any
) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = {}
    statement = select(table.__table__).where(table.study_id == study_id, table.trial.between(first, last))
    for row in connection.execute(statement.order_by(table.trial, order)):
        found.setdefault(row.trial, []).append(row)
    return found


def _chunks(items: Iterator[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _time(seconds: float | None) -> Any:
    return None if seconds is None else utc(seconds)

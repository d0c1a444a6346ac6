"""Rows of the store as the views that the API shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from tunewright.study import StudySpec
from tunewright.views import Best, Improvement, Job, Measurement, QueuedConfig, Study, StudySummary, Trial


def utc(seconds: float) -> datetime:
    """A time of the store as the API shows it."""
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else utc(seconds)


def _summary_fields(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "workload": row.workload,
        "optimizer": row.optimizer,
        "state": row.state,
        "wanted": row.wanted,
        "reason": row.reason,
        "priority": row.priority,
        "tags": row.tags,
        "revision": row.revision,
        "created_at": utc(row.created_at),
        "started_at": _maybe_utc(row.started_at),
        "ended_at": _maybe_utc(row.ended_at),
        "active_seconds": row.active_seconds,
        "cluster_seconds": row.cluster_seconds,
        "counts": row.counts,
        "progress": row.progress,
        "seconds_left": row.seconds_left,
        "best": row.best,
    }


def summary(row: Row[Any]) -> StudySummary:
    """A study as lists show it."""
    return StudySummary(**_summary_fields(row), objectives=row.objectives)


def study(row: Row[Any]) -> Study:
    """A study with its specification."""
    spec = StudySpec.model_validate(row.spec)
    return Study(**_summary_fields(row), objectives=spec.objectives, spec=spec)


def trial(row: Row[Any]) -> Trial:
    """A trial as lists show it."""
    return Trial(
        id=f"{row.study_id}-{row.number}",
        study=row.study_id,
        number=row.number,
        state=row.state,
        config=row.config,
        resource=row.resource,
        metrics=row.metrics,
        rung=row.rung,
        bracket=row.bracket,
        started_at=utc(row.started_at),
        ended_at=_maybe_utc(row.ended_at),
        seconds=row.seconds,
        problem=row.problem,
        retry_of=row.retry_of,
    )


def job(row: Row[Any]) -> Job:
    """A job with how it went."""
    return Job(
        number=row.number,
        trial=row.trial,
        start=row.start,
        end=row.end,
        rung=row.rung,
        bracket=row.bracket,
        parent=row.parent,
        state=row.state,
        attempts=row.attempts,
        why=row.why,
        worker=row.worker,
        started_at=utc(row.started_at),
        ended_at=_maybe_utc(row.ended_at),
        problem=row.problem,
        traceback=row.traceback,
    )


def queued(row: Row[Any]) -> QueuedConfig:
    """A configuration that was enqueued."""
    return QueuedConfig(
        study=row.study_id,
        number=row.number,
        config=row.config,
        created_at=utc(row.created_at),
        trial=None if row.trial is None else f"{row.study_id}-{row.trial}",
        retry_of=None if row.retry_of is None else f"{row.study_id}-{row.retry_of}",
    )


def measurement(row: Row[Any]) -> Measurement:
    """A report as stored."""
    return Measurement(
        resource=row.resource,
        metrics=row.metrics,
        job=row.job,
        attempt=row.attempt,
        at=utc(row.at),
        late=row.late,
    )


def improvement(row: Row[Any]) -> Improvement:
    """A moment at which the incumbent changed."""
    return Improvement(at=utc(row.at), seconds=row.seconds, trials=row.trials, best=Best(**row.best))

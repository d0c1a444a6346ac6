"""Jobs that are asked for from outside, as the store knows them: what became of one, and reports that come afterwards.

A study that is over, or paused, has no runner. What clients still report of its jobs is kept all the same: the API
writes it, while it holds the study, so that no runner can begin meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from optimizers.protocol import Report
from service.store.errors import NotFound
from service.store.facts import insert_reports
from service.store.tables import JobRow, ReportRow, StatusRow
from workers.ask_tell import Measured
from workers.journal import Reported

_FORM = re.compile("(?P<study>[0-9a-v]{16})-j(?P<number>0|[1-9][0-9]{0,8})a(?P<attempt>[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class JobRef:
    """An attempt at a job: what clients know as a job. Its text is `<study>-j<number>a<attempt>`."""

    study: str
    number: int
    attempt: int

    @classmethod
    def parse(cls, text: str) -> JobRef:
        """From its text.

        Raises:
            NotFound: it has not this form, so there is no such job.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise NotFound(f"job {text[:100]} does not exist; a job's id is what an ask has answered")
        return cls(found["study"], int(found["number"]), int(found["attempt"]))

    def __str__(self) -> str:
        return f"{self.study}-j{self.number}a{self.attempt}"


def row(connection: Connection, ref: JobRef) -> Row[Any]:
    """What is stored of a job.

    Raises:
        NotFound: it was never given out.
    """
    found = connection.execute(
        select(JobRow.__table__).where(JobRow.study_id == ref.study, JobRow.number == ref.number)
    ).one_or_none()
    if found is None or ref.attempt > found.attempts:
        raise NotFound(f"job {ref} does not exist; a job's id is what an ask has answered")
    return found


def keep_reports(connection: Connection, ref: JobRef, reports: Sequence[Measured]) -> None:
    """Store reports of a job whose study, which the caller holds, has no runner; each resource counts once."""
    job = row(connection, ref)
    known = set(
        connection.execute(
            select(ReportRow.resource).where(ReportRow.study_id == ref.study, ReportRow.trial == job.trial)
        ).scalars()
    )
    new = {resource: metrics for resource, metrics in reversed(reports) if resource not in known}
    if not new:
        return
    seq = connection.execute(
        update(StatusRow)
        .where(StatusRow.study_id == ref.study)
        .values(seq=StatusRow.seq + len(new))
        .returning(StatusRow.seq)
    ).scalar_one()
    # Of a job that waits for its study to go on they are as good as any; others the optimizer need not know.
    late = job.end_seq is not None
    facts = [
        Reported(Report(ref.number, job.trial, resource, metrics), ref.attempt, late)
        for resource, metrics in sorted(new.items())
    ]
    insert_reports(connection, ref.study, time.time(), [*enumerate(facts, start=seq - len(new))])

"""Studies from elsewhere, written a chunk at a time.

A study has no status until its last chunk is in, and is seen by nobody before. What is wrong in the middle takes all
of it away again; what a service that died has left is removed by the next import.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from optimizers.protocol import Incumbent, JobEnd, losses, violation
from service.store import event_log, labels, storable
from service.store.engine import writing
from service.store.journal import new_status
from service.store.tables import (
    EarlierRow,
    EnqueuedRow,
    ImprovementRow,
    JobRow,
    ReportRow,
    StatusRow,
    StudyRow,
    TrialNoteRow,
    TrialRow,
)
from tunewright.document import (
    DocumentEarlier,
    DocumentImprovement,
    DocumentJob,
    DocumentQueued,
    DocumentReport,
    DocumentStudy,
    DocumentTrial,
)
from tunewright.errors import SpaceError, SpecError
from tunewright.study import MAX_TRIALS, Objective, StudySpec, StudyState, TrialState
from workers.journal import Wanted, best_json

# Rows in one transaction, or a few more.
CHUNK = 5_000
ABANDONED_SECONDS = 24 * 3600.0
# An import leaves nothing open: nobody runs what ran elsewhere.
_CLOSED = {TrialState.RUNNING: TrialState.CANCELLED, TrialState.WAITING: TrialState.STOPPED}
# How the one job of a trial ended that says nothing of its jobs.
_ENDS = {TrialState.COMPLETED: JobEnd.COMPLETED, TrialState.FAILED: JobEnd.FAILED}


class StudyImport:
    """One study on its way into the store.

    Args:
        spec: complete.
    """

    def __init__(self, engine: Engine, study_id: str, spec: StudySpec, project: str) -> None:
        self._engine = engine
        self.study_id = study_id
        self._spec = spec
        self._project = project
        self._now = time.time()
        self._began: float | None = None
        self._rows: dict[Any, list[dict[str, Any]]] = {}
        self._size = 0
        self._trials = 0
        self._queued = 0
        self._earlier = 0
        self._counts: Counter[TrialState] = Counter()
        self._best = _Best(spec.objectives)
        # What the document tells of how the best changed; nothing, of results from elsewhere.
        self._improvements = 0
        self._best_trial = -1
        # Numbers of jobs; the rest of a document's journal.
        self._with_jobs: bool | None = None
        self._with_rungs: bool | None = None
        self._jobs: set[int] = set()
        self._open: list[int] = []
        self._seq = 0

    def begin(self) -> None:
        """Take the study's place in the store."""
        with writing(self._engine) as connection:
            has_status = select(StatusRow.study_id).where(StatusRow.study_id == StudyRow.id).exists()
            abandoned = StudyRow.created_at < self._now - ABANDONED_SECONDS
            connection.execute(delete(StudyRow).where(~has_status, abandoned))
            connection.execute(
                insert(StudyRow).values(
                    id=self.study_id,
                    project=self._project,
                    workload=self._spec.workload,
                    optimizer=self._spec.optimizer.name,
                    spec=self._spec.model_dump(mode="json"),
                    wanted=Wanted.RUN,
                    created_at=self._now,
                    **labels.columns(self._spec),
                )
            )

    def add(self, item: DocumentTrial | DocumentQueued | DocumentImprovement | DocumentEarlier) -> None:
        """An item of the document's lists.

        Raises:
            SpecError: it does not fit the study, or what came before; names its place and field.
        """
        if isinstance(item, DocumentTrial):
            self._add_trial(item)
        elif isinstance(item, DocumentQueued):
            self._add_queued(item)
        elif isinstance(item, DocumentImprovement):
            self._add_improvement(item)
        else:
            self._add_earlier(item)
        if self._size >= CHUNK:
            self._flush()

    def finish(self, study: DocumentStudy) -> None:
        """Write what is left, and let the study be seen.

        Raises:
            SpecError: there are no trials, or jobs are missing.
        """
        if not self._trials:
            raise SpecError("trials: there are none")
        if self._best_trial >= self._trials:
            raise SpecError(f"improvements: there is no trial {self._best_trial}")
        if len(self._jobs) <= max(self._jobs, default=-1):
            missing = next(number for number in range(len(self._jobs) + 1) if number not in self._jobs)
            raise SpecError(f"trials: job {missing} is missing; a document with jobs holds all of them")
        self._flush()
        was_over = study.state.final
        with writing(self._engine) as connection:
            if self._open:
                connection.execute(
                    update(JobRow.__table__)  # type: ignore[arg-type]
                    .where(JobRow.study_id == self.study_id, JobRow.number == bindparam("open_number"))
                    .values(end_seq=bindparam("place")),
                    [{"open_number": number, "place": self._seq + n} for n, number in enumerate(self._open)],
                )
            status = {
                "state": study.state if was_over else StudyState.COMPLETED,
                "reason": study.reason if was_over else f"imported; it was {study.state} when it was exported",
                "batch": self._improvements or self._best.improvements,
                "seq": self._seq + len(self._open),
                "counts": dict(self._counts),
                "progress": 1.0,
                "best": [best_json(incumbent) for incumbent in self._front(connection)],
                "active_seconds": study.active_seconds,
                "cluster_seconds": study.cluster_seconds,
                "started_at": None if study.started_at is None else study.started_at.timestamp(),
                "ended_at": _seconds(study.ended_at, self._now),
            }
            connection.execute(insert(StatusRow).values({**new_status(self.study_id), **status}))
            labels.tag(connection, self.study_id, self._spec)
            body = {"state": status["state"], "reason": status["reason"], "name": self._spec.name}
            event_log.append(connection, self.study_id, "study", self._now, body, self._project)

    def _front(self, connection: Connection) -> list[Incumbent]:
        """The best of all trials, as an optimizer that has seen them has it: at the largest resource to which any job
        has completed, also where a trial was cut short once it had measured there."""
        measured = (
            select(func.max(ReportRow.resource))
            .join(TrialRow, (TrialRow.study_id == ReportRow.study_id) & (TrialRow.number == ReportRow.trial))
            .where(ReportRow.study_id == self.study_id, ReportRow.late.is_(False), TrialRow.state != TrialState.FAILED)
        )
        ends = (JobRow.study_id == ReportRow.study_id) & (JobRow.trial == ReportRow.trial)
        completed = measured.join(JobRow, ends & (JobRow.end == ReportRow.resource))
        level = connection.scalar(completed.where(JobRow.state == JobEnd.COMPLETED)) or connection.scalar(measured)
        found = _Best(self._spec.objectives)
        if level is None:
            return []
        for number, config, metrics in connection.execute(
            measured.with_only_columns(TrialRow.number, TrialRow.config, ReportRow.metrics)
            .where(ReportRow.resource == level)
            .order_by(TrialRow.number)
        ):
            found.take(Measured(number, config, {level: metrics}, level))
        return found.front

    def abandon(self) -> None:
        """Take away all that was written."""
        with writing(self._engine) as connection:
            connection.execute(delete(StudyRow).where(StudyRow.id == self.study_id))

    def _add_trial(self, trial: DocumentTrial) -> None:
        where = f"trials.{self._trials}"
        if trial.number != self._trials:
            raise SpecError(f"{where}.number: it is {trial.number}; trials are numbered from 0 in their order")
        if self._trials >= MAX_TRIALS:
            raise SpecError(f"trials: a study has at most {MAX_TRIALS}")
        config = self._config(where, trial.config)
        reports = self._reports(where, trial)
        if trial.retry_of is not None and trial.retry_of >= trial.number:
            raise SpecError(f"{where}.retry_of: trial {trial.retry_of} does not come before it")
        state = _CLOSED.get(trial.state, trial.state)
        jobs, reports = self._journal(where, trial, state, reports)
        seen = {report.resource: report.metrics for report in reports if not report.late}
        last = reports[-1] if reports else None
        completed = max((job.end for job in jobs if job.state == JobEnd.COMPLETED), default=0.0)
        started = _seconds(trial.started_at, self._now)
        ended = _seconds(trial.ended_at, started)
        self._began = started if self._began is None else self._began
        self._put(
            TrialRow,
            number=trial.number,
            state=state,
            config=config,
            resource=last.resource if last else 0.0,
            metrics=dict(last.metrics) if last else {},
            rung=trial.rung,
            bracket=trial.bracket,
            started_at=started,
            ended_at=ended,
            seconds=trial.seconds,
            problem=trial.problem,
            retry_of=trial.retry_of,
        )
        for job in jobs:
            self._put_job(trial.number, job, started, ended)
        for report in reports:
            self._put_report(trial.number, report, ended)
        if trial.notes:
            self._put(TrialNoteRow, trial=trial.number, text=trial.notes)
        if state is not TrialState.FAILED and seen:
            self._note_best(Measured(trial.number, config, seen, completed), ended)
        self._counts[state] += 1
        self._trials += 1

    def _config(self, where: str, config: Mapping[str, Any]) -> dict[str, Any]:
        assert self._spec.space is not None
        try:
            return self._spec.space.validate_config(config)
        except SpaceError as error:
            raise SpecError(f"{where}.config: {error}") from None

    def _reports(self, where: str, trial: DocumentTrial) -> list[DocumentReport]:
        """By resource."""
        assert self._spec.fidelity is not None
        reports = sorted(trial.reports, key=lambda report: report.resource)
        last = 0.0
        for report in reports:
            if report.resource == last:
                raise SpecError(f"{where}.reports: resource {report.resource:g} stands twice")
            if report.resource > self._spec.fidelity.max:
                raise SpecError(
                    f"{where}.reports: resource {report.resource:g} is above fidelity.max ({self._spec.fidelity.max:g})"
                )
            self._require_objectives(f"{where}.reports", report.resource, report.metrics)
            last = report.resource
        return reports

    def _require_objectives(self, where: str, resource: float, metrics: Mapping[str, float]) -> None:
        for objective in self._spec.objectives:
            if objective.metric not in metrics:
                raise SpecError(f'{where}: no "{objective.metric}" at resource {resource:g}')

    def _journal(
        self, where: str, trial: DocumentTrial, state: TrialState, reports: Sequence[DocumentReport]
    ) -> tuple[list[DocumentJob], list[DocumentReport]]:
        """A trial's jobs and reports with their places among all that the optimizer saw."""
        if self._with_jobs is None:
            self._with_jobs = bool(trial.jobs)
        if bool(trial.jobs) is not self._with_jobs:
            raise SpecError(f"{where}.jobs: either all trials say what their jobs were, or none does")
        if not trial.jobs:
            return self._whole(where, trial, state, reports)
        jobs = {job.number: job for job in trial.jobs}
        for job in trial.jobs:
            self._check_job(where, trial.number, job)
        for report in reports:
            if report.job not in jobs or report.seq is None:
                raise SpecError(f"{where}.reports: the one at {report.resource:g} needs a job of its trial, and a seq")
            job = jobs[report.job]
            if report.seq <= job.seq or (not report.late and job.end_seq is not None and report.seq >= job.end_seq):
                raise SpecError(
                    f"{where}.reports: the seq of the one at {report.resource:g}, {report.seq}, does not lie between "
                    f"seq and end_seq of job {report.job}"
                )
        places = [place for job in trial.jobs for place in (job.seq, job.end_seq or 0)]
        self._seq = max(self._seq, *(place + 1 for place in places), *((r.seq or 0) + 1 for r in reports))
        return [self._closed(job) for job in trial.jobs], list(reports)

    def _check_job(self, where: str, trial: int, job: DocumentJob) -> None:
        if job.number in self._jobs:
            raise SpecError(f"{where}.jobs: job {job.number} stands twice")
        if not job.start < job.end:
            raise SpecError(f"{where}.jobs: job {job.number} ends at {job.end:g}, where it starts or before")
        if job.parent is not None and job.parent >= trial:
            raise SpecError(f"{where}.jobs: the parent of job {job.number} does not come before it")
        if job.end_seq is not None and (job.state not in tuple(JobEnd) or job.trial_state is None):
            raise SpecError(f"{where}.jobs: job {job.number} has ended, but not as a job ends ({', '.join(JobEnd)})")
        if job.end_seq is not None and job.end_seq <= job.seq:
            raise SpecError(f"{where}.jobs: the end_seq of job {job.number} does not come after its seq")
        if self._with_rungs is None:
            self._with_rungs = job.rung is not None
        if (job.rung is not None) is not self._with_rungs:
            raise SpecError(f"{where}.jobs: either all jobs have a rung, or none has; see job {job.number}")
        self._jobs.add(job.number)

    def _closed(self, job: DocumentJob) -> DocumentJob:
        if job.end_seq is not None:
            return job
        self._open.append(job.number)
        return job.model_copy(update={"state": JobEnd.CANCELLED, "trial_state": TrialState.CANCELLED})

    def _whole(
        self, where: str, trial: DocumentTrial, state: TrialState, reports: Sequence[DocumentReport]
    ) -> tuple[list[DocumentJob], list[DocumentReport]]:
        """A trial that says nothing of its jobs, as one job."""
        assert self._spec.fidelity is not None
        whole = self._spec.fidelity.max
        if state is TrialState.COMPLETED and (not reports or reports[-1].resource < whole):
            raise SpecError(f"{where}.reports: a trial that is completed has one at {whole:g}, which is fidelity.max")
        first, self._seq = self._seq, self._seq + len(reports) + 2
        self._jobs.add(trial.number)
        job = DocumentJob(
            number=trial.number,
            start=0.0,
            end=whole,
            why={"rule": "imported"},
            state=_ENDS.get(state, JobEnd.CANCELLED),
            trial_state=state,
            seq=first,
            end_seq=self._seq - 1,
            started_at=trial.started_at,
            ended_at=trial.ended_at,
            problem=trial.problem,
        )
        placed = [
            report.model_copy(update={"job": trial.number, "seq": first + n, "attempt": 1, "late": False})
            for n, report in enumerate(reports, start=1)
        ]
        return [job], placed

    def _put_job(self, trial: int, job: DocumentJob, started: float, ended: float) -> None:
        began = _seconds(job.started_at, started)
        self._put(
            JobRow,
            trial=trial,
            attempt_at=began,
            started_at=began,
            ended_at=_seconds(job.ended_at, ended),
            why=storable.json(job.why),
            **job.model_dump(exclude={"started_at", "ended_at", "why"}),
        )

    def _put_report(self, trial: int, report: DocumentReport, ended: float) -> None:
        self._put(ReportRow, trial=trial, at=_seconds(report.at, ended), **report.model_dump(exclude={"at"}))

    def _note_best(self, trial: Measured, at: float) -> None:
        if self._best.take(trial) and not self._improvements:
            self._put(
                ImprovementRow,
                batch=self._best.improvements,
                at=at,
                seconds=self._best.reached(at - (self._began or at)),
                trials=trial.number + 1,
                best=best_json(self._best.front[0]),
            )

    def _add_queued(self, entry: DocumentQueued) -> None:
        where = f"queue.{self._queued}"
        if entry.number != self._queued:
            raise SpecError(f"{where}.number: it is {entry.number}; entries are numbered from 0 in their order")
        self._put(
            EnqueuedRow,
            config=self._config(where, entry.config),
            created_at=_seconds(entry.created_at, self._now),
            **entry.model_dump(exclude={"config", "created_at"}),
        )
        self._seq = max(self._seq, (entry.seq or 0) + 1)
        self._queued += 1

    def _add_improvement(self, improvement: DocumentImprovement) -> None:
        where, best = f"improvements.{self._improvements}", improvement.best
        if self._trials:
            raise SpecError("improvements: they stand behind the trials; put them before these")
        self._require_objectives(f"{where}.best.metrics", best.resource, best.metrics)
        self._improvements += 1
        self._best_trial = max(self._best_trial, best.trial)
        self._put(
            ImprovementRow,
            batch=self._improvements,
            at=improvement.at.timestamp(),
            seconds=improvement.seconds,
            trials=improvement.trials,
            best={**best.model_dump(), "config": self._config(f"{where}.best", best.config)},
        )

    def _add_earlier(self, earlier: DocumentEarlier) -> None:
        where = f"earlier.{self._earlier}"
        for resource, metrics in earlier.reports:
            self._require_objectives(f"{where}.reports", resource, metrics)
        self._put(
            EarlierRow,
            number=self._earlier,
            config=self._config(where, earlier.config),
            **earlier.model_dump(exclude={"config"}),
        )
        self._earlier += 1

    def _put(self, table: Any, **values: Any) -> None:
        self._rows.setdefault(table, []).append({"study_id": self.study_id, **values})
        self._size += 1

    def _flush(self) -> None:
        rows, self._rows, self._size = self._rows, {}, 0
        with writing(self._engine) as connection:
            for table, values in rows.items():
                connection.execute(insert(table), values)


class Measured:
    """A sound trial as the search for the best sees it.

    Args:
        reports: resource -> metrics.
        completed: resource up to which it has completed jobs.
    """

    def __init__(
        self, number: int, config: Mapping[str, Any], reports: Mapping[float, Mapping[str, float]], completed: float
    ) -> None:
        self.number = number
        self.config = dict(config)
        self.reports = reports
        self.completed = completed


class _Best:
    """The incumbent or the Pareto set of trials that come in one after the other.

    Attributes:
        improvements: how often the first of them has changed.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = objectives
        self._level = (False, 0.0)
        self._seconds = 0.0
        self.front: list[Incumbent] = []
        self.improvements = 0

    def take(self, trial: Measured) -> bool:
        """Whether the front changes; only measurements at the largest resource that was completed are compared."""
        level = (trial.completed > 0, trial.completed or max(trial.reports))
        before = self.front
        if level > self._level and level[1] in trial.reports:
            self._level, self.front = level, []
        metrics = trial.reports.get(self._level[1])
        if metrics is not None:
            self._merge(Incumbent(trial.number, trial.config, self._level[1], dict(metrics)))
        changed = self.front != before
        self.improvements += changed
        return changed

    def reached(self, seconds: float) -> float:
        """Time that has passed; it never goes back."""
        self._seconds = max(self._seconds, seconds)
        return self._seconds

    def _merge(self, new: Incumbent) -> None:
        missed = violation(new.metrics, self._objectives)
        least = violation(self.front[0].metrics, self._objectives) if self.front else missed
        if missed < least:
            self.front = []
        mine = losses(new.metrics, self._objectives)
        others = [(losses(other.metrics, self._objectives), other) for other in self.front]
        if missed > least or any(_beats(theirs, mine) for theirs, _ in others):
            return
        kept = [pair for pair in others if not _beats(mine, pair[0])]
        self.front = [other for _, other in sorted([*kept, (mine, new)], key=lambda pair: (pair[0], pair[1].trial))]


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether losses `a`, which were there before, leave no place beside them for `b`."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and (a != b or len(a) == 1)


def _seconds(moment: datetime | None, default: float) -> float:
    return default if moment is None else moment.timestamp()

"""What the API and the conductor read from the store, and the few rows that they write.

Every method is one transaction. Lists come in pages: a cursor is opaque to clients and names the last item seen.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, literal_column, select, update

from service.store import (
    asked_jobs,
    cursors,
    event_log,
    extension,
    labels,
    queue,
    request_keys,
    rows,
    trial_logs,
    warm_start,
)
from service.store.asked_jobs import JobRef
from service.store.engine import writing
from service.store.errors import Conflict, NotFound
from service.store.journal import new_status
from service.store.leases import study_lease
from service.store.request_keys import RequestKey
from service.store.tables import (
    Base,
    EnqueuedRow,
    EventRow,
    ImprovementRow,
    JobRow,
    LeaseRow,
    ReportRow,
    StatusRow,
    StudyRow,
    TrialRow,
)
from tunewright.access import DEFAULT_PROJECT
from tunewright.study import Budget, Priority, StudySpec, StudyState, TrialState
from tunewright.views import (
    Curve,
    Event,
    Improvement,
    LogPage,
    Measurement,
    Page,
    QueuedConfig,
    Study,
    StudySummary,
    Trial,
    TrialDetail,
)
from workers.ask_tell import Measured
from workers.journal import Wanted

# So many of a log's last characters stand in a trial's detail.
SHOWN_LOG = 64 * 1024
MAX_PROJECTS_KNOWN = 10_000
# Only what has the right form reaches the database, which may choke on the rest.
_NUMBER = re.compile("0|[1-9][0-9]{0,8}")
_RESOURCE = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")
T = TypeVar("T")


@dataclass(frozen=True)
class ConductorRow:
    """A study that is not over, as the conductor sees it."""

    id: str
    workload: str
    state: StudyState
    wanted: Wanted
    batch: int
    priority: Priority


class Repository:
    """Reads and writes of the API and the conductor."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Of each study that was asked for.
        self._projects: dict[str, str] = {}

    @property
    def embedded(self) -> bool:
        """Whether the store runs in this process, so that reading it does not wait for anybody."""
        return self.engine.dialect.name == "sqlite"

    # Studies

    def create_study(self, spec: StudySpec, key: RequestKey | None = None, *, only: str | None = None) -> Study:
        """Store a complete study as queued.

        Args:
            only: the one project from which it may be warm-started; None: from any.
            key: the same key with the same digest gives the study created the first time, for a day.
        Raises:
            Conflict: the key was used for another request.
            SpecError: an earlier study to start from is unknown or does not fit.
        """
        with writing(self.engine) as connection:
            earlier = request_keys.earlier(connection, key)
            if earlier is not None:
                return rows.study(_study_row(connection, earlier.study_id))
            study_id = new_id()
            now = time.time()
            connection.execute(
                insert(StudyRow).values(
                    id=study_id,
                    project=spec.project or DEFAULT_PROJECT,
                    workload=spec.workload,
                    optimizer=spec.optimizer.name,
                    spec=spec.model_dump(mode="json"),
                    wanted=Wanted.RUN,
                    created_at=now,
                    **labels.columns(spec),
                )
            )
            labels.tag(connection, study_id, spec)
            connection.execute(insert(StatusRow).values(**new_status(study_id)))
            warm_start.copy(connection, study_id, spec, lambda source: _spec(connection, source, only))
            request_keys.note(connection, key, study_id)
            _event(connection, study_id, {"state": StudyState.QUEUED, "reason": None, "name": spec.name})
            return rows.study(_study_row(connection, study_id))

    def studies(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        state: StudyState | None = None,
        project: str | None = None,
        tags: Sequence[str] = (),
    ) -> Page[StudySummary]:
        """Studies, newest first.

        Args:
            project: only this one's; None: all.
            tags: only those that have them all.
        Raises:
            BadCursor: the cursor is not this list's.
        """
        statement, kind = cursors.newest_first(_SUMMARIES, StudyRow, limit=limit, cursor=cursor, project=project)
        if state is not None:
            statement = statement.where(StatusRow.state == state)
        statement = statement.where(*map(labels.tagged, tags))
        with self.engine.connect() as connection:
            records = connection.execute(statement).all()
        return cursors.page([rows.summary(row) for row in records], limit, kind, lambda s: s.id)

    def study(self, study_id: str) -> Study:
        """One study.

        Raises:
            NotFound: no such study.
        """
        with self.engine.connect() as connection:
            return rows.study(_study_row(connection, study_id))

    def project_of(self, study_id: str) -> str | None:
        """The project of a study; None if there is no such study. It never changes, so it is looked up once."""
        found = self._projects.get(study_id)
        if found is None and cursors.ID.fullmatch(study_id):
            with self.engine.connect() as connection:
                found = connection.scalar(select(StudyRow.project).where(StudyRow.id == study_id))
            if found is not None:
                if len(self._projects) >= MAX_PROJECTS_KNOWN:
                    self._projects.clear()
                self._projects[study_id] = found
        return found

    def steer(self, study_id: str, wanted: Wanted) -> Study:
        """Note what is wanted of a study; the conductor and its runner act on it.

        Raises:
            NotFound: no such study.
            Conflict: it is over, or was cancelled already.
        """
        with writing(self.engine) as connection:
            row = _study_row(connection, study_id, hold=True)
            if StudyState(row.state).final:
                raise Conflict(f"study {study_id} is {row.state}; only a study that is not over can be steered")
            if row.wanted == Wanted.CANCEL and wanted is not Wanted.CANCEL:
                raise Conflict(f"study {study_id} is being cancelled; submit it again instead")
            connection.execute(update(StudyRow).where(StudyRow.id == study_id).values(wanted=wanted))
            return rows.study(_study_row(connection, study_id))

    def change(self, study_id: str, changes: Mapping[str, Any], revision: int | None = None) -> Study:
        """Change a study's name, tags, notes or priority, in whatever state it is.

        Args:
            revision: the study as it was when the changes were thought of; None changes it whatever it is like now.
        Raises:
            NotFound: no such study.
            Conflict: somebody else has changed it since that revision.
        """
        with writing(self.engine) as connection:
            row = _study_row(connection, study_id, hold=True)
            if revision is not None and revision != row.revision:
                raise Conflict(f"study {study_id} is at revision {row.revision}, not {revision}; look at it again")
            changed = labels.change(connection, row, changes)
            after = _study_row(connection, study_id)
            if changed:
                _event(
                    connection,
                    study_id,
                    {"state": row.state, "reason": row.reason, "name": after.name, "changed": changed},
                )
            return rows.study(after)

    def extend(self, study_id: str, budget: Budget) -> Study:
        """Let a study that has ended go on under a larger budget; asking for the same again changes nothing.

        Raises:
            NotFound: no such study.
            Conflict: it has not ended, or was cancelled.
            SpecError: the budget is used up already; names the limit.
        """
        with writing(self.engine) as connection:
            row = _study_row(connection, study_id, hold=True)
            state = StudyState(row.state)
            extended = not state.final and StudySpec.model_validate(row.spec).budget == budget
            if not extended:
                if state not in (StudyState.COMPLETED, StudyState.FAILED):
                    raise Conflict(
                        f"study {study_id} is {state}; only one that has completed or failed can be extended"
                    )
                extension.reopen(connection, row, budget)
                _event(connection, study_id, {"state": StudyState.QUEUED, "reason": None, "name": row.name})
            return rows.study(_study_row(connection, study_id))

    def enqueue(self, study_id: str, given: Mapping[str, Any], key: RequestKey | None = None) -> QueuedConfig:
        """Enqueue a configuration; values that it leaves out are the defaults.

        Args:
            key: the same key with the same digest gives the entry made the first time, for a day.
        Raises:
            NotFound: no such study.
            SpaceError: it is no configuration of the study; names the parameter.
            Conflict: the study is over or its budget spoken for, or the key was used for another request.
        """
        with writing(self.engine) as connection:
            earlier = request_keys.earlier(connection, key)
            if earlier is not None:
                return rows.queued(queue.one(connection, earlier.study_id, earlier.enqueued))
            # Held, so that the study does not end meanwhile.
            row = _study_row(connection, study_id, hold=True)
            spec = StudySpec.model_validate(row.spec)
            assert spec.space is not None
            config = spec.space.complete(given)
            _require_place(connection, row, spec)
            number = queue.append(connection, study_id, config)
            request_keys.note(connection, key, study_id, number)
            return rows.queued(queue.one(connection, study_id, number))

    def retry(self, study_id: str, trial: int, key: RequestKey | None = None) -> QueuedConfig:
        """Enqueue the configuration of a failed trial once more; while it waits, asking again changes nothing.

        Args:
            key: as for `enqueue`.
        Raises:
            NotFound: no such trial.
            Conflict: the trial has not failed, or as for `enqueue`.
        """
        with writing(self.engine) as connection:
            earlier = request_keys.earlier(connection, key)
            if earlier is not None:
                return rows.queued(queue.one(connection, earlier.study_id, earlier.enqueued))
            study = _study_row(connection, study_id, hold=True)
            row = _trial_row(connection, study_id, trial)
            if row.state != TrialState.FAILED:
                raise Conflict(f"trial {study_id}-{trial} is {row.state}; only one that has failed can be tried again")
            number = queue.waiting_retry(connection, study_id, trial)
            if number is None:
                _require_place(connection, study, StudySpec.model_validate(study.spec))
                number = queue.append(connection, study_id, row.config, retry_of=trial)
            request_keys.note(connection, key, study_id, number)
            return rows.queued(queue.one(connection, study_id, number))

    def queued(self, study_id: str, *, limit: int, cursor: str | None = None) -> Page[QueuedConfig]:
        """Configurations that were enqueued, oldest first.

        Raises:
            NotFound: no such study.
            BadCursor: the cursor is not this list's.
        """
        kind = f"queue:{study_id}"
        statement = queue.entries(study_id).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(EnqueuedRow.number > int(cursors.decode(cursor, kind, _NUMBER)))
        with self.engine.connect() as connection:
            _require_study(connection, study_id)
            records = connection.execute(statement).all()
        return cursors.page([rows.queued(row) for row in records], limit, kind, lambda q: str(q.number))

    def require_over(self, study_id: str) -> None:
        """Check that a study may be deleted; once it may, it always may.

        Raises:
            NotFound: no such study.
            Conflict: it is not over.
        """
        with self.engine.connect() as connection:
            _require_over(_study_row(connection, study_id))

    def delete_study(self, study_id: str) -> None:
        """Remove a study, all of its trials and its events but for a last one, which says that it was deleted.

        Raises:
            NotFound, Conflict: as `require_over`.
        """
        with writing(self.engine) as connection:
            row = _study_row(connection, study_id, hold=True)
            _require_over(row)
            connection.execute(delete(StudyRow).where(StudyRow.id == study_id))
            request_keys.forget(connection, study_id)
            # They tell configurations and results. Without its lease, a runner that wakes up late is fenced off.
            connection.execute(delete(EventRow).where(EventRow.study_id == study_id))
            connection.execute(delete(LeaseRow).where(LeaseRow.name == study_lease(study_id)))
            _event(connection, study_id, {"state": "deleted", "reason": None}, row.project)

    # Trials

    def trials(
        self, study_id: str, *, limit: int, cursor: str | None = None, state: TrialState | None = None
    ) -> Page[Trial]:
        """A study's trials, newest first.

        Raises:
            NotFound: no such study.
            BadCursor: the cursor is not this list's.
        """
        kind = f"trials:{study_id}"
        statement = (
            select(TrialRow.__table__)
            .where(TrialRow.study_id == study_id)
            .order_by(TrialRow.number.desc())
            .limit(limit + 1)
        )
        if cursor is not None:
            statement = statement.where(TrialRow.number < int(cursors.decode(cursor, kind, _NUMBER)))
        if state is not None:
            statement = statement.where(TrialRow.state == state)
        with self.engine.connect() as connection:
            _require_study(connection, study_id)
            records = connection.execute(statement).all()
        return cursors.page([rows.trial(row) for row in records], limit, kind, lambda t: str(t.number))

    def trial(self, trial_id: str) -> TrialDetail:
        """One trial with its jobs.

        Raises:
            NotFound: no such trial.
        """
        study_id, number = split_trial_id(trial_id)
        with self.engine.connect() as connection:
            row = _trial_row(connection, study_id, number)
            jobs = connection.execute(
                select(JobRow.__table__)
                .where(JobRow.study_id == study_id, JobRow.trial == number)
                .order_by(JobRow.number)
            ).all()
            log = trial_logs.ending(connection, study_id, number, SHOWN_LOG)
            notes = labels.trial_notes(connection, study_id, number)
        return TrialDetail(**rows.trial(row).model_dump(), jobs=[rows.job(job) for job in jobs], log=log, notes=notes)

    def note_trial(self, trial_id: str, notes: str) -> TrialDetail:
        """Replace what is noted about a trial.

        Raises:
            NotFound: no such trial.
        """
        study_id, number = split_trial_id(trial_id)
        with writing(self.engine) as connection:
            study = _study_row(connection, study_id, hold=True)
            _trial_row(connection, study_id, number)
            labels.note_trial(connection, study_id, number, notes)
            body = {"state": study.state, "reason": study.reason, "name": study.name, "changed": [], "trial": number}
            _event(connection, study_id, body)
        return self.trial(trial_id)

    def log(self, trial_id: str, *, position: int, limit: int) -> LogPage:
        """A part of what a trial has printed: at most `limit` characters from a position.

        Raises:
            NotFound: no such trial.
        """
        study_id, number = split_trial_id(trial_id)
        with self.engine.connect() as connection:
            state = connection.scalar(
                select(TrialRow.state).where(TrialRow.study_id == study_id, TrialRow.number == number)
            )
            if state is None:
                raise NotFound(f"trial {trial_id} does not exist")
            part = trial_logs.read(connection, study_id, number, position, limit)
        return LogPage(
            start=part.start,
            text=part.text,
            left_out=max(0, part.start - position),
            next_position=part.end,
            more=part.end < part.whole,
            end=part.whole,
            over=TrialState(state).final,
        )

    def reports(self, trial_id: str, *, limit: int, cursor: str | None = None) -> Page[Measurement]:
        """A trial's reports, by resource.

        Raises:
            NotFound: no such trial.
            BadCursor: the cursor is not this list's.
        """
        study_id, number = split_trial_id(trial_id)
        kind = f"reports:{trial_id}"
        statement = (
            select(ReportRow.__table__)
            .where(ReportRow.study_id == study_id, ReportRow.trial == number)
            .order_by(ReportRow.resource)
            .limit(limit + 1)
        )
        if cursor is not None:
            statement = statement.where(ReportRow.resource > float(cursors.decode(cursor, kind, _RESOURCE)))
        with self.engine.connect() as connection:
            exists = select(TrialRow.number).where(TrialRow.study_id == study_id, TrialRow.number == number)
            if connection.execute(exists).one_or_none() is None:
                raise NotFound(f"trial {trial_id} does not exist")
            records = connection.execute(statement).all()
        return cursors.page([rows.measurement(row) for row in records], limit, kind, lambda m: repr(m.resource))

    def curves(self, study_id: str, metric: str, *, trials: int, points: int) -> tuple[list[Curve], int]:
        """Learning curves of the incumbent and of the newest trials, each thinned to at most `points` points.

        Returns:
            The curves, and how many trials have one.
        Raises:
            NotFound: no such study.
        """
        with self.engine.connect() as connection:
            best = [entry["trial"] for entry in _study_row(connection, study_id).best]
            # Spelt out, not bound: only then does SQLite use the index on such trials.
            reported = (TrialRow.study_id == study_id, TrialRow.resource > literal_column("0"))
            total = connection.execute(select(func.count()).select_from(TrialRow).where(*reported)).scalar_one()
            newest = connection.execute(
                select(TrialRow.number).where(*reported).order_by(TrialRow.number.desc()).limit(trials)
            ).scalars()
            shown = list(dict.fromkeys([*best, *newest]))[:trials]
            states = dict(
                connection.execute(
                    select(TrialRow.number, TrialRow.state).where(
                        TrialRow.study_id == study_id, TrialRow.number.in_(shown)
                    )
                ).all()
            )
            records = connection.execute(
                select(ReportRow.trial, ReportRow.resource, ReportRow.metrics[metric].as_float())
                .where(ReportRow.study_id == study_id, ReportRow.trial.in_(shown))
                .order_by(ReportRow.trial, ReportRow.resource)
            ).all()
        found: dict[int, list[tuple[float, float]]] = {number: [] for number in shown}
        for number, resource, value in records:
            if value is not None:
                found[number].append((resource, value))
        # Built without validation, which would take most of the time and look at numbers that come from the store.
        curves = [
            Curve.model_construct(trial=number, state=TrialState(states[number]), points=thin(curve, points))
            for number, curve in found.items()
            if curve
        ]
        return curves, total

    def improvements(self, study_id: str) -> list[Improvement]:
        """How the incumbent changed, oldest first.

        Raises:
            NotFound: no such study.
        """
        with self.engine.connect() as connection:
            _require_study(connection, study_id)
            records = connection.execute(
                select(ImprovementRow.__table__)
                .where(ImprovementRow.study_id == study_id)
                .order_by(ImprovementRow.batch)
            ).all()
        return [rows.improvement(row) for row in records]

    # Jobs that are asked for from outside

    def asked_job(self, ref: JobRef) -> Row[Any]:
        """What is stored of a job.

        Raises:
            NotFound: there is none.
        """
        with self.engine.connect() as connection:
            return asked_jobs.row(connection, ref)

    def keep_reports(self, ref: JobRef, reports: Sequence[Measured]) -> bool:
        """Store reports of a job whose study has no runner; False when it has one, or will.

        Raises:
            NotFound: there is no such job.
        """
        with writing(self.engine) as connection:
            study = _study_row(connection, ref.study, hold=True)
            state = StudyState(study.state)
            if not state.final and not (state is StudyState.PAUSED and study.wanted == Wanted.PAUSE):
                return False
            asked_jobs.keep_reports(connection, ref, reports)
            return True

    # Events

    def last_event(self) -> int:
        """Id of the newest event; 0 before the first."""
        with self.engine.connect() as connection:
            return connection.execute(select(func.max(EventRow.id))).scalar_one() or 0

    def events(self, after: int, *, limit: int) -> list[Event]:
        """Events after an id, oldest first."""
        with self.engine.connect() as connection:
            records = connection.execute(
                select(EventRow.__table__).where(EventRow.id > after).order_by(EventRow.id).limit(limit)
            ).all()
        return [
            Event(id=r.id, kind=r.kind, study=r.study_id, project=r.project, at=rows.utc(r.at), body=r.body)
            for r in records
        ]

    # For the conductor

    def unfinished(self) -> list[ConductorRow]:
        """All studies that are not over, oldest first."""
        open_states = [state for state in StudyState if not state.final]
        with self.engine.connect() as connection:
            records = connection.execute(
                select(
                    *(StudyRow.id, StudyRow.workload, StudyRow.wanted, StudyRow.priority),
                    *(StatusRow.state, StatusRow.batch),
                )
                .join(StatusRow, StatusRow.study_id == StudyRow.id)
                .where(StatusRow.state.in_(open_states))
                .order_by(StudyRow.id)
            ).all()
        return [
            ConductorRow(
                *(row.id, row.workload, StudyState(row.state), Wanted(row.wanted)),
                *(row.batch, Priority(row.priority)),
            )
            for row in records
        ]


def new_id() -> str:
    """A new id: letters and digits, ordered by time of creation."""
    raw = int(time.time() * 1000).to_bytes(6, "big") + secrets.token_bytes(4)
    return base64.b32hexencode(raw).decode().lower()


def split_trial_id(trial_id: str) -> tuple[str, int]:
    """Study and number of a trial id `<study>-<number>`.

    Raises:
        NotFound: it has not this form, so there is no such trial.
    """
    study_id, _, number = trial_id.rpartition("-")
    if not cursors.ID.fullmatch(study_id) or not _NUMBER.fullmatch(number):
        raise NotFound(f"trial {trial_id[:100]} does not exist; a trial's id is <study>-<number>")
    return study_id, int(number)


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points of a curve (at least 2), evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(i * step)] for i in range(most)]


def _columns(table: type[Base], *left_out: str) -> list[Any]:
    return [column for column in table.__table__.columns if column.name not in left_out]


# Lists leave out what can be large and is not shown in them: specifications.
_STATUS_COLUMNS = _columns(StatusRow, "study_id", "batch", "seq")
_OF_ITS_STUDY = StatusRow.study_id == StudyRow.id
_SUMMARIES: Select[Any] = select(
    *_columns(StudyRow, "spec"), StudyRow.spec["objectives"].label("objectives"), *_STATUS_COLUMNS
).join(StatusRow, _OF_ITS_STUDY)
_STUDIES = select(StudyRow.__table__, *_STATUS_COLUMNS).join(StatusRow, _OF_ITS_STUDY)


def _study_row(connection: Connection, study_id: str, *, hold: bool = False) -> Row[Any]:
    """A study with its status; if asked, held, so that neither changes until the transaction ends."""
    row = None
    if cursors.ID.fullmatch(study_id):
        statement = _STUDIES.where(StudyRow.id == study_id)
        # Both rows, but not against a runner's inserts, which refer to the study while it holds the status itself.
        row = connection.execute(statement.with_for_update(key_share=True) if hold else statement).one_or_none()
    if row is None:
        raise NotFound(f"study {study_id[:100]} does not exist")
    return row


def _spec(connection: Connection, study_id: str, only: str | None) -> StudySpec | None:
    try:
        row = _study_row(connection, study_id)
    except NotFound:
        return None
    return StudySpec.model_validate(row.spec) if only in (None, row.project) else None


def _trial_row(connection: Connection, study_id: str, number: int) -> Row[Any]:
    row = connection.execute(
        select(TrialRow.__table__).where(TrialRow.study_id == study_id, TrialRow.number == number)
    ).one_or_none()
    if row is None:
        raise NotFound(f"trial {study_id}-{number} does not exist")
    return row


def _require_place(connection: Connection, study: Row[Any], spec: StudySpec) -> None:
    """Check that a study still takes configurations."""
    final = StudyState(study.state).final
    if final or study.wanted == Wanted.CANCEL:
        state = study.state if final else "being cancelled"
        raise Conflict(f"study {study.id} is {state}; extend it, or submit another one to try a configuration")
    if queue.room(connection, study.id, spec, sum(study.counts.values())) < 1:
        raise Conflict(f"study {study.id} has no trial left: what its budget allows is started or enqueued")


def _require_study(connection: Connection, study_id: str) -> None:
    found = cursors.ID.fullmatch(study_id) and connection.scalar(select(StudyRow.id).where(StudyRow.id == study_id))
    if not found:
        raise NotFound(f"study {study_id[:100]} does not exist")


def _require_over(row: Row[Any]) -> None:
    if not StudyState(row.state).final:
        raise Conflict(f"study {row.id} is {row.state}; cancel it before deleting it")


def _event(connection: Connection, study_id: str, body: Mapping[str, Any], project: str | None = None) -> None:
    event_log.append(connection, study_id, "study", time.time(), body, project)

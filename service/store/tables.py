"""The tables.

No row is written by two paths: the API writes `studies`, `study_tags`, `earlier_trials`, `trial_notes`,
`idempotency_keys`; a study's runner writes `study_status`, `trials`, `trial_logs`, `jobs`, `reports`, `improvements`,
`leg_claims`; the conductor writes `leg_rooms`; leases live in a table of their own. A row of `enqueued` is handed over:
the API inserts it, the runner alone says what became of it. So is a study that is over: it has no runner, and the API
may extend it before the next one begins. Of databases the API writes `databases` and `sessions`, a session's runner
`session_status` and `session_facts`. `labellings` and `labelling_questions` are the API's. Times are seconds since the
epoch.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tunewright._text import writable

# SQLite only counts up by itself in a column of exactly this type.
_Sequence = BigInteger().with_variant(Integer, "sqlite")


class _FreeText(TypeDecorator[str]):
    """What users' programs print and raise."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else writable(value)


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}


def _study_key(primary: bool = True) -> Mapped[str]:
    return mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=primary)


class StudyRow(Base):
    __tablename__ = "studies"
    __table_args__ = (Index("ix_studies_project", "project", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    workload: Mapped[str] = mapped_column(String(300))
    optimizer: Mapped[str] = mapped_column(String(100))
    spec: Mapped[dict[str, Any]]
    wanted: Mapped[str] = mapped_column(String(10))
    priority: Mapped[str] = mapped_column(String(10), default="normal", server_default="normal")
    tags: Mapped[list[Any]] = mapped_column(JSON, default=list, server_default="[]")
    # How often people have changed its name, tags, notes or priority.
    revision: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    created_at: Mapped[float] = mapped_column(Float)
    # The name space in which it is; tokens may be bound to one.
    project: Mapped[str] = mapped_column(String(64), default="default", server_default="default")


class TagRow(Base):
    """A study's tag, to find it by; `studies` has them in order."""

    __tablename__ = "study_tags"
    __table_args__ = (Index("ix_study_tags_tag", "tag", "study_id"),)

    study_id: Mapped[str] = _study_key()
    tag: Mapped[str] = mapped_column(String(100), primary_key=True)


class ClaimRow(Base):
    """What a study's runner says of its legs: how many ran of late, on average, and how many would if they might."""

    __tablename__ = "leg_claims"

    study_id: Mapped[str] = _study_key()
    running: Mapped[float] = mapped_column(Float)
    wanted: Mapped[int] = mapped_column(Integer)


class RoomRow(Base):
    """How many legs a study may have now; the conductor's answer to the claims of all."""

    __tablename__ = "leg_rooms"

    study_id: Mapped[str] = _study_key()
    legs: Mapped[int] = mapped_column(Integer)


class EnqueuedRow(Base):
    """A configuration that somebody wants to be tried."""

    __tablename__ = "enqueued"

    study_id: Mapped[str] = _study_key()
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    config: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(Float)
    # Where among the study's facts the optimizer was told of it; null until then.
    seq: Mapped[int | None] = mapped_column(_Sequence)
    # Which trial it became; null while it waits.
    trial: Mapped[int | None] = mapped_column(Integer)
    # The failed trial that it is to repeat, if it is one.
    retry_of: Mapped[int | None] = mapped_column(Integer)


class EarlierRow(Base):
    """A trial of another study with which this one was warm-started: a copy, whatever becomes of that study."""

    __tablename__ = "earlier_trials"

    study_id: Mapped[str] = _study_key()
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    source_study: Mapped[str] = mapped_column(String(32))
    source_trial: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]]
    # Pairs of resource and metrics.
    reports: Mapped[list[Any]]
    failed: Mapped[bool] = mapped_column(Boolean)


class StatusRow(Base):
    __tablename__ = "study_status"

    study_id: Mapped[str] = _study_key()
    batch: Mapped[int] = mapped_column(Integer, default=0)
    seq: Mapped[int] = mapped_column(_Sequence, default=0)
    state: Mapped[str] = mapped_column(String(10), index=True)
    reason: Mapped[str | None] = mapped_column(_FreeText)
    active_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    cluster_seconds: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    counts: Mapped[dict[str, Any]]
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    seconds_left: Mapped[float | None] = mapped_column(Float)
    best: Mapped[list[Any]]


class TrialRow(Base):
    __tablename__ = "trials"
    __table_args__ = (
        Index("ix_trials_state", "study_id", "state", "number"),
        # Counting trials with a curve must not read their configurations and metrics.
        Index(
            "ix_trials_reported",
            "study_id",
            "number",
            sqlite_where=text("resource > 0"),
            postgresql_where=text("resource > 0"),
        ),
    )

    study_id: Mapped[str] = _study_key()
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    config: Mapped[dict[str, Any]]
    resource: Mapped[float] = mapped_column(Float, default=0.0)
    metrics: Mapped[dict[str, Any]]
    rung: Mapped[int | None] = mapped_column(Integer)
    bracket: Mapped[int | None] = mapped_column(Integer)
    started_at: Mapped[float] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    seconds: Mapped[float] = mapped_column(Float, default=0.0)
    problem: Mapped[str | None] = mapped_column(_FreeText)
    # The failed trial that it repeats, if it does.
    retry_of: Mapped[int | None] = mapped_column(Integer)


class TrialNoteRow(Base):
    """What somebody noted about a trial."""

    __tablename__ = "trial_notes"

    study_id: Mapped[str] = _study_key()
    trial: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class TrialLogRow(Base):
    """A piece of what a trial printed; `trial_logs` says which are kept."""

    __tablename__ = "trial_logs"

    study_id: Mapped[str] = _study_key()
    trial: Mapped[int] = mapped_column(Integer, primary_key=True)
    # In characters from the beginning of the trial's log; so is the size.
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    size: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(_FreeText)


class JobRow(Base):
    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_trial", "study_id", "trial"),)

    study_id: Mapped[str] = _study_key()
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    trial: Mapped[int] = mapped_column(Integer)
    start: Mapped[float] = mapped_column(Float)
    end: Mapped[float] = mapped_column(Float)
    rung: Mapped[int | None] = mapped_column(Integer)
    bracket: Mapped[int | None] = mapped_column(Integer)
    # Trial from whose state at `start` its trial begins.
    parent: Mapped[int | None] = mapped_column(Integer)
    why: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(10))
    # Where the job's end left its trial; the trial itself may have gone on since.
    trial_state: Mapped[str | None] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    attempt_at: Mapped[float] = mapped_column(Float)
    worker: Mapped[str | None] = mapped_column(String(300))
    # Of the request by which its last attempt was asked for from outside.
    ask_key: Mapped[str | None] = mapped_column(String(200))
    ask_digest: Mapped[str | None] = mapped_column(String(64))
    # How often the job was lost, and its program failed, before its last attempt.
    losses: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    failures: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    # By which attempt, and with what, its end was told from outside.
    told: Mapped[str | None] = mapped_column(String(80))
    seq: Mapped[int] = mapped_column(_Sequence)
    end_seq: Mapped[int | None] = mapped_column(_Sequence)
    started_at: Mapped[float] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    problem: Mapped[str | None] = mapped_column(_FreeText)
    traceback: Mapped[str | None] = mapped_column(_FreeText)


class ReportRow(Base):
    """One measurement; the key makes a second report of a trial at the same resource impossible."""

    __tablename__ = "reports"

    study_id: Mapped[str] = _study_key()
    trial: Mapped[int] = mapped_column(Integer, primary_key=True)
    resource: Mapped[float] = mapped_column(Float, primary_key=True)
    metrics: Mapped[dict[str, Any]]
    job: Mapped[int] = mapped_column(Integer)
    attempt: Mapped[int] = mapped_column(Integer)
    seconds: Mapped[float | None] = mapped_column(Float)
    seq: Mapped[int] = mapped_column(_Sequence)
    at: Mapped[float] = mapped_column(Float)
    late: Mapped[bool] = mapped_column(Boolean, default=False)


class ImprovementRow(Base):
    __tablename__ = "improvements"

    study_id: Mapped[str] = _study_key()
    batch: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    seconds: Mapped[float] = mapped_column(Float)
    trials: Mapped[int] = mapped_column(Integer)
    best: Mapped[dict[str, Any]]


class EventRow(Base):
    """The feed behind /v1/events; old rows are pruned, the tables above keep the truth."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=True)
    # No foreign key: the event that says a study was deleted outlives it.
    study_id: Mapped[str] = mapped_column(String(32), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    at: Mapped[float] = mapped_column(Float)
    body: Mapped[dict[str, Any]]
    # The study's; it too outlives it.
    project: Mapped[str] = mapped_column(String(64), default="default", server_default="default")


class LeaseRow(Base):
    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    holder: Mapped[str] = mapped_column(String(300))
    epoch: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[float] = mapped_column(Float)


class IdempotencyRow(Base):
    __tablename__ = "idempotency_keys"

    # Of whoever sent the key, so that nobody meets another project's; `*` for who is bound to none.
    project: Mapped[str] = mapped_column(String(64), primary_key=True, server_default="*")
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    study_id: Mapped[str] = mapped_column(String(32))
    # The configuration that the request enqueued; null where it created the study.
    enqueued: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[float] = mapped_column(Float)


class TokenRow(Base):
    """An API token, or (with a parent) a session in which a browser holds one. Of the secret there is only a digest."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(String(10))
    # `*` for every project.
    project: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float | None] = mapped_column(Float)
    revoked_at: Mapped[float | None] = mapped_column(Float)
    last_used_at: Mapped[float | None] = mapped_column(Float)


class AuditRow(Base):
    """Something that was done or refused; rows are added, and removed when they are old, and never changed."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(_Sequence, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    # No foreign key: the trail outlives tokens.
    token: Mapped[str | None] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(100))
    verb: Mapped[str] = mapped_column(String(20))
    resource: Mapped[str] = mapped_column(String(300))
    outcome: Mapped[str] = mapped_column(String(20))
    address: Mapped[str] = mapped_column(String(45))
    # How often, where the same came again and again.
    count: Mapped[int] = mapped_column(Integer, default=1)


class DatabaseRow(Base):
    """A database that was attached."""

    __tablename__ = "databases"
    __table_args__ = (Index("ix_databases_name", "project", "name", unique=True),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(20))
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int] = mapped_column(Integer)
    login: Mapped[str] = mapped_column(String(255))
    # Empty where the whole server is meant.
    dbname: Mapped[str] = mapped_column(String(255))
    tls: Mapped[str] = mapped_column(String(20))
    ca: Mapped[str | None] = mapped_column(String(255))
    # `stored`, `env`, `file` or `none`; and the encrypted password, or the name of the variable or file.
    password_from: Mapped[str] = mapped_column(String(10))
    password: Mapped[str | None] = mapped_column(Text)
    ram_bytes: Mapped[int | None] = mapped_column(BigInteger)
    cores: Mapped[int | None] = mapped_column(Integer)
    # Where its server is, in one spelling: two databases of one server have the same settings.
    server: Mapped[str] = mapped_column(String(300))
    # What was found when it was looked at last; null before.
    probe: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(Float)


class SessionRow(Base):
    """A tuning session as it was asked for."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_database", "database_id", "id"), Index("ix_sessions_project", "project", "id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    # No foreign key: what was done to a database is still known when it was detached.
    database_id: Mapped[str] = mapped_column(String(32))
    database_name: Mapped[str] = mapped_column(String(100))
    server: Mapped[str] = mapped_column(String(300))
    spec: Mapped[dict[str, Any]]
    wanted: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[float] = mapped_column(Float)


def _session_key() -> Mapped[str]:
    return mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)


class SessionStatusRow(Base):
    __tablename__ = "session_status"

    session_id: Mapped[str] = _session_key()
    batch: Mapped[int] = mapped_column(Integer, default=0)
    # The number of the next fact.
    seq: Mapped[int] = mapped_column(Integer, default=0)
    state: Mapped[str] = mapped_column(String(10), index=True)
    reason: Mapped[str | None] = mapped_column(_FreeText)
    active_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    # Settings of ours may stand on the server.
    touched: Mapped[bool] = mapped_column(Boolean, default=False)
    intervals: Mapped[int] = mapped_column(Integer, default=0)
    unsafe: Mapped[int] = mapped_column(Integer, default=0)
    lost: Mapped[float] = mapped_column(Float, default=0.0)
    gain: Mapped[float | None] = mapped_column(Float)
    best: Mapped[dict[str, Any] | None]
    tuner: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    next_at: Mapped[float | None] = mapped_column(Float)


class SessionFactRow(Base):
    """Something that happened in a session, in order."""

    __tablename__ = "session_facts"
    __table_args__ = (Index("ix_session_facts_kind", "session_id", "kind", "number"),)

    session_id: Mapped[str] = _session_key()
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(10))
    at: Mapped[float] = mapped_column(Float)
    body: Mapped[dict[str, Any]]


class LabellingRow(Base):
    """A labelling as it was asked for."""

    __tablename__ = "labellings"
    __table_args__ = (Index("ix_labellings_project", "project", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]
    # Names of the graph's classes, in order.
    classes: Mapped[list[Any]]
    created_at: Mapped[float] = mapped_column(Float)


class LabellingQuestionRow(Base):
    """A question that was put to people; all that a labelling has learnt follows from these."""

    __tablename__ = "labelling_questions"

    labelling_id: Mapped[str] = mapped_column(ForeignKey("labellings.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    node: Mapped[int] = mapped_column(BigInteger)
    label: Mapped[int] = mapped_column(Integer)
    # The model's distribution over the classes when the question was put.
    belief: Mapped[list[Any]]
    # `yes`, `no` or `skip`; null while the question is open.
    answer: Mapped[str | None] = mapped_column(String(10))
    answered_at: Mapped[float | None] = mapped_column(Float)

"""Attached databases and tuning sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FINAL = ("finished", "stopped", "yielded", "failed")
_KINDS = ("session", "interval", "notice")


def upgrade() -> None:
    op.create_table(
        "databases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("login", sa.String(length=255), nullable=False),
        sa.Column("dbname", sa.String(length=255), nullable=False),
        sa.Column("tls", sa.String(length=20), nullable=False),
        sa.Column("ca", sa.String(length=255), nullable=True),
        sa.Column("password_from", sa.String(length=10), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("ram_bytes", sa.BigInteger(), nullable=True),
        sa.Column("cores", sa.Integer(), nullable=True),
        sa.Column("server", sa.String(length=300), nullable=False),
        sa.Column("probe", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_databases_name", "databases", ["project", "name"], unique=True)
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("database_id", sa.String(length=32), nullable=False),
        sa.Column("database_name", sa.String(length=100), nullable=False),
        sa.Column("server", sa.String(length=300), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("wanted", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_sessions_database", "sessions", ["database_id", "id"])
    op.create_index("ix_sessions_project", "sessions", ["project", "id"])
    op.create_table(
        "session_status",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("active_seconds", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("touched", sa.Boolean(), nullable=False),
        sa.Column("intervals", sa.Integer(), nullable=False),
        sa.Column("unsafe", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Float(), nullable=False),
        sa.Column("gain", sa.Float(), nullable=True),
        sa.Column("best", sa.JSON(), nullable=True),
        sa.Column("tuner", sa.JSON(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_id"),
    )
    op.create_index("ix_session_status_state", "session_status", ["state"])
    op.create_table(
        "session_facts",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("session_id", "number"),
    )
    op.create_index("ix_session_facts_kind", "session_facts", ["session_id", "kind", "number"])


def downgrade() -> None:
    connection = op.get_bind()
    _require_settled(connection)
    events = sa.table("events", sa.column("kind", sa.String))
    connection.execute(events.delete().where(events.c.kind.in_(_KINDS)))
    keys = sa.table("idempotency_keys", sa.column("study_id", sa.String))
    for table in ("sessions", "databases"):
        made = sa.table(table, sa.column("id", sa.String))
        connection.execute(keys.delete().where(keys.c.study_id.in_(sa.select(made.c.id))))
    for table in ("session_facts", "session_status", "sessions", "databases"):
        op.drop_table(table)


def _require_settled(connection: sa.Connection) -> None:
    """An older release knows nothing of what stands on a database, and could not put it back."""
    status = sa.table("session_status", sa.column("state", sa.String), sa.column("touched", sa.Boolean))
    open_sessions = connection.execute(
        sa.select(sa.func.count())
        .select_from(status)
        .where(sa.or_(status.c.state.not_in(_FINAL), status.c.touched.is_(True)))
    ).scalar_one()
    if open_sessions:
        raise RuntimeError(
            f"{open_sessions} tuning sessions are not over; stop them with this release, so that their databases have "
            "their former settings back, and then go down"
        )

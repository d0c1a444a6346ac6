"""Enqueued configurations, warm starts, the trial from which another begins, and the time that trials took."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


_STUDIES = sa.table("studies", sa.column("id", sa.String), sa.column("spec", sa.JSON))


def upgrade() -> None:
    op.create_table(
        "enqueued",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("trial", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "number"),
    )
    op.create_table(
        "earlier_trials",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source_study", sa.String(length=32), nullable=False),
        sa.Column("source_trial", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("reports", sa.JSON(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "number"),
    )
    # Not in batch mode, which would copy the whole table on SQLite: both databases add and drop a column in place.
    op.add_column("jobs", sa.Column("parent", sa.Integer(), nullable=True))
    op.add_column("study_status", sa.Column("cluster_seconds", sa.Float(), nullable=False, server_default="0"))
    op.add_column("reports", sa.Column("seconds", sa.Float(), nullable=True))
    op.add_column("idempotency_keys", sa.Column("enqueued", sa.Integer(), nullable=True))


def downgrade() -> None:
    # An older release would take such a key for one that created a study, and refuses fields that it does not know.
    op.execute("DELETE FROM idempotency_keys WHERE enqueued IS NOT NULL")
    _forget_fields(op.get_bind())
    op.drop_column("idempotency_keys", "enqueued")
    op.drop_column("reports", "seconds")
    op.drop_column("study_status", "cluster_seconds")
    op.drop_column("jobs", "parent")
    op.drop_table("earlier_trials")
    op.drop_table("enqueued")


def _forget_fields(connection: sa.Connection) -> None:
    for study_id, spec in connection.execute(sa.select(_STUDIES.c.id, _STUDIES.c.spec)).all():
        connection.execute(sa.update(_STUDIES).where(_STUDIES.c.id == study_id).values(spec=_as_before(spec)))


def _as_before(spec: dict[str, Any]) -> dict[str, Any]:
    budget = {name: value for name, value in spec["budget"].items() if name not in ("cluster_seconds", "patience")}
    if budget.get("trials") is None and budget.get("seconds") is None:
        budget["seconds"] = spec["budget"]["cluster_seconds"]
    return {name: value for name, value in spec.items() if name != "warm_start"} | {"budget": budget}

"""Labellings: questions about a graph's nodes that people answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "labellings",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_labellings_project", "labellings", ["project", "id"])
    op.create_table(
        "labelling_questions",
        sa.Column("labelling_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Integer(), nullable=False),
        sa.Column("belief", sa.JSON(), nullable=False),
        sa.Column("answer", sa.String(length=10), nullable=True),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["labelling_id"], ["labellings.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("labelling_id", "number"),
    )


def downgrade() -> None:
    keys = sa.table("idempotency_keys", sa.column("study_id", sa.String))
    made = sa.table("labellings", sa.column("id", sa.String))
    op.get_bind().execute(keys.delete().where(keys.c.study_id.in_(sa.select(made.c.id))))
    for table in ("labelling_questions", "labellings"):
        op.drop_table(table)

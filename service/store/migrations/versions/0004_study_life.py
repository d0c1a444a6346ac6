"""Priorities, tags, notes and shares of studies; retries and notes of trials."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_studies = sa.table("studies", sa.column("id", sa.String), sa.column("spec", sa.JSON))
_NEW_FIELDS = ("priority", "tags", "notes")


def upgrade() -> None:
    # Both databases add and drop a column in place.
    op.add_column("studies", sa.Column("priority", sa.String(length=10), nullable=False, server_default="normal"))
    op.add_column("studies", sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("studies", sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("enqueued", sa.Column("retry_of", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("retry_of", sa.Integer(), nullable=True))
    op.create_table(
        "study_tags",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("tag", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "tag"),
    )
    op.create_index("ix_study_tags_tag", "study_tags", ["tag", "study_id"])
    op.create_table(
        "trial_notes",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "trial"),
    )
    op.create_table(
        "leg_claims",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("running", sa.Float(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id"),
    )
    op.create_table(
        "leg_rooms",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("legs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id"),
    )


def downgrade() -> None:
    connection = op.get_bind()
    # An older release refuses fields that it does not know.
    for study_id, spec in connection.execute(sa.select(_studies.c.id, _studies.c.spec)).all():
        connection.execute(_studies.update().where(_studies.c.id == study_id).values(spec=_as_before(spec)))
    for table in ("leg_rooms", "leg_claims", "trial_notes"):
        op.drop_table(table)
    op.drop_index("ix_study_tags_tag", "study_tags")
    op.drop_table("study_tags")
    op.drop_column("trials", "retry_of")
    op.drop_column("enqueued", "retry_of")
    for column in ("revision", "tags", "priority"):
        op.drop_column("studies", column)


def _as_before(spec: dict[str, Any]) -> dict[str, Any]:
    limits = {name: value for name, value in spec.get("limits", {}).items() if name != "retry_failed"}
    return {name: value for name, value in spec.items() if name not in _NEW_FIELDS} | {"limits": limits}

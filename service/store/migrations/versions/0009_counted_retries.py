"""How often a job was lost and failed before its last attempt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Both databases add and drop a column in place.
    for column in ("losses", "failures"):
        op.add_column("jobs", sa.Column(column, sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for column in ("failures", "losses"):
        op.drop_column("jobs", column)

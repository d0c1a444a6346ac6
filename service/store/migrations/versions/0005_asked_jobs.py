"""Jobs that are asked for from outside: under which key, and by what their ends were told."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_EXTERNAL = "external"
_studies = sa.table("studies", sa.column("id", sa.String), sa.column("workload", sa.String), sa.column("spec", sa.JSON))
_status = sa.table(
    "study_status",
    sa.column("study_id", sa.String),
    sa.column("state", sa.String),
    sa.column("reason", sa.Text),
    sa.column("ended_at", sa.Float),
)


def upgrade() -> None:
    # Both databases add and drop a column in place.
    op.add_column("jobs", sa.Column("ask_key", sa.String(length=200), nullable=True))
    op.add_column("jobs", sa.Column("ask_digest", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("told", sa.String(length=80), nullable=True))


def downgrade() -> None:
    connection = op.get_bind()
    # An older release refuses a field that it does not know, and would look for a workload of this name.
    for study_id, spec in connection.execute(sa.select(_studies.c.id, _studies.c.spec)).all():
        connection.execute(_studies.update().where(_studies.c.id == study_id).values(spec=_as_before(spec)))
    outside = sa.select(_studies.c.id).where(_studies.c.workload == _EXTERNAL)
    connection.execute(
        _status.update()
        .where(_status.c.study_id.in_(outside), _status.c.state.in_(["queued", "running", "paused"]))
        .values(state="failed", reason="this release cannot give jobs to clients", ended_at=time.time())
    )
    for column in ("told", "ask_digest", "ask_key"):
        op.drop_column("jobs", column)


def _as_before(spec: dict[str, Any]) -> dict[str, Any]:
    limits = {name: value for name, value in spec.get("limits", {}).items() if name != "lease_seconds"}
    return {**spec, "limits": limits}

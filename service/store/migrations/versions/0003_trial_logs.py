"""Trials' logs in pieces, in a table of their own; studies that run a command."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What an older release keeps of a log: its end.
_KEPT_BEFORE = 64 * 1024

_studies = sa.table("studies", sa.column("id", sa.String), sa.column("spec", sa.JSON))
_logs = sa.table(
    "trial_logs",
    sa.column("study_id", sa.String),
    sa.column("trial", sa.Integer),
    sa.column("position", sa.BigInteger),
    sa.column("size", sa.Integer),
    sa.column("text", sa.Text),
)
_trials = sa.table(
    "trials", sa.column("study_id", sa.String), sa.column("number", sa.Integer), sa.column("log", sa.Text)
)


def upgrade() -> None:
    op.create_table(
        "trial_logs",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "trial", "position"),
    )
    # A log has been at most as long as one piece may be.
    op.execute(
        _logs.insert().from_select(
            ["study_id", "trial", "position", "size", "text"],
            sa.select(
                _trials.c.study_id, _trials.c.number, sa.literal(0), sa.func.length(_trials.c.log), _trials.c.log
            ).where(_trials.c.log != ""),
        )
    )
    # Both databases drop and add a column in place.
    op.drop_column("trials", "log")


def downgrade() -> None:
    connection = op.get_bind()
    # An older release refuses a field that it does not know.
    for study_id, spec in connection.execute(sa.select(_studies.c.id, _studies.c.spec)).all():
        kept = {name: value for name, value in spec.items() if name != "command"}
        connection.execute(_studies.update().where(_studies.c.id == study_id).values(spec=kept))
    op.add_column("trials", sa.Column("log", sa.Text(), nullable=False, server_default=""))
    trials = sa.select(_logs.c.study_id, _logs.c.trial).distinct()
    for study_id, trial in connection.execute(trials).all():
        connection.execute(
            _trials.update()
            .where(_trials.c.study_id == study_id, _trials.c.number == trial)
            .values(log=_ending(connection, study_id, trial))
        )
    op.drop_table("trial_logs")


def _ending(connection: sa.Connection, study_id: str, trial: int) -> str:
    pieces = sa.select(_logs.c.text).where(_logs.c.study_id == study_id, _logs.c.trial == trial)
    text = ""
    for (piece,) in connection.execute(pieces.order_by(_logs.c.position.desc())):
        text = piece + text
        if len(text) >= _KEPT_BEFORE:
            break
    return text[-_KEPT_BEFORE:]

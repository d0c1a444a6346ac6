"""API tokens, projects and the audit trail."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_studies = sa.table("studies", sa.column("id", sa.String), sa.column("spec", sa.JSON))


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=10), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=12), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.Column("last_used_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["parent"], ["tokens.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_tokens_parent", "tokens", ["parent"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("token", sa.String(length=12), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("verb", sa.String(length=20), nullable=False),
        sa.Column("resource", sa.String(length=300), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    # Both databases add and drop a column in place.
    op.add_column("studies", sa.Column("project", sa.String(length=64), nullable=False, server_default="default"))
    op.create_index("ix_studies_project", "studies", ["project", "id"])
    op.add_column("events", sa.Column("project", sa.String(length=64), nullable=False, server_default="default"))
    op.add_column("idempotency_keys", sa.Column("project", sa.String(length=64), nullable=False, server_default="*"))
    _key_by("project", "key")


def downgrade() -> None:
    connection = op.get_bind()
    # An older release has one name space for all keys.
    connection.exec_driver_sql("DELETE FROM idempotency_keys WHERE project <> '*'")
    _forget_fields(connection)
    _key_by("key")
    op.drop_column("idempotency_keys", "project")
    op.drop_column("events", "project")
    op.drop_index("ix_studies_project", "studies")
    op.drop_column("studies", "project")
    op.drop_index("ix_audit_at", "audit")
    op.drop_table("audit")
    op.drop_index("ix_tokens_parent", "tokens")
    op.drop_table("tokens")


def _key_by(*columns: str) -> None:
    """Give the table of idempotency keys another primary key."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint("idempotency_keys_pkey", "idempotency_keys", type_="primary")
        op.create_primary_key("idempotency_keys_pkey", "idempotency_keys", list(columns))
        return
    # SQLite cannot, so the table is copied.
    old = sa.Table("idempotency_keys", sa.MetaData(), autoload_with=connection)
    kept = (sa.Column(c.name, c.type, nullable=c.nullable, server_default=_default(c)) for c in old.columns)
    new = sa.Table("idempotency_keys_new", sa.MetaData(), *kept, sa.PrimaryKeyConstraint(*columns))
    new.create(connection)
    connection.execute(new.insert().from_select([c.name for c in old.columns], sa.select(old)))
    old.drop(connection)
    op.rename_table(new.name, old.name)


def _default(column: sa.Column[Any]) -> Any:
    return column.server_default.arg if isinstance(column.server_default, sa.DefaultClause) else None


def _forget_fields(connection: sa.Connection) -> None:
    """An older release refuses fields that it does not know."""
    for study_id, spec in connection.execute(sa.select(_studies.c.id, _studies.c.spec)).all():
        kept = {name: value for name, value in spec.items() if name != "project"}
        if kept.get("command"):
            kept["command"] = {name: value for name, value in kept["command"].items() if name != "secrets"}
        connection.execute(_studies.update().where(_studies.c.id == study_id).values(spec=kept))

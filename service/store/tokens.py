"""API tokens in the store, and the sessions in which browsers hold them.

A session is a token of its own that another one has: with the same scope and project, for a short time, and over as
soon as the other one is. Rows of tokens stay when they are revoked, so that the audit trail can be read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, update
from sqlalchemy.orm import aliased

from service.caller import Caller
from service.store.engine import queue_up
from service.store.errors import Conflict, NotFound
from service.store.tables import TokenRow
from service.tokens import NO_DIGEST, Secret, new
from tunewright.access import Scope

# A browser logs in anew after this long.
SESSION_SECONDS = 12 * 3600.0


@dataclass(frozen=True)
class Token:
    """A token as it may be shown; times are seconds since the epoch."""

    id: str
    name: str
    scope: Scope
    project: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None

    def state(self, now: float) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"


def create(
    connection: Connection, name: str, scope: Scope, project: str, expires_at: float | None = None
) -> tuple[Token, Secret]:
    """Make a token.

    Args:
        project: the only one that it sees; `*` for all.
    Returns:
        The token, and what its holder must have: it cannot be had again.
    Raises:
        Conflict: another token that is not revoked has the name.
    """
    # Two who ask for a free name at the same moment would both find it free.
    queue_up(connection, f"token {name}")
    taken = select(TokenRow.id).where(TokenRow.name == name, TokenRow.parent.is_(None), TokenRow.revoked_at.is_(None))
    if connection.execute(taken.limit(1)).one_or_none() is not None:
        raise Conflict(f'there is a token "{name}" already; revoke it, or choose another name')
    secret = new()
    _insert(connection, secret, name, scope, project, None, expires_at)
    return _token(connection, secret.id), secret


def open_session(connection: Connection, caller: Caller) -> Secret:
    """Begin a session of a token's holder; forgets those that are over."""
    assert caller.token is not None
    now = time.time()
    connection.execute(delete(TokenRow).where(TokenRow.parent.is_not(None), TokenRow.expires_at < now))
    secret = new()
    expires_at = min(now + SESSION_SECONDS, caller.expires_at or float("inf"))
    _insert(connection, secret, caller.name, caller.scope, caller.project, caller.token, expires_at)
    return secret


def close_session(connection: Connection, session: str) -> None:
    """End a session."""
    connection.execute(delete(TokenRow).where(TokenRow.id == session, TokenRow.parent.is_not(None)))


def caller(connection: Connection, secret: Secret) -> tuple[Caller, float | None] | None:
    """The holder of a token or session, and when the token was last used; None when it is not valid."""
    parent = aliased(TokenRow)
    row = connection.execute(
        select(
            TokenRow.__table__,
            parent.revoked_at.label("parent_revoked_at"),
            parent.expires_at.label("parent_expires_at"),
            parent.last_used_at.label("parent_last_used_at"),
        )
        .outerjoin(parent, parent.id == TokenRow.parent)
        .where(TokenRow.id == secret.id)
    ).one_or_none()
    # Compared in any case: how long it takes does not tell whether there is such an id.
    known = secret.matches(NO_DIGEST if row is None else row.digest)
    if row is None or not known or row.revoked_at is not None or row.parent_revoked_at is not None:
        return None
    ends = [at for at in (row.expires_at, row.parent_expires_at) if at is not None]
    if ends and min(ends) <= time.time():
        return None
    found = Caller(
        token=row.parent or row.id,
        name=row.name,
        scope=Scope(row.scope),
        project=row.project,
        expires_at=min(ends, default=None),
        session=row.id if row.parent else None,
    )
    return found, row.parent_last_used_at if row.parent else row.last_used_at


def note_use(connection: Connection, used: dict[str, float]) -> None:
    """Note when tokens were used; id -> seconds since the epoch."""
    for token, at in used.items():
        connection.execute(update(TokenRow).where(TokenRow.id == token).values(last_used_at=at))


def revoke(connection: Connection, which: str) -> Token:
    """End a token, and every session of it.

    Args:
        which: its id, or its name.
    Raises:
        NotFound: there is no such token.
        Conflict: it was revoked before.
    """
    # The newest first: revoked ones may have the name too, and a name may look like an id.
    of_name = select(TokenRow.id).where(TokenRow.name == which, TokenRow.parent.is_(None))
    newest = of_name.order_by(TokenRow.revoked_at.is_not(None), TokenRow.created_at.desc()).limit(1)
    of_id = select(TokenRow.id).where(TokenRow.id == which, TokenRow.parent.is_(None))
    found = connection.scalar(of_id) or connection.scalar(newest)
    if found is None:
        raise NotFound(f'there is no token "{which}"; see: tunewright token list')
    if _token(connection, found).revoked_at is not None:
        raise Conflict(f'token "{which}" was revoked before')
    connection.execute(update(TokenRow).where(TokenRow.id == found).values(revoked_at=time.time()))
    connection.execute(delete(TokenRow).where(TokenRow.parent == found))
    return _token(connection, found)


def tokens(connection: Connection) -> list[Token]:
    """All tokens, oldest first, without sessions."""
    rows = connection.execute(
        select(TokenRow.__table__).where(TokenRow.parent.is_(None)).order_by(TokenRow.created_at, TokenRow.id)
    )
    return [_as_token(row) for row in rows]


def any_token(connection: Connection) -> bool:
    """Whether a token was ever made, valid or not."""
    return bool(connection.scalar(select(exists().where(TokenRow.parent.is_(None)))))


def _insert(
    connection: Connection,
    secret: Secret,
    name: str,
    scope: Scope,
    project: str,
    parent: str | None,
    expires_at: float | None,
) -> None:
    connection.execute(
        insert(TokenRow).values(
            id=secret.id,
            name=name,
            digest=secret.digest,
            scope=scope,
            project=project,
            parent=parent,
            created_at=time.time(),
            expires_at=expires_at,
        )
    )


def _token(connection: Connection, token: str) -> Token:
    return _as_token(connection.execute(select(TokenRow.__table__).where(TokenRow.id == token)).one())


def _as_token(row: Row[Any]) -> Token:
    return Token(
        row.id,
        row.name,
        Scope(row.scope),
        row.project,
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
    )

"""The audit trail: who did or tried what, when, from where, and what came of it. Neither bodies nor secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, delete, insert, select

from service.caller import Caller
from service.store import cursors
from service.store.rows import utc
from service.store.tables import AuditRow
from tunewright._text import writable
from tunewright.views import AuditEntry, Page

_NUMBER = re.compile("[1-9][0-9]{0,17}")
_CURSOR = "audit"


@dataclass(frozen=True)
class Act:
    """Something that somebody did, or was refused.

    Attributes:
        token: id of the token that was used; None without one.
        name: the token's name, `local` without one, `unknown` where it was not valid.
        verb: the request's method, or the command's name.
        resource: the path, or what the command was about.
        outcome: the answer's status code, or `done`.
        address: where the request came from; empty for commands on the server's machine.
    """

    token: str | None
    name: str
    verb: str
    resource: str
    outcome: str
    address: str = ""

    @classmethod
    def of(cls, caller: Caller | None, verb: str, resource: str, outcome: int, address: str) -> Act:
        """What a caller did over REST; None is somebody whose token is not valid."""
        token, name = (None, "unknown") if caller is None else (caller.token, caller.name)
        return cls(token, name, verb[:20], writable(resource[:300]), str(outcome), address[:45])


def add(connection: Connection, acts: Sequence[tuple[float, Act, int]]) -> None:
    """Add to the trail: when each came (in seconds since the epoch), what it was, and how often it came."""
    if acts:
        connection.execute(insert(AuditRow), [{"at": at, **asdict(act), "count": count} for at, act, count in acts])


def prune(connection: Connection, days: float) -> None:
    """Remove what is older than that."""
    connection.execute(delete(AuditRow).where(AuditRow.at < time.time() - days * 24 * 3600))


def page(engine: Engine, *, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
    """The trail, newest first.

    Raises:
        BadCursor: the cursor is not this list's.
    """
    statement = select(AuditRow.__table__).order_by(AuditRow.id.desc()).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(AuditRow.id < int(cursors.decode(cursor, _CURSOR, _NUMBER)))
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    items = [
        AuditEntry(
            id=row.id,
            at=utc(row.at),
            token=row.token,
            name=row.name,
            verb=row.verb,
            resource=row.resource,
            outcome=row.outcome,
            address=row.address,
            count=row.count,
        )
        for row in rows[:limit]
    ]
    following = cursors.encode(_CURSOR, str(items[-1].id)) if len(rows) > limit else None
    return Page[AuditEntry](items=items, next_cursor=following)

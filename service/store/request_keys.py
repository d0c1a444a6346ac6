"""Idempotency keys: a request that is repeated with its key changes nothing and is answered as the first time."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from service.store.engine import queue_up
from service.store.errors import Conflict
from service.store.tables import IdempotencyRow
from tunewright.access import EVERY_PROJECT

IDEMPOTENCY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class RequestKey:
    """What tells a repeated request from another one: the client's key, and a digest of what was sent with it.

    Attributes:
        project: that of the client, whose keys are its own; `*` for who is bound to none.
    """

    key: str
    digest: str
    project: str = EVERY_PROJECT

    @classmethod
    def of(cls, key: str, *sent: Any, project: str = EVERY_PROJECT) -> RequestKey:
        """Of a client's key and the JSON values that it sent."""
        return cls(key, hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest(), project)


def earlier(connection: Connection, key: RequestKey | None) -> Row[Any] | None:
    """What an earlier request with the same key made; None if there was none."""
    if key is None:
        return None
    # Two requests with one key may come at once.
    queue_up(connection, f"key {key.project} {key.key}")
    connection.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < time.time() - IDEMPOTENCY_SECONDS))
    row = connection.execute(
        select(IdempotencyRow.__table__).where(IdempotencyRow.project == key.project, IdempotencyRow.key == key.key)
    ).one_or_none()
    if row is not None and row.body_hash != key.digest:
        raise Conflict(f'Idempotency-Key "{key.key}" was used for another request; take a new key')
    return row


def note(connection: Connection, key: RequestKey | None, study_id: str, enqueued: int | None = None) -> None:
    """Remember, for a day, what a request with this key made."""
    if key is not None:
        connection.execute(
            insert(IdempotencyRow).values(
                project=key.project,
                key=key.key,
                body_hash=key.digest,
                study_id=study_id,
                enqueued=enqueued,
                created_at=time.time(),
            )
        )


def forget(connection: Connection, made: str) -> None:
    """What was deleted may be made anew with the same key."""
    connection.execute(delete(IdempotencyRow).where(IdempotencyRow.study_id == made))

"""Tokens as they are made, listed and revoked on the server's machine, by whoever may open its store.

There is no way to do so over REST: a token that is stolen cannot make others. Each act is in the audit trail.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from service.settings import ServiceSettings
from service.store import audit, tokens
from service.store.audit import Act
from service.store.engine import open_engine, prepare, writing
from service.store.tokens import Token
from tunewright.access import Scope


def create(
    settings: ServiceSettings, name: str, scope: Scope, project: str, seconds: float | None
) -> tuple[Token, str]:
    """Make a token.

    Args:
        project: the only one that it sees; `*` for all.
        seconds: until it expires; None never.
    Returns:
        The token, and the text by which its holder shows it.
    Raises:
        Conflict: there is a token of this name.
    """
    expires_at = None if seconds is None else time.time() + seconds
    with _store(settings) as connection:
        token, secret = tokens.create(connection, name, scope, project, expires_at)
        _note(connection, "token create", token)
    return token, secret.text


def revoke(settings: ServiceSettings, which: str) -> Token:
    """End a token, named by its id or name; services hear of it within seconds.

    Raises:
        NotFound: there is no such token.
        Conflict: it was revoked before.
    """
    with _store(settings) as connection:
        token = tokens.revoke(connection, which)
        _note(connection, "token revoke", token)
    return token


def every(settings: ServiceSettings) -> list[Token]:
    """All tokens, oldest first."""
    with _store(settings) as connection:
        return tokens.tokens(connection)


@contextmanager
def _store(settings: ServiceSettings) -> Iterator[Connection]:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_engine(settings.store_url)
    try:
        prepare(engine)
        with writing(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def _note(connection: Connection, verb: str, token: Token) -> None:
    act = Act(token=None, name="local", verb=verb, resource=f"token/{token.id}", outcome="done")
    audit.add(connection, [(time.time(), act, 1)])

"""Tokens for tests of access."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from service.access import Gate
from service.store import tokens
from service.store.engine import writing
from tests.service.conftest import Service
from tunewright.access import EVERY_PROJECT, Scope


def make_token(
    service: Service,
    scope: Scope = Scope.ADMIN,
    project: str = EVERY_PROJECT,
    *,
    name: str | None = None,
    seconds: float | None = None,
) -> str:
    """Make a token of a running service; returns what its holder sends.

    Args:
        seconds: until it expires, also below zero.
    """
    expires_at = None if seconds is None else time.time() + seconds
    with writing(service.repository.engine) as connection:
        _, secret = tokens.create(connection, name or f"{scope} of {project}", scope, project, expires_at)
    return secret.text


def revoke(service: Service, token: str) -> None:
    with writing(service.repository.engine) as connection:
        tokens.revoke(connection, token.split("_")[1])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def gate(service: Service) -> Gate:
    found: Gate = service.app.state.gate
    return found


class Clock:
    """A clock that tests move."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def pass_time(service: Service, seconds: float) -> None:
    """Let time pass for what the service remembers of tokens and failures."""
    authenticator: Any = gate(service).authenticator
    before: Callable[[], float] = authenticator._clock
    authenticator._clock = lambda: before() + seconds

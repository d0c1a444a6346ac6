"""What a store answers when a request cannot be met."""

from __future__ import annotations

from tunewright.errors import TunewrightError


class NotFound(TunewrightError):
    """No such study, trial or job."""


class Conflict(TunewrightError):
    """The request does not fit the present state; the message says which state and what to do."""

"""What a store answers when a request cannot be met."""

from __future__ import annotations

from tunewright.errors import TunewrightError


class NotFound(TunewrightError):
    """No such study, trial, job, database, session or labelling."""


class Conflict(TunewrightError):
    """The request does not fit the present state; the message says which state and what to do."""


class WrongField(TunewrightError):
    """A field of a request does not fit what is known; the message says why, and what to do.

    Attributes:
        field: its dotted name.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class DatabaseUnusable(TunewrightError):
    """A live database does not answer, or lets us in no more; the message says which and why."""

"""Cursors: opaque to clients, they name a list and the last item that was seen of it."""

from __future__ import annotations

import base64
import re

from tunewright.errors import TunewrightError


class BadCursor(TunewrightError, ValueError):
    """The cursor was not made by this list."""


def encode(kind: str, key: str) -> str:
    """The cursor of list `kind` after the item named by `key`."""
    return base64.urlsafe_b64encode(f"{kind}|{key}".encode()).decode().rstrip("=")


def decode(cursor: str, kind: str, form: re.Pattern[str]) -> str:
    """The key that a cursor names, as `encode` took it.

    Raises:
        BadCursor: it was made by another list, or by hand.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    prefix = f"{kind}|"
    if not text.startswith(prefix) or not form.fullmatch(text[len(prefix) :]):
        raise BadCursor("cursor: it does not belong to this list; start again without one")
    return text[len(prefix) :]

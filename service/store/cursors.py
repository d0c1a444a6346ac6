"""Cursors: opaque to clients, they name a list and the last item that was seen of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Select

from tunewright.errors import TunewrightError
from tunewright.views import Page

T = TypeVar("T")
S = TypeVar("S", bound=Select[Any])
# What studies, databases, sessions and labellings are called; later ones sort behind.
ID = re.compile("[0-9a-v]{16}")


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


def newest_first(statement: S, table: Any, *, limit: int, cursor: str | None, project: str | None) -> tuple[S, str]:
    """The statement for one page of things that have an id and a project, and the kind of its cursors.

    One more than `limit` is asked for, by which `page` sees whether another page follows.

    Raises:
        BadCursor: the cursor is not this list's.
    """
    kind = table.__tablename__ if project is None else f"{table.__tablename__}:{project}"
    statement = statement.order_by(table.id.desc()).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(table.id < decode(cursor, kind, ID))
    if project is not None:
        statement = statement.where(table.project == project)
    return statement, kind


def page(items: list[T], limit: int, kind: str, key: Callable[[T], str]) -> Page[T]:
    """A page, with the cursor of the one after it if `items` has one more."""
    following = encode(kind, key(items[limit - 1])) if len(items) > limit else None
    return Page(items=items[:limit], next_cursor=following)

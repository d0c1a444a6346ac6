"""Texts of users' programs, as JSON and every store can hold them."""

from __future__ import annotations


def writable(said: str) -> str:
    """The text with ? for NUL and for half of a surrogate pair, as in names of files that are no UTF-8."""
    return said.encode(errors="replace").decode().replace("\0", "?")

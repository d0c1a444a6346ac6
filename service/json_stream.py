"""A JSON object that is too large for memory: its members one by one, and its long lists item by item.

As strict as `json_body`; what is wrong is refused with the place where it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, TextIO

from service import json_body
from service.json_body import BadBody

PIECE = 1 << 20
# Characters of one value; a trial with ten thousand reports has about a million.
MAX_VALUE = 16 << 20
LONGEST_NUMBER = 100
# A number that the text so far ends with may go on in the next piece.
_UNFINISHED = re.compile(r"[-+.eE0-9]*\Z")


def members(source: TextIO, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Names and values of an object's members, in their order; of a list among `lists` each item by itself.

    Raises:
        BadBody: it is not strict JSON, no object, or has a value that is too long.
    """
    reader = _Reader(source)
    reader.take("{", "an object")
    if reader.peek() != "}":
        yield from _member(reader, lists)
        while reader.peek() == ",":
            reader.take(",", "a comma")
            yield from _member(reader, lists)
    reader.take("}", "a comma or the end of the object")
    if reader.peek():
        raise BadBody("the body goes on after the end of its object")


def _member(reader: _Reader, lists: Collection[str]) -> Iterator[tuple[str, Any]]:
    if reader.peek() != '"':
        raise BadBody("the body is not JSON: a member's name was expected")
    name = reader.value()
    reader.take(":", "a colon")
    if name not in lists or reader.peek() != "[":
        yield name, reader.value()
        return
    reader.take("[", "a list")
    if reader.peek() != "]":
        yield name, reader.value()
        while reader.peek() == ",":
            reader.take(",", "a comma")
            yield name, reader.value()
    reader.take("]", f'a comma or the end of the list "{name[:100]}"')


class _Reader:
    """A window on the text, which is read as it is needed."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._decoder = json_body.decoder()
        self._text = ""
        self._place = 0
        self._more = True

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\n\r":
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read():
                return ""

    def take(self, character: str, what: str) -> None:
        if self.peek() != character:
            raise BadBody(f"the body is not JSON: {what} was expected, not {self.peek()[:1]!r}")
        self._place += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        refused: int | None = None
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except BadBody:
                # What was refused may be the beginning of a number.
                seen = len(self._text) - self._place
                refused = seen if refused is None else refused
                if seen - refused > LONGEST_NUMBER or not self._read():
                    raise
            except json.JSONDecodeError as error:
                if not self._read():
                    raise BadBody(f"the body is not JSON: {error.msg}") from None
            except RecursionError:
                raise BadBody("the body is nested too deeply") from None
            else:
                if not _UNFINISHED.match(self._text, end) or not self._read():
                    self._place = end
                    json_body.check(value)
                    return value

    def _read(self) -> bool:
        """Take in the next piece; False at the end."""
        if not self._more:
            return False
        if len(self._text) - self._place > MAX_VALUE:
            raise BadBody(f"a single value has more than {MAX_VALUE} characters")
        try:
            piece = self._source.read(PIECE)
        except UnicodeDecodeError:
            raise BadBody("the body is not UTF-8; encode it so") from None
        self._text = self._text[self._place :] + piece
        self._place = 0
        self._more = bool(piece)
        return self._more

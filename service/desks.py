"""The way from the API to the desks of studies whose trials run elsewhere, whichever process their runners are in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from workers.ask_tell import Answer, Refused, Why, Word

Say: TypeAlias = Callable[[Word], Awaitable[Answer]]
CLOSED = Refused(Why.CLOSED)


class Desks:
    """Finds desks and speaks there; used by one event loop.

    Args:
        find: the way to a study's desk; None when nobody is at it. What it says is answered as closed once it is lost.
    """

    def __init__(self, find: Callable[[str], Awaitable[Say | None]]) -> None:
        self._find = find
        self._lines: dict[str, Say] = {}
        self._opening: dict[str, asyncio.Task[Say | None]] = {}

    async def say(self, study: str, word: Word) -> Answer:
        """Say something at a study's desk; `Refused` as closed where nobody is there, which may change soon."""
        line = self._lines.get(study) or await self._open(study)
        if line is None:
            return CLOSED
        answer = await line(word)
        if answer == CLOSED and self._lines.get(study) is line:
            # The next one looks for whoever has the study then.
            del self._lines[study]
        return answer

    async def _open(self, study: str) -> Say | None:
        """A line to the desk, one for all who want it at the same time."""
        task = self._opening.get(study)
        if task is None:
            task = self._opening[study] = asyncio.create_task(self._connect(study), name=f"line to {study}")
        # Whoever goes away takes nobody's line along.
        return await asyncio.shield(task)

    async def _connect(self, study: str) -> Say | None:
        try:
            line = await self._find(study)
            if line is not None:
                self._lines[study] = line
            return line
        finally:
            del self._opening[study]

"""The way from the API to the desks of studies whose trials run elsewhere, whichever process their runners are in.

What requests say at the same time travels together: while some words of a study are on their way, those that come
collect, so that many clients cost few calls, and the runner writes what arrives together as one batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ray.exceptions import RayError

from workers.ask_tell import Answer, Ask, Refused, Why, Word

# Groups of one study on their way at a time: one is written while the other travels.
GROUPS = 2

Desk: TypeAlias = Callable[[Sequence[Word]], Awaitable[list[Answer]]]
_CLOSED = Refused(Why.CLOSED)


@dataclass
class _Line:
    """What is said at one desk."""

    desk: Desk
    under_way: int = 0
    waiting: list[tuple[Word, asyncio.Future[Answer]]] = field(default_factory=list)


class Desks:
    """Finds desks and speaks there; used by one event loop.

    Args:
        find: the way to a study's desk, None when nobody is at it; called in a thread.
    """

    def __init__(self, find: Callable[[str], Desk | None]) -> None:
        self._find = find
        self._lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def say(self, study: str, word: Word) -> Answer:
        """Say something at a study's desk; `Refused` as closed where nobody is there, which may change soon."""
        line = self._lines.get(study)
        if line is None:
            desk = await asyncio.to_thread(self._find, study)
            if desk is None:
                return _CLOSED
            line = self._lines.setdefault(study, _Line(desk))
        if isinstance(word, Ask) and word.wait > 0:
            # Nobody shall wait for the one who waits.
            (answer,) = await self._call(study, line, [word])
            return answer
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        line.waiting.append((word, answered))
        self._pump(study, line)
        return await answered

    def _pump(self, study: str, line: _Line) -> None:
        if not line.waiting or line.under_way >= GROUPS:
            return
        group, line.waiting = line.waiting, []
        line.under_way += 1
        task = asyncio.create_task(self._send(study, line, group), name=f"words to {study}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, study: str, line: _Line, group: list[tuple[Word, asyncio.Future[Answer]]]) -> None:
        answers = await self._call(study, line, [word for word, _ in group])
        for (_, answered), answer in zip(group, answers, strict=True):
            if not answered.done():
                answered.set_result(answer)
        line.under_way -= 1
        self._pump(study, line)

    async def _call(self, study: str, line: _Line, words: Sequence[Word]) -> list[Answer]:
        try:
            answers = await line.desk(words)
        except RayError:
            answers = [_CLOSED for _ in words]
        if _CLOSED in answers and self._lines.get(study) is line:
            # The next one looks for whoever has the study then.
            del self._lines[study]
        return answers

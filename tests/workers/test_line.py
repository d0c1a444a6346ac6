"""The line between a service and a desk: words and answers, strangers, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from workers import line as lines
from workers.ask_tell import Answer, Ask, Given, Refused, Tell, Told, Why, Word
from workers.line import DeskServer, Door, open_line
from workers.orders import Reply

pytestmark = pytest.mark.timeout(30)

CLOSED = Refused(Why.CLOSED)
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """The event loop of runners, and that of services."""
    found: Run = request.param
    return found


class Attendant:
    """Hears words, and answers when told to.

    Attributes:
        heard: what came together.
    """

    def __init__(self) -> None:
        self.heard: list[list[Word]] = []
        self.answers: list[Future[Answer]] = []
        self.news = asyncio.Event()

    def say(self, words: Sequence[Word]) -> list[Future[Answer]]:
        self.heard.append([*words])
        new: list[Future[Answer]] = [Future() for _ in words]
        self.answers.extend(new)
        self.news.set()
        return new

    async def wait_for(self, count: int) -> None:
        while len(self.answers) < count:
            self.news.clear()
            await self.news.wait()


def test_answers_find_their_words_in_whatever_order_they_come(run: Run) -> None:
    async def talk() -> None:
        desk = Attendant()
        server = DeskServer(desk.say)
        line = await open_line(await server.open("127.0.0.1"))
        words = [Tell(number, 1) for number in range(5)]
        said = [asyncio.create_task(line.say(word)) for word in words]
        await desk.wait_for(5)

        for place in (3, 0, 4, 2, 1):
            reply = Reply.STOP if place == 3 else Reply.CONTINUE
            # From another thread, as a runner does.
            await asyncio.to_thread(desk.answers[place].set_result, Told(reply))

        assert [word for group in desk.heard for word in group] == words
        assert [answer.reply for answer in await asyncio.gather(*said) if isinstance(answer, Told)] == [
            *[Reply.CONTINUE] * 3,
            Reply.STOP,
            Reply.CONTINUE,
        ]
        line.close()
        server.close()

    run(talk())


def test_what_is_said_at_once_is_heard_together(run: Run) -> None:
    async def talk() -> None:
        desk = Attendant()
        server = DeskServer(desk.say)
        line = await open_line(await server.open("127.0.0.1"))

        said = [asyncio.create_task(line.say(Ask("a", count=number))) for number in range(1, 101)]
        await desk.wait_for(100)
        for answer in desk.answers:
            answer.set_result(Given())

        assert await asyncio.gather(*said) == [Given()] * 100
        assert len(desk.heard) < 100
        line.close()
        server.close()

    run(talk())


def test_a_stranger_is_not_heard(run: Run) -> None:
    async def talk() -> None:
        desk = Attendant()
        server = DeskServer(desk.say)
        door = await server.open("127.0.0.1")
        line = await open_line(replace(door, secret=b"guessed"))

        answer = await line.say(Ask("a"))

        assert answer == CLOSED
        assert desk.heard == []
        server.close()

    run(talk())


def test_a_desk_that_goes_away_closes_what_waits_for_it(run: Run) -> None:
    async def talk() -> None:
        desk = Attendant()
        server = DeskServer(desk.say)
        line = await open_line(await server.open("127.0.0.1"))
        said = asyncio.create_task(line.say(Ask("a")))
        await desk.wait_for(1)

        line.close()

        assert await said == CLOSED
        assert await line.say(Ask("a")) == CLOSED
        # Who answers too late is not heard, and learns nothing of it.
        desk.answers[0].set_result(Given())
        server.close()

    run(talk())


def test_nobody_listens_there(run: Run) -> None:
    async def talk() -> None:
        server = DeskServer(Attendant().say)
        door = await server.open("127.0.0.1")
        server.close()

        with pytest.raises(ConnectionRefusedError):
            await open_line(door)

    run(talk())


def test_a_desk_that_hangs_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CONNECT_SECONDS", 0.2)

    async def talk() -> None:
        left = asyncio.Event()

        async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            left.set()
            writer.close()

        server = await asyncio.start_server(hangs, "127.0.0.1", 0)
        door = Door("127.0.0.1", server.sockets[0].getsockname()[1], b"secret")

        with pytest.raises(TimeoutError):
            await open_line(door)

        async with asyncio.timeout(10):
            await left.wait()
        server.close()

    run(talk())

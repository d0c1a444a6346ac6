"""An open-loop HTTP load generator: requests go out by the clock, whether or not earlier ones have been answered.

A request's time counts from the moment at which it was due, not from when it could be sent. A server that
stalls for a second therefore shows in all the requests due in that second (no coordinated omission). Plain HTTP/1.1
over kept connections, parsed as far as needed, since the generator shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One request's outcome.

    Attributes:
        kind: as given with its path.
        seconds: from when it was due until its last byte had arrived.
        late: the part of `seconds` by which the machine woke the generator too late; what is left is the server's.
        status: of the response.
        size: bytes of its body.
    """

    kind: str
    seconds: float
    late: float
    status: int
    size: int


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    async def get(self, path: str) -> tuple[int, int]:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: application/json\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not found:
            raise ValueError(f"GET {path}: the answer does not say how long it is")
        size = int(rest.split(b"\r\n", 1)[0])
        await self._reader.readexactly(size)
        return status, size

    def close(self) -> None:
        self._writer.close()


async def open_loop(
    host: str, port: int, requests: Sequence[tuple[str, str]], rate: float, connections: int = 32
) -> list[Answer]:
    """Send GET requests at a fixed rate and wait for all answers.

    Args:
        requests: (kind, path) in the order in which they are due.
        rate: requests per second.
        connections: kept open; requests wait for a free one when all are in use.
    Returns:
        Answers in the order in which they came in.
    """
    due: asyncio.Queue[tuple[float, float, str, str]] = asyncio.Queue()
    answers: list[Answer] = []
    pool = [_Connection(*await asyncio.open_connection(host, port), host) for _ in range(connections)]

    async def serve(connection: _Connection) -> None:
        while len(answers) < len(requests):
            at, late, kind, path = await due.get()
            status, size = await connection.get(path)
            answers.append(Answer(kind, time.perf_counter() - at, late, status, size))

    async def schedule() -> None:
        began = time.perf_counter() + 0.1
        for number, (kind, path) in enumerate(requests):
            at = began + number / rate
            if (left := at - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            due.put_nowait((at, time.perf_counter() - at, kind, path))

    workers = [asyncio.create_task(serve(connection)) for connection in pool]
    try:
        await schedule()
        while len(answers) < len(requests):
            done, _ = await asyncio.wait(workers, timeout=0.05, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                worker.result()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for connection in pool:
            connection.close()
    return answers

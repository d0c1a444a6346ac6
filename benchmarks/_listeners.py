"""Clients of /v1/events in a process of their own: many that read, one that reads slowly, one that never does.

    python -m benchmarks._listeners HOST PORT READERS

prints `ready` once all are connected and, when its standard input ends, one line of JSON: the bytes that each of the
readers took, those that the slow one took, and how many connections the service has cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys

# A page of a browser on a bad line.
SLOW_BYTES = 2_048
SLOW_SECONDS = 0.1
# What fits into a socket that nobody reads.
SMALL_BUFFER = 4_096


class _Client:
    """One connection.

    Attributes:
        taken: bytes read so far.
        over: the service has ended it.
    """

    def __init__(self, pause: float = 0.0, portion: int = 65_536) -> None:
        self.taken = 0
        self.over = False
        self._pause = pause
        self._portion = portion

    async def connect(self, host: str, port: int, buffer: int | None = None) -> None:
        line = socket.socket()
        if buffer is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, (host, port))
        # A stream reads ahead as far as its limit and no further.
        self._reader, self._writer = await asyncio.open_connection(sock=line, limit=self._portion)
        self._writer.write(f"GET /v1/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise ConnectionError(head.decode(errors="replace"))

    async def read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await self._reader.read(self._portion):
                self.taken += len(piece)
                await asyncio.sleep(self._pause)
        self.over = True


async def _main(host: str, port: int, count: int) -> None:
    readers = [_Client() for _ in range(count)]
    slow, never = _Client(SLOW_SECONDS, SLOW_BYTES), _Client(portion=1_024)
    for client in readers:
        await client.connect(host, port)
    await slow.connect(host, port, SMALL_BUFFER)
    await never.connect(host, port, SMALL_BUFFER)
    tasks = [asyncio.create_task(client.read()) for client in [*readers, slow]]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    found = {
        "readers": [client.taken for client in readers],
        "slow": slow.taken,
        "cut_off": sum(client.over for client in [*readers, slow]),
    }
    print(json.dumps(found), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

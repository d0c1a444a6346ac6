"""The line between a service and a study's desk: one TCP connection, words one way and answers the other.

A call through Ray takes a millisecond and as much of two processors: a large part of what asking and telling takes. So
Ray only says where the desk listens, and with which secret. What arrives together is taken in together, and answers
come in whatever order they are ready.

The line is as private as Ray's own between the same processes: whoever holds the secret got it through Ray, and could
run any code there. Nothing of a peer is unpickled before it has proved that it knows the secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import logging
import pickle  # nosec B403
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from workers.ask_tell import Answer, Refused, Why, Word

log = logging.getLogger(__name__)

CONNECT_SECONDS = 3.0
NONCE_BYTES = 32
MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct("!I")
_CLOSED = Refused(Why.CLOSED)
# A host that is gone without a word is noticed by these.
_ALIVE = (
    (socket.TCP_KEEPIDLE, 5),
    (socket.TCP_KEEPINTVL, 2),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 10_000),
)

Say = Callable[[Sequence[Word]], Sequence[Future[Answer]]]


@dataclass(frozen=True)
class Door:
    """Where a desk listens."""

    host: str
    port: int
    secret: bytes = field(repr=False)


class _Frames(asyncio.Protocol):
    """Pickled objects over a connection; the first bytes are somebody else's."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one too, but does not say so.
        self._transport = cast(asyncio.Transport, transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, *objects: Any) -> None:
        """Send some objects at once; nothing where the connection is closed."""
        if self._transport is not None and not self._transport.is_closing():
            pickles = [pickle.dumps(each, pickle.HIGHEST_PROTOCOL) for each in objects]
            self._transport.write(b"".join(_LENGTH.pack(len(each)) + each for each in pickles))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _received(self) -> Iterator[Any]:
        """The objects that are here whole."""
        begin = 0
        while len(self._buffer) - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, begin)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            end = begin + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            # Only a peer that has proved to know the secret is read from.
            yield pickle.loads(memoryview(self._buffer)[begin + _LENGTH.size : end])  # nosec B301
            begin = end
        del self._buffer[:begin]


class DeskServer:
    """Listens for a desk.

    Args:
        say: takes in words; its answers may become done in any thread.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._secret = secrets.token_bytes(NONCE_BYTES)
        self._server: asyncio.Server | None = None

    async def open(self, host: str) -> Door:
        """Listen on an address of this machine, on a port that is free."""
        loop = asyncio.get_running_loop()
        if self._server is None:
            self._server = await loop.create_server(lambda: _Visitor(self._say, self._secret, loop), host, 0)
        return Door(host, self._server.sockets[0].getsockname()[1], self._secret)

    def close(self) -> None:
        """Listen no more; lines that are open stay so."""
        if self._server is not None:
            self._server.close()


class _Visitor(_Frames):
    """The desk's side of a line."""

    def __init__(self, say: Say, secret: bytes, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._say = say
        self._secret = secret
        self._loop = loop
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._known = False
        self._ready: list[tuple[int, Answer]] = []
        self._lock = threading.Lock()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self._transport is not None
        self._transport.write(self._nonce)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._known and not self._admit():
            return
        numbered: list[tuple[int, Word]] = [*self._received()]
        if not numbered:
            return
        answers = self._say([word for _, word in numbered])
        for (number, _), answer in zip(numbered, answers, strict=True):
            answer.add_done_callback(partial(self._answer, number))

    def _admit(self) -> bool:
        """Whether the peer has proved by now that it knows the secret."""
        proof = _proof(self._secret, self._nonce)
        if len(self._buffer) < len(proof):
            return False
        given = bytes(self._buffer[: len(proof)])
        if not hmac.compare_digest(given, proof):
            log.warning("somebody who does not know the secret has called at a study's desk")
            self.close()
            return False
        del self._buffer[: len(proof)]
        self._known = True
        return True

    def _answer(self, number: int, answer: Future[Answer]) -> None:
        # What is answered together, in the runner's own thread, is sent together.
        found = answer.result()
        with self._lock:
            self._ready.append((number, found))
            first = len(self._ready) == 1
        if first:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, []
        self.send(*ready)


class DeskLine(_Frames):
    """The service's side of a line; `open_line` makes one."""

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._secret = secret
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._lost = False
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def say(self, word: Word) -> Answer:
        """Say something at the desk; `Refused` as closed when the line is lost, whether or not it was heard."""
        if self._lost:
            return _CLOSED
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.send((number, word))
        try:
            found: Answer = await answer
            return found
        finally:
            self._waiting.pop(number, None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.greeted.done():
            if len(self._buffer) < NONCE_BYTES:
                return
            assert self._transport is not None
            self._transport.write(_proof(self._secret, bytes(self._buffer[:NONCE_BYTES])))
            del self._buffer[:NONCE_BYTES]
            self.greeted.set_result(None)
        for number, answer in self._received():
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if not self.greeted.done():
            self.greeted.set_exception(error or ConnectionResetError("the desk has closed the line"))
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(_CLOSED)


async def open_line(door: Door) -> DeskLine:
    """Connect to a desk.

    Raises:
        OSError: it cannot be reached.
    """
    async with asyncio.timeout(CONNECT_SECONDS):
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: DeskLine(door.secret), door.host, door.port)
        try:
            await line.greeted
        except BaseException:
            # A runner that hangs is called again and again, and would keep each of these.
            line.close()
            raise
    return line


def _proof(secret: bytes, nonce: bytes) -> bytes:
    return hmac.digest(secret, nonce, hashlib.sha256)

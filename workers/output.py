"""What a child process prints, on its way to the trial's log: bounded, whatever and however fast it prints."""

from __future__ import annotations

import codecs
import os
import selectors
import threading
from collections import deque

# Between two readers no more than this is kept: half of it from the beginning, half from the end.
MAX_CHARACTERS = 1024 * 1024
_HALF = MAX_CHARACTERS // 2
_READ_BYTES = 1 << 16
# A pipe holds less, so what was printed before `take` is in what it returns.
_PIPE_BYTES = 1 << 20


class Output:
    """Reads a pipe as fast as it fills, so that the child never waits for the store, and hands on what it read.

    Args:
        pipe: file descriptor to read from; closed by `close`.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        os.set_blocking(pipe, False)
        # What is no UTF-8 becomes a replacement character, and stays on one side of a cut.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lock = threading.Lock()
        self._clear()
        self._open = True
        self._thread = threading.Thread(target=self._drain, name="trial-output", daemon=True)
        self._thread.start()

    def take(self) -> str:
        """What was printed since it was last asked for; of very much, the beginning and the end."""
        with self._lock:
            self._read(_PIPE_BYTES)
            text = "".join(self._head)
            if self._left_out:
                text += f"\n[{self._left_out:,} characters left out: printed too fast]\n"
            text += "".join(self._tail)
            self._clear()
        return text

    def close(self) -> None:
        """Stop reading."""
        with self._lock:
            self._open = False
        self._thread.join()
        os.close(self._pipe)

    def _clear(self) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = self._left_out = 0

    def _drain(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while self._open:
                # The end of the pipe wakes it, unless a process that got away from us holds it open.
                if selector.select(timeout=0.5):
                    with self._lock:
                        self._read(_READ_BYTES)

    def _read(self, most: int) -> None:
        while self._open and most > 0:
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return
            self._open = bool(data)
            self._add(self._decoder.decode(data, final=not data))
            most -= len(data)

    def _add(self, text: str) -> None:
        room = _HALF - self._head_size
        if room > 0:
            self._head.append(text[:room])
            self._head_size += len(self._head[-1])
            text = text[room:]
        if text:
            self._tail.append(text)
            self._tail_size += len(text)
            while self._tail_size - len(self._tail[0]) >= _HALF:
                gone = len(self._tail.popleft())
                self._tail_size -= gone
                self._left_out += gone

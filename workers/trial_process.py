"""The child process in which a trial runs: starting it, talking to it, watching it, ending it.

The process is `python -m tunewright.child`; `tunewright/child.py` has the messages. It leads a session of its own, so
that ending it also ends what it started (data loaders, compilers, a study's own program).
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from tunewright.child import CHANNEL_VARIABLE
from tunewright.errors import TunewrightError
from workers.output import Output
from workers.scratch import Scratch, sweep

# A single message; a report with some thousand metrics fits.
MAX_MESSAGE_BYTES = 1024 * 1024
# A process that closes its channel is about to end, which takes its time where it held a GPU, or goes on unheard. Less
# than what a leg may be silent for.
ENDING_SECONDS = 20.0
# The service's own settings and Ray's tokens are no business of user code.
_PRIVATE_PREFIXES = ("TUNEWRIGHT_", "RAY_")
# But where data sets are kept, and whether they may be fetched, is: it is the trial that loads them (`models.data`).
_FOR_TRIALS = ("TUNEWRIGHT_CACHE_DIR", "TUNEWRIGHT_OFFLINE")


class ProcessEnded(TunewrightError):
    """The child ended by itself; `code` is its exit status, negative for a signal."""

    def __init__(self, code: int) -> None:
        self.code = code
        if code < 0:
            super().__init__(f"the trial's process was killed by {signal.Signals(-code).name}")
        else:
            super().__init__(f"the trial's process exited with status {code} in the middle of its leg")

    @property
    def killed(self) -> bool:
        """Whether somebody else ended it (an operator, the kernel short of memory), rather than the code itself."""
        return -self.code in (signal.SIGKILL, signal.SIGTERM)


class TrialProcess:
    """A running child, ready for messages.

    Attributes:
        scratch: directory of its own, removed by `close`.
    """

    def __init__(self, import_paths: Sequence[str] = (), threads: int = 1) -> None:
        self._scratch = Scratch()
        self.scratch = self._scratch.path
        reading, writing = os.pipe()
        printed, printing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tunewright.child"],
                stdin=subprocess.PIPE,
                stdout=printing,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                cwd=self.scratch,
                env=_environment(import_paths, threads, writing),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            os.close(printed)
            self._scratch.remove()
            raise
        finally:
            os.close(writing)
            os.close(printing)
        self._output = Output(printed)
        self._channel = reading
        os.set_blocking(reading, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(reading, selectors.EVENT_READ)
        self._buffer = bytearray()
        # While the child starts: it takes longer.
        sweep()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; that the child has just died shows in the next `receive`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next message, or None when none came in `timeout` seconds.

        Raises:
            ProcessEnded: the child is gone and has no more to say.
            TunewrightError: it is there, and can say no more; or what it says is too long.
        """
        message = self._next_line()
        if message is None and self._selector.select(timeout):
            self._fill()
            message = self._next_line()
        elif message is None and not self.alive:
            message = self._last_words()
        return message

    def printed(self) -> str:
        """What it has printed since this was last asked; bounded (see `Output`)."""
        return self._output.take()

    def memory(self) -> int:
        """Bytes of physical memory held by the child and everything it started."""
        total = 0
        try:
            parent = psutil.Process(self.pid)
            for process in [parent, *parent.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
        except psutil.Error:
            pass
        return total

    def close(self) -> None:
        """End the child and its children, and remove its directory."""
        self._kill()
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._selector.close()
        os.close(self._channel)
        self._output.close()
        self._scratch.remove()

    def end(self) -> str:
        """End the child and its children; returns what they have printed since `printed` was last asked."""
        self._kill()
        return self._output.take()

    def _kill(self) -> None:
        """End every process of the session, in whatever group it is, and those that it starts meanwhile."""
        self._process.kill()
        killed: set[int] = set()
        while new := _session(self.pid) - killed:
            for pid in new:
                _kill(pid)
            killed |= new
        self._process.wait()

    def _last_words(self) -> dict[str, Any]:
        """What a child that is gone has said; what it has forked may hold the channel open for longer."""
        while (message := self._next_line()) is None:
            before = len(self._buffer)
            self._fill()
            if len(self._buffer) == before:
                raise ProcessEnded(self._process.wait())
        return message

    def _next_line(self) -> dict[str, Any] | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                raise TunewrightError(f"the trial sent a message above {MAX_MESSAGE_BYTES} bytes; report fewer metrics")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    def _fill(self) -> None:
        try:
            data = os.read(self._channel, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            raise self._closed()
        self._buffer += data

    def _closed(self) -> TunewrightError:
        """What has become of a child whose channel is closed."""
        try:
            return ProcessEnded(self._process.wait(ENDING_SECONDS))
        except subprocess.TimeoutExpired:
            return TunewrightError(
                "the trial's process goes on, and has closed the file descriptor by which it reports; let the workload "
                "close only what it has opened"
            )


def _session(leader: int) -> set[int]:
    """Processes of a session beside its leader."""
    found = set()
    for pid in psutil.pids():
        try:
            if pid != leader and os.getsid(pid) == leader:
                found.add(pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _environment(import_paths: Sequence[str], threads: int, channel: int) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k in _FOR_TRIALS or not k.startswith(_PRIVATE_PREFIXES)}
    paths = [*import_paths, *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        CHANNEL_VARIABLE: str(channel),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        # As many compute threads as the trial has processors; more would take them from its neighbours.
        "OMP_NUM_THREADS": str(threads),
    }

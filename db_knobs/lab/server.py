"""A database server of our own: one process, in a temporary directory, on a free port of loopback.

It ends with us: `remove` ends it and deletes all it has, and when the thread that started it dies first, the kernel
ends the server (its directory then stays behind). Only processes that were started here are ever signalled.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from db_knobs.errors import LabError

READY_SECONDS = 60.0
END_SECONDS = 30.0
PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child between fork and exec should not load libraries.
_libc = ctypes.CDLL(None, use_errno=True)


class PrivateServer(ABC):
    """One server; listens on loopback and asks for a password.

    Args:
        account: what it runs as when we are root, which these servers refuse to be.
        cpus: processors that it may use; None means all.
        prefix: of its directory's name.

    Attributes:
        port: stays the same over restarts.
        password: of the role `user`, which may do everything.
    """

    user = "tunewright"
    # How the server ends at once, as in a crash, and in good order.
    crash_signal = signal.SIGKILL
    end_signal = signal.SIGTERM

    def __init__(self, account: str, cpus: Sequence[int] | None, prefix: str) -> None:
        self._cpus = cpus
        self._owner = _owner(account)
        # Not below a caller's own directory, which the server's account may not enter.
        self.root = Path(tempfile.mkdtemp(prefix=prefix))
        self.port = free_port()
        self.password = f"canary-{secrets.token_hex(8)}"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._give(self.root)
            self._initialize()
        except BaseException:
            shutil.rmtree(self.root, ignore_errors=True)
            raise

    @abstractmethod
    def _initialize(self) -> None:
        """Fill the directory with an empty server that knows `user` and `password`."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """What to run."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes connections."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def log(self) -> str:
        return (self.root / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            LabError: it does not; the message ends with its log.
        """
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*map(str, self._command())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                start_new_session=True,
                preexec_fn=self._before_exec,
                **self._owner,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.stop()
                raise LabError(f"the server does not answer: {self.log[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, as a crash would: whoever is connected finds out, what was committed stays."""
        self._end(self.crash_signal)

    def shut_down(self) -> None:
        """End the server in good order."""
        self._end(self.end_signal)

    def restart(self) -> None:
        self.shut_down()
        self.start()

    def pause(self) -> None:
        """Let the server answer nobody, without closing a connection."""
        for pid in self._pids():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self._pids()):
            _signal(pid, signal.SIGCONT)

    def remove(self) -> None:
        """End the server and delete all it has."""
        self.shut_down()
        shutil.rmtree(self.root, ignore_errors=True)

    def _run(self, *command: str | Path) -> None:
        """Run one of the server's own programs, as its account.

        Raises:
            LabError: it fails; the message ends with what it said.
        """
        done = subprocess.run(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.root,
            check=False,
            **self._owner,
        )
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").replace(self.password, "***")
            raise LabError(f"{command[0]} failed: {said[-2000:]}")

    def _give(self, path: Path) -> None:
        """Let the server's account own a file."""
        if self._owner:
            shutil.chown(path, self._owner["user"], self._owner["group"])

    def _before_exec(self) -> None:
        _libc.prctl(PR_SET_PDEATHSIG, self.crash_signal, 0, 0, 0)
        if self._cpus is not None:
            os.sched_setaffinity(0, self._cpus)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(with_signal)
        # One that was paused hears nothing else.
        self.resume()
        try:
            self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pids(self) -> list[int]:
        """The server's own process, then those that it started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _owner(account: str) -> dict[str, Any]:
    """Popen's arguments for running as another account, where we are root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise LabError(f"there is no account {account}; Debian's package of the server brings it") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

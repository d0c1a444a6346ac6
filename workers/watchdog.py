"""A process that outlives its session's runner, and puts the database's settings back when that dies.

It is started before the first change, and told through a pipe what to go back to and which knobs are ours; nothing of
it is ever on a command line, in an environment or in a file. While the runner lives it waits at the pipe, with hardly
anything loaded. When the pipe closes without a farewell, the runner is dead: under the server's own lock it puts the
former settings back, and goes on trying for `PATIENCE_SECONDS` while the database is down. Where a successor of the
runner holds the lock it does nothing: a successor begins by putting the settings back itself.

It is in nobody's process group or session, and ignores signals that end groups of processes, so that it survives the
runner's worker, Ray, and the service. It does not survive the end of its machine or container: what it would have done
is then up to the successor.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Loaded where they are needed: a watchdog that waits stays small.
    from db_knobs.address import Address
    from db_knobs.catalog import Host
    from db_knobs.database import Database, Former
    from tunewright.space import Value
    from workers.session_custody import Returned

START_SECONDS = 60.0
PATIENCE_SECONDS = 24 * 3600.0
FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
# The dead runner's connection may hold the lock for a moment; who holds it for longer is alive.
LOCK_SECONDS = 60.0
_PRIVATE_PREFIXES = ("TUNEWRIGHT_", "RAY_")


class Watchdog:
    """The runner's end of the pipe.

    Args:
        log: a file to which it writes what it did; None where nobody wants to know.
        restarting: knobs of `former` that need a restart; they are filed as they were, and nothing is restarted.

    Attributes:
        pid: of the process; 0 before the first `ours`.
    """

    def __init__(
        self,
        session: str,
        address: Address,
        host: Host,
        former: Former,
        log: str | None = None,
        restarting: Collection[str] = (),
    ) -> None:
        self._charge = {
            "session": session,
            "address": {**vars(address), "password": address.password.secret},
            "host": vars(host),
            "former": former,
            "restarting": list(restarting),
        }
        self._log = log
        self._pipe: int | None = None
        self.pid = 0

    def ours(self, names: Iterable[str], left: Mapping[str, Value] | None = None) -> None:
        """Name the knobs that were ever about to be changed; a watchdog that has died is replaced.

        Args:
            left: what everything was left at: what stands otherwise by then, and not as it stood, is somebody else's.
                None or empty: a change is about to be made, and whatever stands of ours is put back.
        Raises:
            OSError: no process can be started.
        """
        message = {"ours": sorted(names), "left": dict(left or {})}
        if self._pipe is not None:
            try:
                self._send(message)
                if _alive(self.pid):
                    return
            except BrokenPipeError:
                pass
            os.close(self._pipe)
            self._pipe = None
        self._start()
        self._send(message)

    def end(self) -> None:
        """Let it go: everything stands as it should."""
        if self._pipe is not None:
            try:
                self._send({"end": True})
            except BrokenPipeError:
                pass
            self.abandon()

    def abandon(self) -> None:
        """Close the pipe without a word, as the death of this process would."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _start(self) -> None:
        reading, writing = os.pipe()
        output = subprocess.DEVNULL if self._log is None else _opened(self._log)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.watchdog"],
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**environment(), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
            if output >= 0:
                os.close(output)
        self._pipe = writing
        assert process.stdout is not None
        with process.stdout as answer, selectors.DefaultSelector() as ears:
            ears.register(answer, selectors.EVENT_READ)
            try:
                self._send(self._charge)
                said = answer.readline() if ears.select(START_SECONDS) else b""
            except BrokenPipeError:
                said = b""
        if not said.strip().isdigit():
            process.kill()
            process.wait()
            self.abandon()
            raise OSError("the watchdog, without which no setting is changed, did not start; see its log")
        process.wait()
        self.pid = int(said)

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._pipe is not None
        rest = json.dumps(message).encode() + b"\n"
        while rest:
            rest = rest[os.write(self._pipe, rest) :]


def main() -> None:
    """Wait at the pipe on standard input, and act when it closes."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Whoever started us has no child to wait for, or to end.
    if os.fork():
        os._exit(0)
    with os.fdopen(0, "rb", closefd=False) as pipe:
        first = pipe.readline()
        if not _whole(first):
            return
        charge = json.loads(first)
        os.write(1, f"{os.getpid()}\n".encode())
        _close_output()
        ours: list[str] = []
        left: dict[str, Value] = {}
        for line in pipe:
            if not _whole(line):
                # The runner died over it, so before the change that it tells of.
                break
            message = json.loads(line)
            if message.get("end"):
                return
            ours, left = message["ours"], message["left"]
    if ours:
        _say(charge["session"], "its runner died; putting the former settings back")
        _say(charge["session"], _restore(charge, ours, left))


def _restore(charge: Mapping[str, Any], ours: Iterable[str], left: Mapping[str, Value] | None = None) -> str:
    """Put settings back, as soon as the database lets us; what came of it, in words."""
    from db_knobs.address import Address, Password
    from db_knobs.attach import open_database
    from db_knobs.catalog import Host
    from db_knobs.errors import DatabaseError

    address = Address(**{**charge["address"], "password": Password(charge["address"]["password"])})
    database = open_database(address, Host(**charge["host"]))
    deadline, pause, told = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE, ""
    held_since: float | None = None
    while time.monotonic() < deadline:
        try:
            database.connect()
            if database.lock(f"watchdog of session {charge['session']}"):
                returned = _put_back(database, charge, ours, left or {})
                if not returned.stuck:
                    return "; left alone: ".join(["done", *(f"{n} {why}" for n, why in returned.left.items())])
                problem = "; ".join(returned.stuck.values())
            else:
                problem = "somebody holds the server's lock"
                held_since = held_since or time.monotonic()
                if time.monotonic() - held_since > LOCK_SECONDS:
                    return "left to whoever holds the server's lock"
        except DatabaseError as error:
            problem, held_since = str(error), None
        except Exception as error:
            # Whatever else is wrong may pass, too; what stands on the server does not.
            problem, held_since = f"{type(error).__name__}: {error}", None
        finally:
            database.close()
        if problem != told:
            told = problem
            _say(charge["session"], f"{problem}; trying again")
        time.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE)
    return f"given up after {PATIENCE_SECONDS / 3600:g} hours: {told}"


def _put_back(
    database: Database, charge: Mapping[str, Any], ours: Iterable[str], left: Mapping[str, Value]
) -> Returned:
    from workers.session_custody import Custody

    custody = Custody(database, charge["former"], charge["restarting"])
    custody.ours = set(ours)
    custody.remember(left)
    return custody.undo()


def _say(session: str, text: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{now} session {session}: {text}", file=sys.stderr, flush=True)


def _whole(line: bytes) -> bool:
    return line.endswith(b"\n")


def _close_output() -> None:
    """The runner waits for the end of our output, and keeps no end of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _opened(log: str) -> int:
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def environment() -> dict[str, str]:
    """This process's, without its secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE_PREFIXES)}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    main()

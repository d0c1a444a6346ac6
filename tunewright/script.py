"""Runs a study's own program as a workload: each leg is one run of it.

What the program may rely on, and what it must do, is told in docs/command-workload.md; `command.py` has what a study
says of it. The program leads a process group of its own, which ends with it: what it started is gone when its leg is
over. Memory stays bounded whatever it prints.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tunewright.command import COMMAND, Command
from tunewright.errors import ReportError, ScriptError, TrialKilled, TrialStopped
from tunewright.space import Config
from tunewright.workload import Checkpoint, Leg, Report, Workload

# A longer line is no message.
MAX_LINE_BYTES = 1024 * 1024
# What the program wrote last on standard error is told when it fails: so many bytes as the traceback, so many lines
# as the problem.
STDERR_BYTES = 16 * 1024
STDERR_LINES = 5
MAX_SECRET = 64 * 1024
POLL_SECONDS = 0.1
# What it left running may print for so long after its own end.
LINGER_SECONDS = 1.0
_MESSAGE_KEYS = ("resource", "metrics", "checkpoint")
# Lines that may be messages, among others: behind what a carriage return wrote over, or a byte-order mark.
_OBJECTS = re.compile(rb"^((?:[^\n]*\r)?(?:\xef\xbb\xbf)?[^\S\r\n]*\{[^\n]*)\n", re.MULTILINE)
_LIKE_A_MESSAGE = re.compile(rb'\s*\{\s*"(resource|metrics|checkpoint)"')
# Process groups of programs that run, to be ended with this process.
_running: set[int] = set()


class CommandWorkload(Workload):
    """A program that is started for each leg, with whatever space, objectives and fidelity its study has.

    Args:
        stopped: whether the leg is to end; asked all the time, so that a program hears of it between two reports.
    """

    name = COMMAND
    description = "Any program that prints its reports as JSON lines"

    def __init__(self, command: Command, stopped: Callable[[], bool]) -> None:
        self._command = command
        self._stopped = stopped

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Run the program from the checkpoint to the leg's end.

        Raises:
            ScriptError: it cannot be started, exits with a status other than 0, or says what cannot be understood.
            TrialKilled: somebody else killed it.
            TrialStopped: it was asked to stop and has ended.
        """
        if checkpoint.resource < leg.end:
            _Run(self._command, self._stopped, config, leg, checkpoint, report).to_its_end()


def kill_running() -> None:
    """End all programs that run now, with what they started."""
    for group in list(_running):
        _signal(group, signal.SIGKILL)


class _Run:
    """One run of the program, for one leg."""

    def __init__(
        self,
        command: Command,
        stopped: Callable[[], bool],
        config: Config,
        leg: Leg,
        checkpoint: Checkpoint,
        report: Report,
    ) -> None:
        self._stopped = stopped
        self._report = report
        self._states = _States(checkpoint, leg.end)
        self._end = leg.end
        self._reached = checkpoint.resource
        self._stopping = False
        self._process = _Process(
            command.program, command.arguments(config, self._told(leg)), command, config, self._variables(leg)
        )

    def to_its_end(self) -> None:
        try:
            for line in self._process.lines():
                if line is not None:
                    self._take(line)
                if self._stopped() and not self._stopping:
                    self._stopping = True
                    self._process.ask_to_stop()
            code = self._process.code()
        except ReportError as error:
            raise ScriptError(f"standard output, line {self._process.line}: {error}") from error
        finally:
            self._process.kill()
        self._conclude(code)

    def _conclude(self, code: int) -> None:
        killed = -code in (signal.SIGKILL, signal.SIGTERM)
        if code == 0 or self._stopping or killed:
            self._states.store()
        if self._stopping:
            if self._reached < self._end:
                raise TrialStopped("the service asked this trial to stop")
            return
        if killed:
            raise TrialKilled(f"the program was killed by {_signal_name(-code)}")
        if code != 0:
            end = f"exited with status {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
            said = self._process.stderr()
            words = "\n".join([line for line in said.splitlines() if line.strip()][-STDERR_LINES:])
            raise ScriptError(f"the program {end}" + (f": {words}" if words else ""), stderr=said)

    def _take(self, line: bytes) -> None:
        before, text = _last_shown(line)
        message = _message(text)
        if message is None:
            self._process.print(line + b"\n")
            return
        if before:
            self._process.print(before + b"\n")
        if "metrics" in message or "resource" in message:
            self._tell(message)
        if "checkpoint" in message:
            self._states.take(message["checkpoint"], self._reached, now=self._stopping)

    def _tell(self, message: Mapping[str, Any]) -> None:
        missing = next((key for key in ("resource", "metrics") if key not in message), None)
        if missing is not None:
            raise ReportError(f'a report needs "resource" and "metrics"; "{missing}" is missing')
        resource, metrics = message["resource"], message["metrics"]
        if isinstance(resource, bool) or not isinstance(resource, (int, float)):
            raise ReportError('"resource" must be a number')
        if not isinstance(metrics, dict):
            raise ReportError('"metrics" must be an object: {"loss": 0.5}')
        try:
            self._report(resource, metrics)
        except TrialStopped:
            # It is told by a signal; what it still has to say is heard until it ends.
            pass
        self._reached = float(resource)

    def _told(self, leg: Leg) -> dict[str, str]:
        """Texts of the placeholders that tell of the leg."""
        return {
            "leg.start": _number(self._reached),
            "leg.end": _number(leg.end),
            "leg.seed": str(leg.seed),
            "leg.checkpoint": str(self._states.directory),
            "leg.resume": str(self._states.resume or ""),
        }

    def _variables(self, leg: Leg) -> dict[str, str]:
        told = {f"TUNEWRIGHT_{name.removeprefix('leg.').upper()}": text for name, text in self._told(leg).items()}
        return {name: text for name, text in told.items() if text}


class _States:
    """States that the program saves: files or directories in `directory`, ours as soon as it has named them.

    Only the newest that was named is kept until it is time to store one, so a program may save as often as it likes.

    Attributes:
        directory: where the program saves.
        resume: the newest stored state, under the name that the program gave it; None when there is none.
    """

    def __init__(self, checkpoint: Checkpoint, end: float) -> None:
        self._checkpoint = checkpoint
        self._end = end
        self.directory = Path(tempfile.mkdtemp(prefix="saved-", dir=checkpoint.root))
        self._taken = Path(tempfile.mkdtemp(prefix="taken-", dir=checkpoint.root))
        self._newest: tuple[float, Path] | None = None
        self.resume = None if checkpoint.latest is None else next(checkpoint.latest.iterdir(), None)

    def take(self, name: Any, resource: float, *, now: bool) -> None:
        """Take over a state that the program has finished writing, and store it if it is time to.

        Args:
            resource: what it has been trained to.
            now: store it in any case.
        """
        if not isinstance(name, str):
            raise ReportError('"checkpoint" must be the name of a file or directory')
        source = Path(os.path.normpath(self.directory / name))
        if source.parent != self.directory or not source.exists():
            raise ReportError(f'"checkpoint": there is no "{name[:200]}" in TUNEWRIGHT_CHECKPOINT ({self.directory})')
        self._drop()
        self._newest = resource, self._moved(source)
        if now or resource >= self._end or self._checkpoint.due:
            self.store()

    def _moved(self, source: Path) -> Path:
        taken = self._taken / source.name
        if not source.is_symlink():
            return source.rename(taken)
        # A link such as "last" stands for what it points to, which a relative one would not find from elsewhere.
        real = source.resolve()
        source.unlink()
        if self.directory.resolve() in real.parents:
            return real.rename(taken)
        taken.symlink_to(real)
        return taken

    def store(self) -> None:
        """Store the newest state that was taken over, if it is not stored yet."""
        if self._newest is None:
            return
        resource, path = self._newest
        if resource > self._checkpoint.resource:
            with self._checkpoint.save(resource) as directory:
                path.rename(directory / path.name)
            self._newest = None
        else:
            # A program that is asked to stop may save once more what is stored already.
            self._drop()

    def _drop(self) -> None:
        if self._newest is None:
            return
        path, self._newest = self._newest[1], None
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _secrets(command: Command) -> dict[str, str]:
    """Values of the variables that stand in files of this machine, without the line's end behind each."""
    found = {}
    for name, path in command.secrets.items():
        try:
            with open(path, encoding="utf-8") as file:
                found[name] = file.read(MAX_SECRET + 1).removesuffix("\n")
        except OSError as error:
            raise ScriptError(f"command.secrets.{name}: cannot read {path} here: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ScriptError(f"command.secrets.{name}: {path} is no text in UTF-8") from None
        if len(found[name]) > MAX_SECRET or "\0" in found[name]:
            raise ScriptError(f"command.secrets.{name}: {path} holds more than a variable can")
    return found


class _Process:
    """The program as a process: lines of its standard output that may be messages; all else goes to our own output.

    Attributes:
        line: number of the line that was handed out last.
    """

    def __init__(
        self, program: str, argv: list[str], command: Command, config: Config, variables: Mapping[str, str]
    ) -> None:
        environment = {**os.environ, **command.environment, **_secrets(command), **variables}
        with tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(config).encode())
            stdin.seek(0)
            try:
                self._process = subprocess.Popen(
                    argv,
                    executable=shutil.which(program, path=environment.get("PATH")) or program,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=command.directory,
                    env=environment,
                    process_group=0,
                )
            except (OSError, ValueError) as error:
                raise ScriptError(_why_not(command, error)) from error
        _running.add(self._process.pid)
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            self._selector.register(stream, selectors.EVENT_READ)
        self.line = 0
        self._rest = b""
        self._cut = False
        self._said = b""
        self._asked = False

    def lines(self) -> Iterator[bytes | None]:
        """Lines that hold an object, until the program has ended; None now and then while there is none."""
        ended_at: float | None = None
        while self._selector.get_map():
            ready = self._selector.select(POLL_SECONDS)
            for key, _ in ready:
                yield from self._read(key.fileobj)  # type: ignore[arg-type]
            yield None
            if ended_at is None and self._ended():
                ended_at = time.monotonic()
            # A shell ends at once when it is asked to stop; what runs in it may still be saving.
            if ended_at is not None and not self._asked and time.monotonic() - ended_at > LINGER_SECONDS:
                break
        pause = POLL_SECONDS / 64
        while not self._ended():
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS)
            yield None
        # The last line may lack its end.
        yield from self._split(b"\n" if self._rest else b"")

    def print(self, text: bytes) -> None:
        """What is no message belongs to the trial's log."""
        _write(1, text)

    def stderr(self) -> str:
        """The end of what it wrote to standard error."""
        return self._said.decode(errors="replace")

    def ask_to_stop(self) -> None:
        """Tell the program and what it started to save and end."""
        self._asked = True
        _signal(self._process.pid, signal.SIGTERM)

    def code(self) -> int:
        """The exit status of the program, which has ended; negative for a signal."""
        found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def kill(self) -> None:
        """End the program, if it has not ended, and everything that it left running."""
        _signal(self._process.pid, signal.SIGKILL)
        _running.discard(self._process.pid)
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _ended(self) -> bool:
        # Its remains are left until `kill`: as long as they are there, no other process can get its number.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _read(self, stream: IO[bytes]) -> Iterator[bytes]:
        data = os.read(stream.fileno(), 1 << 16)
        if not data:
            self._selector.unregister(stream)
        elif stream is self._process.stderr:
            self._said = (self._said + data)[-STDERR_BYTES:]
            _write(2, data)
        else:
            yield from self._split(data)

    def _split(self, data: bytes) -> Iterator[bytes]:
        lines, end, self._rest = (self._rest + data).rpartition(b"\n")
        lines += end
        if self._cut and end:
            first, end, lines = lines.partition(b"\n")
            self.print(first + end)
            self.line, self._cut = self.line + 1, False
        # Between the objects of a program that prints little else stand empty texts.
        for position, part in enumerate(_OBJECTS.split(lines) if b"{" in lines else [lines]):
            if position % 2:
                self.line += 1
                yield part
            else:
                self.line += part.count(b"\n")
                self.print(part)
        if len(self._rest) > MAX_LINE_BYTES:
            written_over, end, rest = self._rest.rpartition(b"\r")
            if len(rest) > MAX_LINE_BYTES:
                written_over, end, rest, self._cut = self._rest, b"", b"", True
            self.print(written_over + end)
            self._rest = rest


def _last_shown(line: bytes) -> tuple[bytes, bytes]:
    """What a line's last carriage return wrote over, as progress bars do, and what stands there in the end."""
    before, _, text = line.rstrip().rpartition(b"\r")
    if line.lstrip().startswith(b"{"):
        before, text = b"", line
    return before.removeprefix(codecs.BOM_UTF8).strip(), text.removeprefix(codecs.BOM_UTF8)


def _message(line: bytes) -> dict[str, Any] | None:
    """A line of standard output as a message to us; None when it is something else.

    Raises:
        ReportError: it begins as a message and is broken.
    """
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        if _LIKE_A_MESSAGE.match(line):
            shown = line[:100].decode(errors="replace")
            raise ReportError(f"it begins as a report and is no JSON: {shown}") from None
        return None
    if not isinstance(found, dict) or not any(key in found for key in _MESSAGE_KEYS):
        return None
    unknown = next((key for key in found if key not in _MESSAGE_KEYS), None)
    if unknown is not None:
        raise ReportError(f'a report has no "{unknown[:100]}"; known: {", ".join(_MESSAGE_KEYS)}')
    return found


def _why_not(command: Command, error: OSError | ValueError) -> str:
    if not os.path.isdir(command.directory):
        return f"command.directory: {command.directory} does not exist on the machine that runs the trial"
    reason = error.strerror if isinstance(error, OSError) else str(error)
    if isinstance(error, FileNotFoundError) and Path(command.directory, command.argv[0]).is_file():
        reason = "there is no program as its first line names it; does that line end as on Windows?"
    return f'command.argv.0: "{command.argv[0]}" cannot be started in {command.directory}: {reason}'


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have numbers alone.
        return f"signal {number}"


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)

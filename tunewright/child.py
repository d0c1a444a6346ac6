"""The process in which a workload runs: `python -m tunewright.child`, started by a worker for each trial it runs.

It needs nothing but `tunewright` and the workload's own packages, so it can be any interpreter. It speaks JSON
lines: messages come in on standard input, answers go out on the file descriptor named by TUNEWRIGHT_CHANNEL.
Standard output and error stay the workload's own and end in the trial's log.

    in                                          out
    {"type": "describe", "references": [...]}   {"type": "described", "workloads": [...], "problems": {...}}
    {"type": "leg", ...}                        {"type": "report", "resource": r, "metrics": {...}}
    {"type": "stop"}                            {"type": "checkpoint", "resource": r, "directory": path}
    {"type": "saved", "problem": null}          {"type": "ended", "outcome": o, "problem": ..., "traceback": ...}

After "ended" the process waits for its next leg, so that one import of a large library serves many legs.
"""

from __future__ import annotations

import ctypes
import io
import json
import math
import os
import queue
import re
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewright.command import Command
from tunewright.errors import ReportError, ScriptError, TrialKilled, TrialStopped, WorkloadError
from tunewright.script import CommandWorkload, kill_running
from tunewright.study import METRIC_NAME, finite
from tunewright.workload import Checkpoint, Leg, Workload, describe, load, registered

CHANNEL_VARIABLE = "TUNEWRIGHT_CHANNEL"
MAX_PROBLEM = 2_000
MAX_TRACEBACK = 20_000
MAX_METRIC_NAME = 100


class Channel:
    """The two directions of the pipe; `stopped` is set as soon as a stop message for the newest leg arrives."""

    def __init__(self) -> None:
        # Grandchildren (data loaders, say) must not hold the channel open, so it is not inherited.
        descriptor = int(os.environ.pop(CHANNEL_VARIABLE))
        os.set_inheritable(descriptor, False)
        self._out = os.fdopen(descriptor, "w", buffering=1)
        # The workload, and whatever it starts, reads an empty standard input instead of taking messages from it.
        self._in = os.fdopen(os.dup(0), encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stopped = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")

    def receive(self) -> dict[str, Any]:
        return self._messages.get()

    def _read(self) -> None:
        try:
            for line in self._in:
                message = json.loads(line)
                if message["type"] == "stop":
                    self.stopped.set()
                    continue
                if message["type"] == "leg":
                    # Here and not where the leg starts: a stop sent right after it must not be lost.
                    self.stopped.clear()
                self._messages.put(message)
        except Exception:
            traceback.print_exc()
        finally:
            # The worker is gone, or cannot be understood: nobody waits for this trial any more.
            kill_running()
            os._exit(1)


class Reporter:
    """The `report` that a workload calls."""

    def __init__(self, channel: Channel, leg: Leg, objectives: list[str], done: float) -> None:
        self._channel = channel
        self._leg = leg
        self._objectives = objectives
        self._last = done
        self._over = False

    def __call__(self, resource: float, metrics: Mapping[str, float]) -> None:
        if self._over:
            raise TrialStopped("this leg has ended")
        resource = _float(resource)
        if not self._last < resource <= self._leg.end:
            raise ReportError(
                f"report: resource {resource:g} must be above {self._last:g} (reported or saved before) "
                f"and at most {self._leg.end:g} (the leg's end)"
            )
        numbers = {name: _number(value) for name, value in metrics.items()}
        for name in self._objectives:
            if name not in numbers:
                reported = ", ".join(map(str, numbers)) or "nothing"
                raise ReportError(
                    f'report: objective "{name}" is missing at resource {resource:g}; reported: {reported[:200]}'
                )
            if not finite(numbers[name]):
                raise ReportError(
                    f'report: objective "{name}" is {numbers[name]!r:.100} at resource {resource:g}; '
                    "it must be a finite number"
                )
        kept = {_metric_name(name): value for name, value in numbers.items() if finite(value)}
        self._last = resource
        self._channel.send({"type": "report", "resource": resource, "metrics": kept})
        # Whoever has come to the end has done the job: its last state is to be saved like any other's.
        if self._channel.stopped.is_set() and resource < self._leg.end:
            raise TrialStopped("the service asked this trial to stop")

    def close(self) -> None:
        """Refuse further reports: a thread that outlives its leg must not report into the next one."""
        self._over = True


def run_leg(channel: Channel, message: Mapping[str, Any]) -> dict[str, Any]:
    """Run one leg and say how it ended.

    Returns:
        The "ended" message; outcome is `completed`, `stopped`, `failed` or `lost`.
    """
    reporter: Reporter | None = None
    try:
        workload = _workload(channel, message)
        leg = Leg(**message["leg"])
        checkpoint = _checkpoint(channel, message["checkpoint"])
        reporter = Reporter(channel, leg, message["objectives"], checkpoint.resource)
        workload.run(message["config"], leg, data=message["data"], checkpoint=checkpoint, report=reporter)
    except TrialStopped:
        return {"type": "ended", "outcome": "stopped"}
    except TrialKilled as error:
        return {"type": "ended", "outcome": "lost", "problem": str(error)}
    except ScriptError as error:
        return _failed(str(error), error.stderr)
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _failed(problem, traceback.format_exc())
    finally:
        if reporter is not None:
            reporter.close()
    return {"type": "ended", "outcome": "completed"}


def _workload(channel: Channel, message: Mapping[str, Any]) -> Workload:
    command = message.get("command")
    if command is None:
        return load(message["workload"])
    # The program and what it started are ended by this process when the pipe closes, which it must live to see.
    _die_with_parent(False)
    return CommandWorkload(Command.model_validate(command), channel.stopped.is_set)


def _failed(problem: str, text: str) -> dict[str, Any]:
    return {
        "type": "ended",
        "outcome": "failed",
        "problem": problem[:MAX_PROBLEM],
        "traceback": text[-MAX_TRACEBACK:] or None,
    }


def describe_all(references: list[str] | None) -> dict[str, Any]:
    """Declarations of the workloads named, or of all registered ones; what cannot be loaded says why."""
    workloads: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    for reference in registered() if references is None else references:
        try:
            workloads.append(describe(reference).model_dump(mode="json"))
        except WorkloadError as error:
            problems[reference] = str(error)
        except (Exception, SystemExit) as error:  # a user's module may do anything while it is imported
            problems[reference] = f'workload "{reference}": {type(error).__name__}: {error}'
    return {"type": "described", "workloads": workloads, "problems": problems}


def main() -> None:
    """Answer messages until standard input closes."""
    _die_with_parent(True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The trial's log is a file or a pipe: what the workload prints appears there at once, and is not lost with it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    channel = Channel()
    while True:
        message = channel.receive()
        if message["type"] == "describe":
            channel.send(describe_all(message["references"]))
        elif message["type"] == "leg":
            ended = run_leg(channel, message)
            _die_with_parent(True)
            _flush()
            channel.send(ended)


def _flush() -> None:
    """What the leg has printed belongs to it, and not to the next one."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # The workload has closed it.
        pass


def _checkpoint(channel: Channel, fields: Mapping[str, Any]) -> Checkpoint:
    def on_save(resource: float, directory: Path) -> None:
        channel.send({"type": "checkpoint", "resource": resource, "directory": str(directory)})
        answer = channel.receive()
        if answer.get("problem"):
            raise OSError(f"checkpoint at resource {resource:g}: {answer['problem']}")

    latest = fields["latest"]
    return Checkpoint(
        root=Path(fields["root"]),
        latest=None if latest is None else Path(latest),
        resource=fields["resource"],
        interval=fields["interval"],
        on_save=on_save,
    )


def _number(value: Any) -> Any:
    """NumPy and torch scalars as Python floats; what is no number stays as it is and is refused or dropped later.

    An integer too large for a float counts as infinite.
    """
    if isinstance(value, (bool, str)) or value is None:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return value


def _float(resource: Any) -> float:
    try:
        return float(resource)
    except OverflowError:
        return math.inf


def _metric_name(name: Any) -> str:
    """A metric's name, which every database can hold."""
    if not (isinstance(name, str) and re.match(METRIC_NAME, name) and name.isprintable()):
        raise ReportError(f"report: {str(name)[:100]!r} cannot be a metric's name: no quotes, no control characters")
    if len(name) > MAX_METRIC_NAME:
        raise ReportError(f'report: metric "{name[:100]}..." has a name of more than {MAX_METRIC_NAME} characters')
    return name


def _die_with_parent(wanted: bool) -> None:
    """Ask the kernel to kill this process with its worker, even while it is deep in native code (Linux)."""
    pr_set_pdeathsig = 1
    try:
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL if wanted else 0)
    except (AttributeError, OSError):
        pass


if __name__ == "__main__":
    main()

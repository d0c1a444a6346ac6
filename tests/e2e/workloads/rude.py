"""Workloads that misbehave, one way each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from tunewright import (
    Checkpoint,
    Config,
    Fidelity,
    Float,
    Leg,
    Objective,
    Report,
    SearchSpace,
    TrialStopped,
    Workload,
)


class _Rude(Workload):
    space = SearchSpace(Float("x", 0.0, 1.0))
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="steps", max=3)
    data_options = {"pid_file": "where to leave the process id", "seconds": "how long to talk"}

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        if "pid_file" in data:
            with open(data["pid_file"], "a") as file:
                file.write(f"{os.getpid()}\n")
        print("about to misbehave", flush=True)
        self.seconds = float(data.get("seconds", 0))
        self.misbehave(report)

    def misbehave(self, report: Report) -> None:
        raise NotImplementedError


class Raises(_Rude):
    name = "raises"

    def misbehave(self, report: Report) -> None:
        report(1, {"loss": 1.0})
        raise ValueError("the data are broken")


class Hangs(_Rude):
    name = "hangs"

    def misbehave(self, report: Report) -> None:
        report(1, {"loss": 1.0})
        while True:
            time.sleep(1)


class Exits(_Rude):
    name = "exits"

    def misbehave(self, report: Report) -> None:
        os._exit(3)


class EatsMemory(_Rude):
    name = "eats-memory"

    def misbehave(self, report: Report) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(8 * 2**20))
            time.sleep(0.01)


class ReportsNaN(_Rude):
    name = "reports-nan"

    def misbehave(self, report: Report) -> None:
        report(1, {"loss": float("nan")})


class IgnoresStop(_Rude):
    """Goes on reporting after it was told to stop."""

    name = "ignores-stop"

    def misbehave(self, report: Report) -> None:
        step = 0.0
        while True:
            step += 1e-4
            time.sleep(0.01)
            try:
                report(step, {"loss": 1.0})
            except TrialStopped:
                continue


class LeavesChildren(_Rude):
    """Starts a process that would outlive it."""

    name = "leaves-children"

    def misbehave(self, report: Report) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"child {child.pid}", flush=True)
        report(1, {"loss": 1.0})
        raise ValueError("gone")


class ForksAndIsKilled(_Rude):
    """Forks, as loaders of data do, and is killed from outside."""

    name = "forks-and-is-killed"

    def misbehave(self, report: Report) -> None:
        report(1, {"loss": 1.0})
        if os.fork() == 0:
            time.sleep(120)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)


class ReturnsEarly(_Rude):
    name = "returns-early"

    def misbehave(self, report: Report) -> None:
        report(1, {"loss": 1.0})


class Talks(_Rude):
    """Prints more than anybody wants to keep."""

    name = "talks"

    def misbehave(self, report: Report) -> None:
        for line in range(50_000):
            print(f"line {line} of a long story")
            if line % 1000 == 0:
                time.sleep(self.seconds / 50)
        report(1, {"loss": 1.0})
        report(3, {"loss": 0.5})


class ClosesEverything(_Rude):
    """Closes what it has not opened, as daemons do, and goes on."""

    name = "closes-everything"

    def misbehave(self, report: Report) -> None:
        # What reads the worker's messages waits for the next one by then; else it ends the process over a closed file.
        time.sleep(0.5)
        os.closerange(3, 256)
        time.sleep(600)


class TellsItsEnvironment(_Rude):
    """Prints the variables of Tunewright and of Ray that it sees."""

    name = "tells-its-environment"

    def misbehave(self, report: Report) -> None:
        for name in sorted(os.environ):
            if name.startswith(("TUNEWRIGHT_", "RAY_")):
                print(f"{name}={os.environ[name]}")
        report(3, {"loss": 0.5})

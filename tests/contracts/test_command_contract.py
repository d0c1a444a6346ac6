"""What every workload promises, promised by a program of a study's own: resumed, stopped and killed anywhere.

A program runs beside its leg and not in it: between a report and the stop that follows, it may take some steps more.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contracts.test_workload_contract import Trial
from tunewright.command import Command
from tunewright.errors import TrialKilled
from tunewright.script import CommandWorkload
from tunewright.study import Fidelity, Objective

PROGRAMS = Path(__file__).parents[1] / "programs"
LONG = 9
pytestmark = pytest.mark.timeout(60)


class CommandTrial(Trial):
    """A trial of steady.py."""

    def __init__(self, root: Path, x: float = 0.5, seconds: float = 0.02) -> None:
        command = Command(argv=[sys.executable, "steady.py", "{x}", str(seconds)], directory=str(PROGRAMS))
        workload = CommandWorkload(command, lambda: self.stopped.is_set())
        workload.objectives = (Objective(metric="loss"),)
        workload.fidelity = Fidelity(name="steps", max=LONG)
        super().__init__(workload, {"x": x}, root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> CommandTrial:
    trial = CommandTrial(tmp_path_factory.mktemp("whole"))
    trial.run(LONG)
    return trial


def test_a_trial_reports_every_step_up_to_its_end_and_saves_there(whole: CommandTrial) -> None:
    assert list(whole.reports) == list(range(1, LONG + 1))
    assert whole.saved[0] == LONG


@pytest.mark.parametrize("ends", [(3,), (1, 2), (2, 5, 8)])
def test_several_legs_report_what_one_long_leg_reports(
    whole: CommandTrial, tmp_path: Path, ends: tuple[int, ...]
) -> None:
    trial = CommandTrial(tmp_path)

    for end in (*ends, LONG):
        trial.run(end)

    assert trial.reports == whole.reports


def test_a_stopped_trial_keeps_its_work_and_resumes_with_the_same_reports(whole: CommandTrial, tmp_path: Path) -> None:
    trial = CommandTrial(tmp_path, seconds=0.2)

    for stop_at in (2, 6):
        trial.run(LONG, stop_at=stop_at)
        assert stop_at <= trial.saved[0] < LONG
        assert trial.saved[0] == max(trial.reports)
    trial.run(LONG)

    assert trial.reports == whole.reports


def test_a_killed_leg_resumes_from_its_last_state_with_the_same_reports(whole: CommandTrial, tmp_path: Path) -> None:
    trial = CommandTrial(tmp_path)

    trial.run(LONG, kill_at=4, interval=0)
    assert trial.saved[0] == 3
    trial.run(LONG, kill_at=7)
    assert trial.saved[0] == 3
    trial.run(LONG)

    assert trial.reports == whole.reports


def test_a_killed_program_is_no_failure_and_keeps_the_state_that_it_handed_over(
    whole: CommandTrial, tmp_path: Path
) -> None:
    # Such as a database server that other tests use.
    others = set(psutil.Process().children())

    class KilledAtFive(CommandTrial):
        def send(self, message: Any) -> None:
            super().send(message)
            if message["resource"] == 5 and self.legs == 1:
                (child,) = set(psutil.Process().children()) - others
                os.kill(child.pid, signal.SIGKILL)

    trial = KilledAtFive(tmp_path, seconds=0.1)

    with pytest.raises(TrialKilled, match="SIGKILL"):
        trial.run(LONG, interval=math.inf)
    assert trial.saved[0] == 5
    trial.run(LONG)

    assert trial.reports == whole.reports


def test_a_leg_that_is_already_done_does_nothing(whole: CommandTrial) -> None:
    before = dict(whole.reports)

    whole.run(LONG)

    assert whole.reports == before

"""Legs that are not heard of any more. What a cut cable does is tested in `tests/e2e/test_hosts.py`."""

from __future__ import annotations

from typing import Any

import pytest

from workers import study_runner
from workers.leg import LegSettings
from workers.orders import LegResult, Outcome
from workers.study_runner import RayLauncher


class Loop:
    """Notes what ends; nothing of it runs."""

    running, cluster_seconds = 1, 0.0

    def __init__(self) -> None:
        self.lost: list[tuple[int, int, LegResult]] = []

    def ended(self, job: int, attempt: int, result: LegResult) -> None:
        self.lost.append((job, attempt, result))


class NoRoom:
    def ask(self, *_: Any) -> bool:
        return False


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(study_runner, "time", clock)
    return clock


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> RayLauncher:
    room: Any = NoRoom()
    loop: Any = Loop()
    launcher = RayLauncher(None, LegSettings("memory://"), room)
    launcher.loop = loop
    # A task that Ray knows of, and no cluster that would have to cancel it.
    launcher._tasks[3, 1] = object()
    monkeypatch.setattr(launcher, "kill", lambda job, attempt: None)
    return launcher


def lost(launcher: RayLauncher) -> list[tuple[int, int, LegResult]]:
    launcher.end_round()
    return so_far(launcher)


def so_far(launcher: RayLauncher) -> list[tuple[int, int, LegResult]]:
    loop: Any = launcher.loop
    found: list[tuple[int, int, LegResult]] = loop.lost
    return found


def test_a_leg_that_falls_silent_is_lost_once(launcher: RayLauncher, clock: Clock) -> None:
    with launcher.listening(3, 1):
        pass
    for _ in range(int(study_runner.SILENT_SECONDS)):
        clock.now += 1
        assert lost(launcher) == []

    clock.now += 1

    (job, attempt, result), *more = lost(launcher)
    assert (job, attempt, result.outcome, more) == (3, 1, Outcome.LOST, [])
    assert "host may be cut off" in str(result.problem)
    assert len(lost(launcher)) == 1


def test_a_runner_that_was_stopped_itself_listens_again_before_it_judges(launcher: RayLauncher, clock: Clock) -> None:
    with launcher.listening(3, 1):
        pass
    clock.now += 10 * study_runner.SILENT_SECONDS
    assert lost(launcher) == []

    for _ in range(int(study_runner.SILENT_SECONDS) + 1):
        clock.now += 1
        launcher.end_round()

    assert [job for job, _, _ in so_far(launcher)] == [3]


def test_a_leg_that_waits_for_its_answer_is_not_silent(launcher: RayLauncher, clock: Clock) -> None:
    with launcher.listening(3, 1):
        clock.now += 1000
        assert lost(launcher) == []

    assert lost(launcher) == []


def test_a_leg_that_waits_for_a_worker_is_not_silent(launcher: RayLauncher, clock: Clock) -> None:
    clock.now += 1000

    assert lost(launcher) == []


def test_a_leg_that_has_ended_is_not_waited_for(launcher: RayLauncher, clock: Clock) -> None:
    with launcher.listening(3, 1):
        launcher._tasks.clear()
    clock.now += 1000

    assert lost(launcher) == []

"""The trials of a large study, and reports that go on coming: the same numbers for us and for peers.

The peers' environment imports this too, so it needs NumPy alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PARAMETERS = 10
RUNGS = (1, 3, 9, 27)
RUNNING = 10
CHUNK = 5_000


@dataclass(frozen=True)
class LargeTrial:
    """A trial that is over.

    Attributes:
        config: each parameter from 0 to 1.
        curve: resource and loss at each rung that it reached; whole ones reach the last.
    """

    number: int
    config: dict[str, float]
    curve: Sequence[tuple[int, float]]

    @property
    def whole(self) -> bool:
        return self.curve[-1][0] == RUNGS[-1]


@dataclass(frozen=True)
class LiveReport:
    """A report of a trial that runs; at its first one the trial begins, at its last one it ends."""

    trial: int
    config: dict[str, float]
    resource: int
    loss: float

    @property
    def begins(self) -> bool:
        return self.resource == 1

    @property
    def ends(self) -> bool:
        return self.resource == RUNGS[-1]


def names() -> list[str]:
    """Names of the parameters."""
    return [f"p{j}" for j in range(PARAMETERS)]


def large_trials(count: int) -> Iterator[list[LargeTrial]]:
    """So many trials, chunk by chunk: of every nine one is whole, and the others stopped at a rung before."""
    rng = np.random.default_rng(0)
    for first in range(0, count, CHUNK):
        drawn = rng.random((min(CHUNK, count - first), PARAMETERS + 1)).tolist()
        yield [_trial(first + i, values) for i, values in enumerate(drawn)]


def live_reports(first: int) -> Iterator[LiveReport]:
    """Endless reports of trials that run side by side, from trial `first` on; the next begins where one ends."""
    rng = np.random.default_rng(1)
    running: deque[tuple[int, dict[str, float], int]] = deque()
    while True:
        while len(running) < RUNNING:
            running.append((first, dict(zip(names(), rng.random(PARAMETERS).tolist(), strict=True)), 0))
            first += 1
        trial, config, resource = running.popleft()
        report = LiveReport(trial, config, resource + 1, 0.5 + 1.0 / (resource + 1) + 0.01 * float(rng.random()))
        if not report.ends:
            running.append((trial, config, resource + 1))
        yield report


def paced(reports: Iterator[LiveReport], rate: float, seconds: float) -> Iterator[LiveReport]:
    """Reports for so long, `rate` a second as far as whoever takes them keeps up."""
    began = time.perf_counter()
    for number, report in enumerate(reports):
        due = began + number / rate
        if due > began + seconds or time.perf_counter() > began + seconds:
            return
        time.sleep(max(0.0, due - time.perf_counter()))
        yield report


def _trial(number: int, values: list[float]) -> LargeTrial:
    reached = 4 if number % 9 == 0 else 1 + number % 3
    curve = [(rung, values[-1] + 1.0 / rung) for rung in RUNGS[:reached]]
    return LargeTrial(number, dict(zip(names(), values, strict=False)), curve)

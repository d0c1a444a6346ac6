"""Trials of a rung in order of merit, by one loss or by several.

A ranking keeps its order as results come in, so that asking for the best one that still waits costs no scan over
trials.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Candidate(NamedTuple):
    """The best trial of a rung that has not been promoted, and its rank among all that stand there."""

    trial: int
    rank: int


class Ranking(Protocol):
    """Trials in order of merit: the smaller violation first, then the better losses, then the older trial."""

    def add(self, trial: int, violation: float, losses: Sequence[float]) -> None: ...

    def remove_waiting(self, trial: int) -> None:
        """The trial waits no more; its rank remains."""

    def best_waiting(self) -> Candidate | None: ...

    def rank(self, trial: int) -> int:
        """How many stand before the trial."""


class ScalarRanking:
    """Ranking by one loss, in two sorted lists: O(log n) to find, and a short memory move to insert."""

    def __init__(self) -> None:
        self._keys: dict[int, tuple[float, float, int]] = {}
        self._ranked: list[tuple[float, float, int]] = []
        self._waiting: list[tuple[float, float, int]] = []

    def add(self, trial: int, violation: float, losses: Sequence[float]) -> None:
        key = (violation, losses[0], trial)
        self._keys[trial] = key
        insort(self._ranked, key)
        insort(self._waiting, key)

    def remove_waiting(self, trial: int) -> None:
        del self._waiting[bisect_left(self._waiting, self._keys[trial])]

    def best_waiting(self) -> Candidate | None:
        if not self._waiting:
            return None
        key = self._waiting[0]
        return Candidate(key[2], bisect_left(self._ranked, key))

    def rank(self, trial: int) -> int:
        return bisect_left(self._ranked, self._keys[trial])


class ParetoRanking:
    """Ranking by several losses: non-dominated fronts, and within a front the less crowded first (NSGA-II, 2002).

    A new point enters the first front in which nothing dominates it; what it dominates there sinks one front, and
    so on (efficient non-domination level update, Li et al. 2014), so that no front is ever sorted anew.
    """

    def __init__(self) -> None:
        self._points: NDArray[np.float64] = np.empty((0, 0))
        self._trials: list[int] = []
        self._row: dict[int, int] = {}
        self._waiting: NDArray[np.bool_] = np.empty(0, dtype=bool)
        self._fronts: list[NDArray[np.int64]] = []

    def add(self, trial: int, violation: float, losses: Sequence[float]) -> None:
        row = len(self._trials)
        if row == len(self._points):
            room = max(64, 2 * row)
            points = np.zeros((room, 1 + len(losses)))
            points[:row] = self._points[:row].reshape(row, -1) if row else points[:0]
            self._points = points
            self._waiting = np.concatenate([self._waiting, np.zeros(room - row, dtype=bool)])
        self._points[row] = (violation, *losses)
        self._waiting[row] = True
        self._row[trial] = row
        self._trials.append(trial)
        self._sink(row)

    def _sink(self, row: int) -> None:
        moving = np.array([row])
        level = 0
        while level < len(self._fronts) and self._dominated(moving, self._fronts[level]).any():
            level += 1
        while len(moving):
            if level == len(self._fronts):
                self._fronts.append(moving)
                return
            front = self._fronts[level]
            sinking = self._dominated(front, moving)
            self._fronts[level] = np.concatenate([front[~sinking], moving])
            moving = front[sinking]
            level += 1

    def _dominated(self, rows: NDArray[np.int64], by: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(len(rows),) whether any of `by` dominates: violates less, or the same and is Pareto-better."""
        a, b = self._points[by][:, None, :], self._points[rows][None, :, :]
        pareto = (a[..., 1:] <= b[..., 1:]).all(-1) & (a[..., 1:] < b[..., 1:]).any(-1)
        dominates = (a[..., 0] < b[..., 0]) | ((a[..., 0] == b[..., 0]) & pareto)
        return np.asarray(dominates.any(0))

    def remove_waiting(self, trial: int) -> None:
        self._waiting[self._row[trial]] = False

    def best_waiting(self) -> Candidate | None:
        above = 0
        for front in self._fronts:
            if self._waiting[front].any():
                order = self._ordered(front)
                place = int(np.argmax(self._waiting[order]))
                return Candidate(self._trials[order[place]], above + place)
            above += len(front)
        return None

    def rank(self, trial: int) -> int:
        row, above = self._row[trial], 0
        for front in self._fronts:
            if (front == row).any():
                return above + int(np.argmax(self._ordered(front) == row))
            above += len(front)
        raise KeyError(trial)

    def _ordered(self, front: NDArray[np.int64]) -> NDArray[np.int64]:
        # Rows count up with the age of results, which breaks ties among equally crowded ones.
        return front[np.lexsort((front, -crowding(self._points[front][:, 1:])))]


def crowding(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Crowding distance of the points of one front (Deb et al., NSGA-II, section III-B).

    Args:
        points: (n, m) losses.
    Returns:
        (n,) sums of normalised gaps to the neighbours along each loss; infinite at the ends.
    """
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        ranked = column[order]
        distance[order[[0, -1]]] = np.inf
        if ranked[-1] > ranked[0]:
            distance[order[1:-1]] += (ranked[2:] - ranked[:-2]) / (ranked[-1] - ranked[0])
    return distance

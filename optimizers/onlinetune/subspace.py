"""Where a session looks: a small hypercube or a line around its centre, in turn, adapted to results (section 6.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from optimizers.candidates import canonical
from optimizers.onlinetune.intervals import Shape, Suggestion
from tunewright.space import Categorical, SearchSpace

# Radii are parts of each knob's range. The authors begin with 0.04, where noise hides what can be gained.
RADIUS, MOST_RADIUS, LEAST_RADIUS = 0.1, 0.3, 0.02
# The authors' values.
_GROW, _SHRINK = 1.1, 1.5
_SUCCESSES, _FAILURES = 3, 4
_GOOD_EXPANDER, _WIDER = 0.05, 0.005
_QUERIES, _FUTILE = 10, 5
_LINE_POINTS, REGION_POINTS = 300, 400
# Ascent of the last region: the part of its radius that the centre moved, and the gain that this promised.
_MOVED, _PROMISED = 0.02, 0.005
_RANDOM_DIRECTION = 0.4
# Of the list of knobs by importance, each is passed over with this probability.
_NEXT_KNOB = 0.7


@dataclass
class Subspace:
    """A cluster's region and line.

    Attributes:
        radius: of the hypercube.
        shape: that is searched now.
        asked: queries since it began.
        direction: (d,) of the line; None until the first query along it.
        began: (d,) centre when the region began, and its expected gain; None until its first query.
        ascent: (d,) from there to the centre when it ended; None where that was no ascent.
    """

    radius: float = RADIUS
    shape: Shape = "region"
    asked: int = 0
    direction: tuple[float, ...] | None = None
    began: tuple[tuple[float, ...], float] | None = None
    ascent: tuple[float, ...] | None = None
    _row: int = field(default=0)

    def learn(self, suggestion: Suggestion, gain: float, unsafe: bool) -> None:
        """A query came back.

        Args:
            gain: measured, as the logarithm against the reference's expectation.
        """
        if suggestion.shape != self.shape or suggestion.kind == "reference":
            return
        self.asked += 1
        better = not unsafe and gain > np.log1p(suggestion.centre_gain)
        if suggestion.kind != "centre":
            self._count(better)
        if unsafe and self.shape == "region":
            # The authors take 0.01 off, and only after border points: little, where regions begin this large.
            self.radius = max(LEAST_RADIUS, self.radius / _SHRINK)
        elif suggestion.kind == "expander" and not unsafe and gain > np.log1p(_GOOD_EXPANDER):
            self.radius = min(MOST_RADIUS, self.radius + _WIDER)
        if self.shape == "line":
            self.direction = suggestion.direction
        elif self.began is None:
            self.began = (suggestion.centre, suggestion.centre_gain)
        futile = self.asked >= _FUTILE and self._row <= -_FUTILE
        if self.asked >= _QUERIES or (self.shape == "line" and (futile or unsafe)):
            self._turn(suggestion)

    def _count(self, better: bool) -> None:
        """Successes in a row count up, failures down."""
        self._row = max(self._row, 0) + 1 if better else min(self._row, 0) - 1
        if self.shape == "line":
            return
        if self._row > _SUCCESSES:
            self.radius, self._row = min(MOST_RADIUS, self.radius * _GROW), 0
        elif self._row < -_FAILURES:
            self.radius, self._row = max(LEAST_RADIUS, self.radius / _SHRINK), 0

    def _turn(self, last: Suggestion) -> None:
        if self.shape == "region" and self.began is not None:
            centre, gain = self.began
            moved = np.array(last.centre) - np.array(centre)
            ascended = np.abs(moved).max() > _MOVED * self.radius and last.centre_gain - gain > _PROMISED
            self.ascent = tuple(float(value) for value in moved) if ascended else None
        self.shape = "line" if self.shape == "region" else "region"
        self.asked, self.direction, self.began, self._row = 0, None, None, 0


def region(
    space: SearchSpace, centre: NDArray[np.float64], radius: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points of the hypercube: changes of all knobs, of a few, and small ones; and every other choice of each knob.

    Int and ordinal knobs can always take one step, however small the radius.

    Returns:
        (n, d) canonical points.
    """
    d = space.dimension
    bins = np.array([1.0 / p.size if np.isfinite(p.size) else 0.0 for p in space.parameters])
    reach = np.maximum(radius, bins)
    ordered = np.array([not isinstance(p, Categorical) for p in space.parameters])
    step = (2.0 * rng.random((REGION_POINTS, d)) - 1.0) * reach
    third = REGION_POINTS // 3
    few = rng.random((third, d)) < rng.integers(1, 6, size=(third, 1)) / d
    few[np.arange(third), rng.integers(d, size=third)] = True
    step[:third] *= few
    step[third : third + third // 2] *= 0.3
    points = centre + np.where(ordered, step, 0.0)
    flips = [np.where(np.arange(d) == j, place, centre) for j, place in _other_choices(space, centre)]
    if flips:
        points = np.concatenate([points, np.array(flips)])
    return canonical(space, points)


def line(space: SearchSpace, centre: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) canonical points along a direction through the centre, to where the last knob that moves meets its end.

    No knob moves by more than the largest radius: no model foresees a cliff that nothing was measured near.
    """
    moving = np.abs(direction) > 1e-12
    if not moving.any():
        return centre[None]
    room = np.where(direction > 0, 1.0 - centre, centre)
    back = np.where(direction > 0, centre, 1.0 - centre)
    far, near = ((side[moving] / np.abs(direction[moving])).max() for side in (room, back))
    most = MOST_RADIUS / np.abs(direction).max()
    steps = np.linspace(-min(near, most), min(far, most), _LINE_POINTS)
    return canonical(space, centre + steps[:, None] * direction)


def draw_direction(
    space: SearchSpace,
    ascent: tuple[float, ...] | None,
    importance: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], str]:
    """A line's direction, and where it comes from: the last region's ascent, chance, or an important knob.

    Args:
        importance: (d,) larger for knobs that matter more.
    """
    d = space.dimension
    if ascent is not None:
        return np.array(ascent), "ascent of the last region"
    ordered = np.array([not isinstance(p, Categorical) for p in space.parameters])
    if ordered.any() and rng.random() < _RANDOM_DIRECTION:
        drawn = rng.standard_normal(d) * ordered
        return drawn / np.abs(drawn).max(), "random"
    order = np.argsort(-importance, kind="stable")
    place = min(int(rng.geometric(1.0 - _NEXT_KNOB)) - 1, d - 1)
    return np.eye(d)[order[place]], f"knob {space.names[order[place]]}"


def _other_choices(space: SearchSpace, centre: NDArray[np.float64]) -> list[tuple[int, float]]:
    """(column, coordinate) of every choice but the centre's, of every knob without an order."""
    return [
        (j, (k + 0.5) / len(parameter.choices))
        for j, parameter in enumerate(space.parameters)
        if isinstance(parameter, Categorical)
        for k in range(len(parameter.choices))
        if abs((k + 0.5) / len(parameter.choices) - centre[j]) > 1e-9
    ]

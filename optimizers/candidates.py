"""Candidates for the acquisition function: uniform draws, and small changes of the best configurations.

All in the unit cube, thousands at a time, on mixed and conditional spaces.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tunewright.space import Categorical, Int, Parameter, SearchSpace

# Spread of a changed coordinate, from exploring the neighbourhood to polishing.
_SCALES = (0.2, 0.05, 0.01)
# Candidates compared at a time: most often the first of all is fresh.
_BLOCK = 8


def canonical(space: SearchSpace, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """`space.encode(space.decode(row))` for many rows at once, to rounding.

    Discrete coordinates move to the middle of their bins, inactive ones to their defaults'.

    Args:
        u: (n, dimension) float64, clipped to the unit cube.
    Returns:
        (n, dimension) float64 in the unit cube.
    """
    return canonical_active(space, u)[0]


def canonical_active(space: SearchSpace, u: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`canonical`, and (n, dimension) which parameters are active."""
    points = np.clip(u, 0.0, 1.0)
    active = np.ones(points.shape, dtype=bool)
    columns = {name: column for column, name in enumerate(space.names)}
    for column, parameter in enumerate(space.parameters):
        snapped = _snap(parameter, points[:, column])
        for name, values in parameter.when.items():
            parent = columns[name]
            allowed = [space.parameters[parent].encode(value) for value in values]
            chosen = (np.abs(points[:, parent, None] - allowed) < 1e-12).any(axis=1)
            active[:, column] &= active[:, parent] & chosen
        if parameter.when:
            snapped = np.where(active[:, column], snapped, parameter.encode(parameter.default_value()))
        points[:, column] = snapped
    return points, active


def _snap(parameter: Parameter, u: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(parameter.size):
        return u
    if isinstance(parameter, Int) and parameter.log:
        low, high = parameter.low - 0.5, parameter.high + 0.5
        values = np.clip(np.floor(low * (high / low) ** u + 0.5), parameter.low, parameter.high)
        return np.asarray(np.log(values / low) / np.log(high / low))
    size = parameter.size
    return (np.minimum(np.floor(u * size), size - 1) + 0.5) / size


def around(
    space: SearchSpace, centres: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Small changes of given points: each changes one coordinate, or a random few.

    A categorical coordinate jumps to any choice; an ordered one takes a normal step of one of three sizes, of at
    least one bin, and is reflected at the border.

    Args:
        centres: (k, dimension) points, used in turn.
    Returns:
        (count, dimension) float64 in the unit cube, not yet canonical.
    """
    dimension = space.dimension
    base = centres[np.arange(count) % len(centres)]
    # On average two coordinates change, and always one.
    changed = rng.random((count, dimension)) < min(1.0, 1.0 / dimension)
    changed[np.arange(count), rng.integers(dimension, size=count)] = True
    scale = rng.choice(_SCALES, size=(count, 1))
    step = rng.normal(size=(count, dimension)) * scale
    bins = np.array([1.0 / parameter.size if np.isfinite(parameter.size) else 0.0 for parameter in space.parameters])
    step = np.copysign(np.maximum(np.abs(step), bins), step)
    far = np.abs(base + step)
    if (far >= 2.0).any():
        far %= 2.0
    moved = 1.0 - np.abs(1.0 - far)
    anywhere = rng.random((count, dimension))
    unordered = np.array([isinstance(parameter, Categorical) for parameter in space.parameters])
    return np.where(changed, np.where(unordered, anywhere, moved), base)


def candidates(
    space: SearchSpace, best: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Half changes of the best points and half uniform draws, in canonical form.

    The former stand first: a forest scores whole boxes alike, and a stable sort then prefers the known good ends.

    Args:
        best: (k, dimension) points to look around; with none of them, all candidates are uniform.
    Returns:
        (count, dimension) float64 in the unit cube.
    """
    local = count // 2 if len(best) else 0
    uniform = rng.random((count - local, space.dimension))
    return canonical(space, np.concatenate([around(space, best, local, rng), uniform]) if local else uniform)


def fresh(ranked: NDArray[np.float64], tried: NDArray[np.float64], tolerance: float = 1e-3) -> Iterator[int]:
    """Positions of those candidates that are no near-duplicates of tried points, in the order given.

    Args:
        ranked: (n, d) candidates, best first.
        tried: (m, d) points.
        tolerance: a candidate is a near-duplicate when no coordinate differs by as much.
    """
    for begin in range(0, len(ranked), _BLOCK):
        block = ranked[begin : begin + _BLOCK]
        rows, near = np.nonzero(np.abs(block[:, :1] - tried[:, 0]) < tolerance)
        # Of the pairs that agree in one coordinate hardly any agrees in the next.
        for column in range(1, ranked.shape[1]):
            kept = np.abs(block[rows, column] - tried[near, column]) < tolerance
            rows, near = rows[kept], near[kept]
        yield from (begin + np.flatnonzero(np.bincount(rows, minlength=len(block)) == 0)).tolist()

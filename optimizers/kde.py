"""Kernel densities over the unit cube, for mixed and conditional spaces: what TPE and BOHB compare.

All densities are relative to the uniform one, which is 1 everywhere: a categorical parameter with k choices shows
k times a choice's probability. So a product over parameters of any kind integrates to 1, and a coordinate that
says nothing, because the parameter is inactive there, has the factor 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from optimizers.candidates import canonical_active
from tunewright.space import Categorical, Config, Int, SearchSpace, config_key

# Integers and steps with more values are as good as continuous.
_MANY = 256
# Kernels per candidate, over observations and parameters.
_WORK = 4_000
_LOG_SQRT_2PI = 0.5 * np.log(2 * np.pi)


class Kernels:
    """How the parameters of a space are smoothed, column by column; made once per study.

    An ordered parameter has normal kernels truncated to [0, 1]; where it takes few values, or wide ones, a kernel's
    mass in the value's bin. A categorical one gives its own choice what a uniform share leaves (Aitchison and Aitken).
    """

    def __init__(self, space: SearchSpace) -> None:
        self.dimension = space.dimension
        self.choices = np.array([p.size if isinstance(p, Categorical) else 0 for p in space.parameters], dtype=np.int64)
        self.categorical = np.flatnonzero(self.choices)
        log = [isinstance(p, Int) and p.log for p in space.parameters]
        binned = np.array([any_log or p.size <= _MANY for any_log, p in zip(log, space.parameters, strict=True)])
        self.binned = np.flatnonzero(binned & (self.choices == 0))
        self.smooth = np.flatnonzero(~binned & (self.choices == 0))
        self._sizes = np.array([p.size for p in space.parameters])[self.binned]
        self._logs = {
            place: (parameter.low, parameter.high)
            for place, parameter in enumerate(space.parameters[int(column)] for column in self.binned)
            if isinstance(parameter, Int) and parameter.log
        }

    def edges(self, u: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends of the bins that hold coordinates of the binned columns.

        Args:
            u: (m, binned columns) float64 in the unit cube.
        """
        below = np.minimum(np.floor(u * self._sizes), self._sizes - 1)
        low, high = below / self._sizes, (below + 1) / self._sizes
        for place, (first, last) in self._logs.items():
            start, end = first - 0.5, last + 0.5
            value = np.clip(np.floor(start * (end / start) ** u[:, place] + 0.5), first, last)
            low[:, place] = np.log((value - 0.5) / start) / np.log(end / start)
            high[:, place] = np.log((value + 0.5) / start) / np.log(end / start)
        return low, high


class Mixture:
    """One kernel per observation and a uniform part of its own weight.

    Args:
        points: (n, d) observations in the unit cube.
        active: (n, d) which of their coordinates count.
        width: (n, d) standard deviations of ordered columns; for categorical ones the uniform share in [0, 1].
        prior: weight of the uniform part, in observations.
    """

    def __init__(
        self,
        kernels: Kernels,
        points: NDArray[np.float64],
        active: NDArray[np.bool_],
        width: NDArray[np.float64],
        prior: float,
    ) -> None:
        self._kernels = kernels
        self._points = points
        self._active = active
        self._width = width
        self._prior = prior
        ordered = np.maximum(width, 1e-6)
        self._mass = ndtr((1 - points) / ordered) - ndtr(-points / ordered)

    def log_joint(self, x: NDArray[np.float64], active: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(m,) log density of a mixture of products: parameters depend on each other.

        Args:
            x: (m, d) points in the unit cube.
            active: (m, d) which of their coordinates count.
        """
        parts = np.zeros((len(x), len(self._points)))
        for _, logs in self._log_kernels(x, active):
            parts += logs.sum(axis=2)
        uniform = np.full((len(x), 1), _log(self._prior))
        summed = np.logaddexp.reduce(np.concatenate([parts, uniform], axis=1), axis=1)
        return np.asarray(summed - np.log(len(self._points) + self._prior))

    def log_marginals(self, x: NDArray[np.float64], active: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(m, d) log density of each parameter by itself, from the observations that have it; 0 where inactive."""
        parts = np.empty((len(x), *self._points.shape))
        for columns, logs in self._log_kernels(x, active):
            parts[:, :, columns] = np.where(self._active[:, columns], logs, -np.inf)
        uniform = np.full((len(x), 1, x.shape[1]), _log(self._prior))
        summed = np.logaddexp.reduce(np.concatenate([parts, uniform], axis=1), axis=1)
        return np.where(active, summed - np.log(self._active.sum(axis=0) + self._prior), 0.0)

    def draw(self, count: int, joint: bool, rng: np.random.Generator, stretch: float = 1.0) -> NDArray[np.float64]:
        """(count, d) points; of a product of marginals unless `joint`. `stretch` widens the normal kernels."""
        n, d = self._points.shape
        if joint:
            rows = np.broadcast_to(self._component(np.ones(n, dtype=bool), count, rng)[:, None], (count, d))
        else:
            rows = np.stack([self._component(self._active[:, c], count, rng) for c in range(d)], axis=1)
        columns = np.broadcast_to(np.arange(d), (count, d))
        uniform, chance, spread = rng.random((3, count, d))
        informed = (rows < n) & self._active[np.minimum(rows, n - 1), columns]
        mean = self._points[np.minimum(rows, n - 1), columns]
        width = self._width[np.minimum(rows, n - 1), columns]
        deviation = np.maximum(width * stretch, 1e-6)
        low = ndtr(-mean / deviation)
        normal = np.clip(mean + deviation * ndtri(low + spread * (ndtr((1 - mean) / deviation) - low)), 0.0, 1.0)
        choice = np.where(chance < width, uniform, mean)
        return np.asarray(np.where(informed, np.where(self._kernels.choices > 0, choice, normal), uniform))

    def _component(self, usable: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows to draw from; their number n stands for the uniform part."""
        rows = np.append(np.flatnonzero(usable), len(usable))
        weights = np.append(np.ones(len(rows) - 1), self._prior if self._prior or len(rows) > 1 else 1.0)
        return np.asarray(rows[np.searchsorted(np.cumsum(weights), rng.random(count) * weights.sum(), side="right")])

    def _log_kernels(
        self, x: NDArray[np.float64], active: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Columns of a kind, and (m, n, such columns) log of each observation's kernel at each point; 0 where either
        does not have the parameter."""
        kernels = self._kernels
        kinds = (
            (kernels.smooth, self._log_normal),
            (kernels.binned, self._log_mass),
            (kernels.categorical, self._log_choice),
        )
        for columns, logs_of in kinds:
            if len(columns):
                logs = logs_of(x[:, columns], columns)
                on, has = active[:, columns], self._active[:, columns]
                yield columns, logs if on.all() and has.all() else np.where(on[:, None] & has, logs, 0.0)

    def _log_normal(self, x: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        width = np.maximum(self._width[:, columns], 1e-6)
        z = (x[:, None] - self._points[:, columns]) / width
        return np.asarray(-0.5 * z * z - (np.log(width * self._mass[:, columns]) + _LOG_SQRT_2PI))

    def _log_mass(self, x: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        low, high = (edge[:, None] for edge in self._kernels.edges(x))
        points, width = self._points[:, columns], np.maximum(self._width[:, columns], 1e-6)
        mass = (ndtr((high - points) / width) - ndtr((low - points) / width)) / (self._mass[:, columns] * (high - low))
        return np.asarray(np.log(np.maximum(mass, 1e-300)))

    def _log_choice(self, x: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        choices, share = self._kernels.choices[columns], self._width[:, columns]
        same = np.abs(x[:, None] - self._points[:, columns]) * choices < 0.5
        # Logarithms of two values for each observation, not of one for each of its pairs with a point.
        own, other = (np.log(np.maximum(value, 1e-300)) for value in (share + (1 - share) * choices, share))
        return np.where(same, own, other)


def _log(weight: float) -> float:
    return math.log(weight) if weight else -math.inf


def best_draw(
    space: SearchSpace,
    drawn: NDArray[np.float64],
    log_ratio: Callable[[NDArray[np.float64], NDArray[np.bool_]], NDArray[np.float64]],
    tried: Container[str],
) -> tuple[Config, float] | None:
    """The draw with the largest density ratio whose configuration is new, and the ratio's logarithm.

    Args:
        drawn: (m, d) points in the unit cube.
        log_ratio: (m,) of canonical points (m, d) and which of their coordinates count.
        tried: keys of configurations (`config_key`).
    """
    # Few are ever looked at, so that they are decoded one by one, and scored all at once.
    ratio = log_ratio(*canonical_active(space, drawn))
    for place in np.argsort(-ratio, kind="stable"):
        config = space.decode(drawn[place])
        if config_key(config) not in tried:
            return config, float(ratio[place])
    return None


def sample_size(dimension: int) -> int:
    """Observations that a mixture should have at most: it then costs the same in a long study and a wide space."""
    return max(32, _WORK // dimension)


def even_width(kernels: Kernels, n: int, size: float, prior: float) -> NDArray[np.float64]:
    """(n, d) widths that depend on the number of points alone: size * n^(-1/(d + 4)), and for categorical columns
    the share that `prior` observations have among n + prior."""
    ordered = max(size * max(n, 1) ** (-1.0 / (kernels.dimension + 4)), 1.0 / min(100, n + 1) * 0.1)
    return np.broadcast_to(np.where(kernels.choices > 0, prior / (prior + n), ordered), (n, kernels.dimension))


def gap_width(
    kernels: Kernels, points: NDArray[np.float64], active: NDArray[np.bool_], prior: float
) -> NDArray[np.float64]:
    """(n, d) the larger distance to the two neighbours in each column, the borders among them (Bergstra 2011, 4.2)."""
    n, d = points.shape
    # Inactive coordinates sort behind the upper border and out of the way.
    shown = np.where(active, points, 2.0)
    order = np.argsort(shown, axis=0, kind="stable")
    ranked = np.minimum(np.take_along_axis(shown, order, axis=0), 1.0)
    ends = np.concatenate([np.zeros((1, d)), ranked, np.ones((1, d))])
    gaps = np.diff(ends, axis=0)
    widths = np.empty((n, d))
    np.put_along_axis(widths, order, np.maximum(gaps[:-1], gaps[1:]), axis=0)
    widths = np.clip(widths, 1.0 / min(100, n + 1), 1.0)
    share = prior / (prior + np.maximum(active.sum(axis=0), 1))
    return np.where(kernels.choices > 0, share, widths)


def reference_width(kernels: Kernels, points: NDArray[np.float64], active: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, d) the normal reference rule, 1.06 * deviation * n^(-1/(d + 4)), of each column; the width of BOHB."""
    n, d = points.shape
    count = np.maximum(active.sum(axis=0), 1)
    mean = np.where(active, points, 0.0).sum(axis=0) / count
    deviation = np.sqrt(np.where(active, (points - mean) ** 2, 0.0).sum(axis=0) / count)
    width = 1.06 * deviation * n ** (-1.0 / (d + 4))
    # Choices are counted, so that their deviation is one of their numbers.
    width = np.where(kernels.choices > 0, np.clip(width * kernels.choices, 0.0, 1.0), width)
    return np.broadcast_to(np.maximum(width, 1e-3), (n, d))

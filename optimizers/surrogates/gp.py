"""A Gaussian process with a Matérn-5/2 kernel, one length scale per parameter."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from optimizers.surrogates.growing import deviation

# Conditioning costs the cube of the points: 300 take some milliseconds on one core, a fit some hundred times that.
MAX_POINTS = 300
# Of the prior's variance; keeps the covariance of near points positive definite.
_JITTER = 1e-8
# Mean and deviation of the logarithms of noise and of scales of choices. Without a prior, the scale of a choice that
# does not matter runs off to infinity, step by step.
_NOISE, _SCALE = (-4.0, 1.0), (0.0, 1.0)
# Logarithms between which a fit stays.
_NOISE_RANGE, _LENGTH_RANGE, _SCALE_RANGE = (np.log(1e-4), 2.0), (np.log(0.025), 12.0), (-7.0, 7.0)
# Likelihoods computed in a fit from scratch and in one that goes on, and points that the latter sees: at most.
_ENOUGH, _FEW, _FITTED_POINTS = 400, 8, 120
# Points predicted at a time: what is computed of so many stays in a core's cache.
_BLOCK = 128
# By how much results grow from fit to fit of a process that keeps up with them.
_GROWTH = 1.1


class GaussianProcess:
    """Matérn-5/2 over ordered columns times a Hamming kernel over categorical ones, and noise.

    Hyper-parameters are the most probable ones under BoTorch's priors, of which those of length scales grow with the
    dimension (Hvarfner et al., ICML 2024). Beyond `max_points` the model sees the best half of that number and a
    random draw of the rest. Runs on one thread, because sums that are split differently differ in their last bits.

    Args:
        categories: column -> number of choices, of the columns without an order.
    """

    def __init__(self, categories: Mapping[int, int], max_points: int = MAX_POINTS) -> None:
        self._categories = dict(sorted(categories.items()))
        self._max_points = max_points
        self._prior: _Prior | None = None

    def fit(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> None:
        """See `Surrogate.fit`; cubic in the points, of which there are at most `max_points`."""
        inputs, outcomes = self._take(x, y, self._max_points, rng)
        with one_thread():
            self._prior = _fitted(_Prior.mode(x.shape[1], self._categories), inputs, outcomes, _ENOUGH)
            self._posterior = _Posterior(self._prior, inputs, outcomes)

    def improve(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Go on from the hyper-parameters of the last fit for a few steps, on a part of the points.

        Args:
            x, y: as in `fit`. The model is to be conditioned on them, or on others, before it predicts.
        """
        inputs, outcomes = self._take(x, y, min(self._max_points, _FITTED_POINTS), rng)
        with one_thread():
            start = self._prior or _Prior.mode(x.shape[1], self._categories)
            self._prior = _fitted(start, inputs, outcomes, _FEW)

    def condition(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Replace the data and keep the hyper-parameters of the last fit: a small part of its cost.

        Args:
            x, y: as in `fit`.
        """
        assert self._prior is not None
        inputs, outcomes = self._take(x, y, self._max_points, rng)
        with one_thread():
            self._posterior = _Posterior(self._prior, inputs, outcomes)

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Surrogate.predict`."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        with one_thread():
            for begin in range(0, len(x), _BLOCK):
                block = slice(begin, begin + _BLOCK)
                mean[block], half = self._posterior.at(x[block])
                variance[block] = 1.0 - np.einsum("ij,ij->j", half, half)
        return mean * self._deviation + self._mean, np.maximum(variance, 0.0) * self._deviation**2

    @property
    def prior(self) -> _Prior | None:
        """Hyper-parameters of the last fit."""
        return self._prior

    def resume(self, prior: _Prior | None) -> None:
        """Take hyper-parameters of an earlier fit; None for those of no data."""
        self._prior = prior

    def left_out(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the others say of each point that the model was conditioned on, by inverting once.

        Rasmussen and Williams, 2006, equations 5.10 to 5.12, the constant taken as known.

        Returns:
            (n,) means and (n,) variances without noise, in the order in which the points were given.
        """
        with one_thread():
            mean, variance = self._posterior.left_out()
        return mean * self._deviation + self._mean, variance * self._deviation**2

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Of the last fit: `noise`, `constant`, `lengths` and `scales`, where outcomes have mean 0 and variance 1."""
        assert self._prior is not None
        prior = self._prior
        return {
            "noise": prior.noise,
            "constant": self._posterior.constant,
            "lengths": prior.lengths,
            "scales": 1 / prior.weights,
        }

    def fantasies(
        self, x: NDArray[np.float64], pending: NDArray[np.float64], samples: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Predictions given what pending points may turn out to be: samples of their joint distribution.

        Conditioned on values f at the pending points, means are mu + C K^-1 (f - mu_p) and variances
        v - diag(C K^-1 C'), where only the means depend on f.

        Args:
            x: (m, d) float64 in the unit cube.
            pending: (p, d) float64 in the unit cube, p >= 1.
        Returns:
            (m, samples) means and (m,) variances at `x`, and the (p, samples) values.
        """
        z = rng.standard_normal((len(pending), samples))
        prior = self._posterior.prior
        with one_thread():
            mean, half = self._posterior.at(x)
            expected, half_pending = self._posterior.at(pending)
            seen = prior.scaled(pending)
            within = prior.covariance(seen, seen) - half_pending.T @ half_pending
            across = prior.covariance(seen, prior.scaled(x)) - half_pending.T @ half
            root = cholesky(within + _JITTER * np.eye(len(pending)))
            # K^-1 (f - mu_p) is L'^-1 z for f = mu_p + L z.
            shift = solve_triangular(root, across, lower=True, check_finite=False)
            means = mean[:, None] + shift.T @ z
            variance = 1.0 - (half**2).sum(axis=0) - (shift**2).sum(axis=0)
            values = expected[:, None] + root @ z
        return (
            means * self._deviation + self._mean,
            np.maximum(variance, 0.0) * self._deviation**2,
            values * self._deviation + self._mean,
        )

    def _take(
        self, x: NDArray[np.float64], y: NDArray[np.float64], size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The data that the model sees, in units of which it keeps the mean and deviation."""
        if len(x) > size:
            kept = _subset(y, size, rng)
            x, y = x[kept], y[kept]
        self._mean = float(np.mean(y))
        self._deviation = float(deviation(y))
        return x, (y - self._mean) / self._deviation


class GrowingProcess:
    """A Gaussian process that keeps up with a growing sequence of results.

    Hyper-parameters are improved on by a few steps each time there are a tenth more results, so that no decision has
    to wait for a whole fit. What may be relied on: they follow from the seed and the results alone, in their order,
    whatever was asked before; a process that was never asked catches up when it is.

    Args:
        seed: of the process; a fit's own adds the number of results.
        categories, max_points: see `GaussianProcess`.
    """

    def __init__(self, seed: Sequence[int], categories: Mapping[int, int], max_points: int = MAX_POINTS) -> None:
        self._seed = list(seed)
        self._categories = dict(categories)
        self._max_points = max_points
        self._milestones: list[int] = []
        self._priors: list[_Prior | None] = []

    def grown(
        self, results: int, first: Callable[[int], tuple[NDArray[np.float64], NDArray[np.float64]]]
    ) -> GaussianProcess:
        """A process with the hyper-parameters that belong to so many results, to be conditioned on what is believed.

        Args:
            results: at least 2; hyper-parameters of earlier times are kept.
            first: n -> (n, d) points and (n,) outcomes of the first n results; always the same for the same n.
        """
        model = GaussianProcess(self._categories, self._max_points)
        while (milestone := _next_milestone(self._milestones[-1] if self._milestones else 0)) <= results:
            rng = np.random.default_rng([*self._seed, milestone])
            model.resume(self._priors[-1] if self._priors else None)
            model.improve(*first(milestone), rng)
            self._milestones.append(milestone)
            self._priors.append(model.prior)
        model.resume(self._priors[bisect_right(self._milestones, results) - 1])
        return model


def _next_milestone(results: int) -> int:
    """Of 2, 3, 4, ..., each a tenth more than the one before, the first above a given one."""
    return max(2, results + 1, int(results * _GROWTH))


@dataclass(frozen=True)
class _Scaled:
    """Points as a prior compares them: what is the same whatever they are compared with.

    Attributes:
        ordered: (n, ordered) coordinates times the root of 5, in length scales.
        squares: (n,) their squared lengths.
        indicators: (n, all choices) 1 where a point has a choice, else 0.
    """

    ordered: NDArray[np.float64]
    squares: NDArray[np.float64]
    indicators: NDArray[np.float64]


class _Prior:
    """Hyper-parameters, and the covariance that they mean; its variance is 1 everywhere.

    Args:
        logs: of the noise, the length scales of ordered columns, and the scales of categorical ones, in this order.
    """

    def __init__(self, logs: NDArray[np.float64], ordered: Sequence[int], categories: Mapping[int, int]) -> None:
        self.logs = logs
        self.ordered = list(ordered)
        self.categories = categories
        self.noise = float(np.exp(logs[0]))
        self.lengths = np.exp(logs[1 : 1 + len(self.ordered)])
        self.weights = np.exp(-logs[1 + len(self.ordered) :])
        self._sizes = np.array(list(categories.values()), dtype=np.int64)
        self._begins = np.cumsum(self._sizes) - self._sizes
        self._shares = np.repeat(self.weights, self._sizes) / max(1, len(categories))

    @classmethod
    def mode(cls, dimension: int, categories: Mapping[int, int]) -> _Prior:
        """The most probable ones while nothing is known."""
        ordered = [column for column in range(dimension) if column not in categories]
        # A choice of one says nothing, and would count among those that do.
        varied = {column: count for column, count in categories.items() if count > 1}
        center, spread = _log_normals(len(ordered), len(varied))
        return cls(center - spread**2, ordered, varied)

    def scaled(self, x: NDArray[np.float64]) -> _Scaled:
        """(n, d) points, to be compared with others."""
        ordered = x[:, self.ordered] * (5**0.5 / self.lengths)
        return _Scaled(ordered, np.einsum("ij,ij->i", ordered, ordered), self._indicators(x))

    def covariance(self, a: _Scaled, b: _Scaled) -> NDArray[np.float64]:
        """(n, m) between n and m points."""
        # Distances and choices by products, which take a fraction of the time of differences and comparisons. What
        # rounding adds to small distances hardly matters: the covariance is flat where they are 0.
        squares = (-2 * a.ordered) @ b.ordered.T
        squares += a.squares[:, None]
        squares += b.squares
        np.maximum(squares, 0.0, out=squares)
        distance = np.sqrt(squares)
        factor = squares
        factor *= 1 / 3
        factor += distance
        factor += 1
        if self.categories:
            decay = (a.indicators * self._shares) @ b.indicators.T
            decay -= distance
            decay -= self.weights.sum() / len(self.categories)
        else:
            decay = np.negative(distance, out=distance)
        result = np.exp(decay, out=decay)
        result *= factor
        return result

    def _indicators(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.zeros((len(x), int(self._sizes.sum())))
        if self.categories:
            places = self._begins + _choices(x[:, list(self.categories)], self._sizes)
            found[np.arange(len(x))[:, None], places] = 1.0
        return found


class _Posterior:
    """What the prior becomes, given data."""

    def __init__(self, prior: _Prior, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self.prior = prior
        self._scaled, self._y = prior.scaled(x), y
        covariance = prior.covariance(self._scaled, self._scaled)
        # The noise is at least 1e-4, so repeated points leave the matrix well-conditioned.
        covariance[np.diag_indices(len(x))] += prior.noise
        self._root = cholesky(covariance)
        self.constant = _constant(self._root, y)
        self._weights = lapack.dpotrs(self._root, y - self.constant, lower=1)[0]

    def left_out(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) mean and variance of each outcome given the others."""
        lower = lapack.dpotri(self._root, lower=1)[0]
        own = 1.0 / np.diag(lower)
        return self._y - self._weights * own, np.maximum(own - self.prior.noise, 0.0)

    def at(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(m,) means, and the (n, m) matrix H with which covariances become K - H' H."""
        across = self.prior.covariance(self._scaled, self.prior.scaled(points))
        return self.constant + across.T @ self._weights, self._inverse @ across

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        """Of the root: for hundreds of points a product takes half the time of solving, and is as exact, since
        the noise keeps the root well-conditioned."""
        return np.asarray(lapack.dtrtri(self._root, lower=1)[0])


def _fitted(start: _Prior, x: NDArray[np.float64], y: NDArray[np.float64], likelihoods: int) -> _Prior:
    """The most probable hyper-parameters, looked for from `start` on until so many likelihoods were computed."""
    posterior = _LogPosterior(start, x, y)
    found = minimize(
        lambda logs: posterior.negative(logs),
        start.logs,
        jac=True,
        method="L-BFGS-B",
        bounds=posterior.bounds,
        options={"maxfun": likelihoods, "ftol": 1e-6},
    )
    return _Prior(np.asarray(found.x), start.ordered, start.categories)


class _LogPosterior:
    """Logarithm of how probable hyper-parameters are, and its gradient (Rasmussen and Williams, 2006, equation 5.9).

    Works on the pairs above the diagonal, whose differences do not change from one step to the next.
    """

    def __init__(self, prior: _Prior, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self._y = y
        self._ordered = len(prior.ordered)
        self._pairs = np.triu_indices(len(x), 1)
        # Where they stand in a matrix row by row.
        self._places = self._pairs[0] * len(x) + self._pairs[1]
        # (ordered, pairs) squared differences, and (categories, pairs) whether choices differ, as shares.
        first, second = self._pairs
        ordered = np.ascontiguousarray(x[:, prior.ordered].T)
        choices = _choices(x[:, list(prior.categories)], np.array(list(prior.categories.values()), np.int64)).T
        self._squares = np.square(ordered.take(first, axis=1) - ordered.take(second, axis=1))
        self._squares *= 5
        self._differ = (choices.take(first, axis=1) != choices.take(second, axis=1)) / max(1, len(choices))
        self._center, self._spread = _log_normals(self._ordered, len(prior.categories))
        self.bounds = [
            _NOISE_RANGE,
            *[_LENGTH_RANGE] * self._ordered,
            *[_SCALE_RANGE] * len(prior.categories),
        ]

    def negative(self, logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Per result, up to a constant."""
        n = len(self._y)
        noise, lengths, scales = np.exp(logs[0]), logs[1 : 1 + self._ordered], logs[1 + self._ordered :]
        precision, weights = np.exp(-2 * lengths), np.exp(-scales)
        r = np.sqrt(precision @ self._squares)
        decay = np.exp(-r - weights @ self._differ)
        upper = (1 + r + r**2 / 3) * decay
        covariance = np.zeros(n * n)
        covariance[self._places] = upper
        covariance[:: n + 1] = 1.0 + noise
        # Column by column, this is the lower half that LAPACK reads.
        root = cholesky(covariance.reshape(n, n).T)
        constant = _constant(root, self._y)
        centred = self._y - constant
        alpha = lapack.dpotrs(root, centred, lower=1)[0]
        inverse = lapack.dpotri(root, lower=1)[0]

        # Half the trace of (alpha alpha' - K^-1) dK, in which every pair counts twice.
        first, second = self._pairs
        pull = alpha.take(first) * alpha.take(second) - inverse.T.ravel().take(self._places)
        of_noise = 0.5 * noise * (alpha @ alpha - np.trace(inverse))
        of_lengths = precision * (self._squares @ (pull * (1 + r) / 3 * decay))
        of_scales = -weights * (self._differ @ (pull * upper))
        gradient = np.concatenate([[of_noise], of_lengths, -of_scales])
        value = -0.5 * centred @ alpha - np.log(np.diag(root)).sum()

        z = (logs - self._center) / self._spread
        value += -0.5 * z @ z - logs.sum()
        gradient += -z / self._spread - 1.0
        return -value / n, -gradient / n


def _choices(columns: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, c) numbers of the choices that stand in columns."""
    return np.minimum((columns * sizes).astype(np.int64), sizes - 1)


def _log_normals(ordered: int, categories: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and deviations of the hyper-parameters' logarithms."""
    length = (2**0.5 + 0.5 * np.log(max(1, ordered)), 3**0.5)
    every = np.array([_NOISE, *[length] * ordered, *[_SCALE] * categories])
    return every[:, 0], every[:, 1]


def cholesky(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower Cholesky factor of a covariance, of which only the lower half is read.

    Raises:
        LinAlgError: it is not positive definite.
    """
    root, failed = lapack.dpotrf(covariance, lower=1, clean=1)
    if failed:
        raise np.linalg.LinAlgError(f"covariance of {len(covariance)} points is not positive definite")
    return np.asarray(root)


def _constant(root: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The most probable mean of the process: the generalised least squares of a constant."""
    # SciPy's own functions around LAPACK's take longer than these themselves.
    white = lapack.dtrtrs(root, np.stack([np.ones(len(y)), y], axis=1), lower=1)[0]
    return float(white[:, 0] @ white[:, 1] / (white[:, 0] @ white[:, 0]))


def _subset(y: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sorted indices of the best half and a random rest."""
    order = np.argsort(y, kind="stable")
    best, others = order[: size // 2], order[size // 2 :]
    return np.sort(np.concatenate([best, rng.choice(others, size - len(best), replace=False)]))


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra on one thread, so that results do not depend on how sums are split; the number is put back."""
    if all(library.num_threads == 1 for library in _controller().lib_controllers):
        # Within another `one_thread`, say: to limit it takes a hundred times longer than to ask.
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield

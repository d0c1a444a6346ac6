"""The Gaussian process behind every decision: performance = the reference's performance + improvement over it.

    y(x, c) = constant + t(c) + g(x, c) + noise                      y: logarithm of the performance, larger is better

    t   the reference's performance in context c: linear with ARD, plus Matérn-5/2 with ARD over context and age
    g   the improvement of x over the reference: Matérn-5/2 with ARD over knobs, times 1 (the same in all contexts:
        the additive form of the paper) plus, in the product form, Matérn-5/2 with ARD over the context; plus what each
        setting has for itself, of which others, however near, know nothing

g is conditioned on being 0 at the reference, in every context: k(x, x') - k(x, x0) k(x0, x') takes the place of
k(x, x'). So the reference is never in doubt, doubt grows with the distance from it, and how well the reference's own
performance is known enters every bound on g by itself: both are inferred together.

Servers flip plans, and nothing smooth foresees a step. With a part for itself, a setting that was measured high again
and again is known to be high although its neighbours were not; of settings never measured that part is not counted, or
no first step would be safe. How often that deceives is what a session's caution learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from optimizers.surrogates.gp import cholesky, one_thread

Form: TypeAlias = Literal["product", "additive"]

# Prior variance of the constant; y is centred, so it only has to be large against what y does.
_CONSTANT = 1.0
# Ages are counted in hundreds of intervals.
_AGE = 100.0
# Median and deviation of the logarithms: noise of a nominal interval (2.5%), the reference's performance over
# contexts, improvement in all contexts alike, improvement by context, age, slopes, and what a setting has for itself.
_NOISE, _REFERENCE = (2 * np.log(0.025), 0.8), (2 * np.log(0.2), 1.0)
_SHARED, _PRODUCT = (2 * np.log(0.25), 0.7), (2 * np.log(0.12), 1.0)
_AGES, _SLOPE = (np.log(2.0), 0.7), (2 * np.log(0.1), 1.0)
_OWN = (2 * np.log(0.03), 1.5)
# Of length scales; their medians grow with the root of the dimension, as distances do (Hvarfner et al., ICML 2024).
_CONTEXT_LENGTH, _KNOB_LENGTH = (0.0, 0.8), (np.log(0.6), 1.0)
# Prior deviations that a hyper-parameter may stray.
_FARTHEST = 4.0
_LIKELIHOODS = 60


@dataclass(frozen=True)
class Rows:
    """Intervals as a model sees them.

    Attributes:
        x: (n, d) settings in the unit cube.
        c: (n, q) contexts, standardised.
        age: (n,) numbers of the intervals.
        y: (n,) logarithms of performance, larger is better.
        scale: (n,) noise variance against that of an interval of nominal length.
    """

    x: NDArray[np.float64]
    c: NDArray[np.float64]
    age: NDArray[np.float64]
    y: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        return Rows(self.x[rows], self.c[rows], self.age[rows], self.y[rows], self.scale[rows])


class Knobs:
    """The unit cube as the kernel sees it: a coordinate for each ordered knob, one for each choice of the others.

    Args:
        reference: (d,) point.
        categories: column -> number of choices, of the knobs without an order.
    """

    def __init__(self, reference: NDArray[np.float64], categories: Mapping[int, int]) -> None:
        self._categories = dict(categories)
        # (coordinates,) the knob that each coordinate belongs to.
        self.owner = np.concatenate([[j] * self._categories.get(j, 1) for j in range(len(reference))]).astype(np.int64)
        self.count = len(reference)
        self.reference = self.embed(reference[None])

    def same(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, m) 1 where (n, d) and (m, d) points are the same one, and not the reference; else 0."""
        points = np.concatenate([self.reference, self.embed(a), self.embed(b)])
        which = np.unique(np.round(points, 9), axis=0, return_inverse=True)[1].reshape(-1)
        left, right = which[1 : 1 + len(a)], which[1 + len(a) :]
        return np.asarray((left[:, None] == right) & (left[:, None] != which[0]), dtype=np.float64)

    def embed(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, coordinates): two different choices are as far apart as the ends of an ordered knob."""
        columns = []
        for j in range(x.shape[1]):
            size = self._categories.get(j)
            if size is None:
                columns.append(x[:, j : j + 1])
            else:
                choice = np.minimum(np.floor(x[:, j] * size), size - 1)
                columns.append((choice[:, None] == np.arange(size)) * 0.5**0.5)
        return np.concatenate(columns, axis=1)


class Prior:
    """Hyper-parameters, and the covariances that they mean.

    Args:
        logs: noise, reference, shared, product, age, own, then q slopes, q context lengths, d knob lengths.
    """

    def __init__(self, logs: NDArray[np.float64], knobs: Knobs, form: Form) -> None:
        self.logs, self.knobs, self.form = logs, knobs, form
        q = (len(logs) - 6 - knobs.count) // 2
        self.noise, self.reference, self.shared, self.product, self.age, self.own = (float(v) for v in np.exp(logs[:6]))
        if form == "additive":
            self.product = 0.0
        self.slopes = np.exp(logs[6 : 6 + q])
        self.context_lengths = np.exp(logs[6 + q : 6 + 2 * q])
        self.knob_lengths = np.exp(logs[6 + 2 * q :])

    @classmethod
    def median(cls, knobs: Knobs, contexts: int, form: Form) -> Prior:
        """The most probable one while nothing is known."""
        return cls(_medians(knobs.count, contexts)[0], knobs, form)

    def anchored(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, m) correlation of improvements at (n, d) and (m, d) points, which is 0 at the reference."""
        lengths = self.knob_lengths[self.knobs.owner]
        x, z, origin = self.knobs.embed(a) / lengths, self.knobs.embed(b) / lengths, self.knobs.reference / lengths
        return matern(cdist(x, z)) - matern(cdist(x, origin)) * matern(cdist(origin, z))

    def anchored_variance(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) the diagonal of `anchored(x, x)`."""
        lengths = self.knob_lengths[self.knobs.owner]
        return 1.0 - matern(cdist(self.knobs.embed(x) / lengths, self.knobs.reference / lengths))[:, 0] ** 2

    def contexts(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, m) how far improvements in (n, q) and (m, q) contexts have to do with each other: their variance."""
        if not self.product:
            return np.full((len(a), len(b)), self.shared)
        return self.shared + self.product * matern(cdist(a / self.context_lengths, b / self.context_lengths))

    def of_reference(
        self, a: NDArray[np.float64], ages: NDArray[np.float64], b: NDArray[np.float64], others: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n, m) covariance of the reference's performance between contexts a at `ages` and b at `others`."""
        span = self.age * _AGE
        left = np.concatenate([a / self.context_lengths, ages[:, None] / span], axis=1)
        right = np.concatenate([b / self.context_lengths, others[:, None] / span], axis=1)
        return _CONSTANT + (a * self.slopes) @ b.T + self.reference * matern(cdist(left, right))


def fit(rows: Rows, knobs: Knobs, form: Form, likelihoods: int = _LIKELIHOODS) -> Prior:
    """The most probable hyper-parameters, looked for from their priors' medians: the same rows give the same ones."""
    with one_thread():
        posterior = _LogPosterior(rows, knobs, form)
        found = minimize(
            posterior.negative,
            posterior.center,
            jac=True,
            method="L-BFGS-B",
            bounds=posterior.bounds,
            options={"maxfun": likelihoods, "ftol": 1e-5},
        )
    return Prior(np.asarray(found.x), knobs, form)


class Posterior:
    """What is believed of reference and improvement in one context, given intervals.

    Args:
        context: (q,) standardised.
        age: number of the interval that is decided on.
    """

    def __init__(self, prior: Prior, rows: Rows, context: NDArray[np.float64], age: float) -> None:
        self.prior, self._rows = prior, rows
        with one_thread():
            self._shift = float(np.mean(rows.y))
            covariance = prior.of_reference(rows.c, rows.age, rows.c, rows.age)
            covariance += prior.anchored(rows.x, rows.x) * prior.contexts(rows.c, rows.c)
            covariance += prior.own * prior.knobs.same(rows.x, rows.x)
            covariance[np.diag_indices(len(rows))] += prior.noise * rows.scale
            self._root = cholesky(covariance)
            self._weights = cho_solve((self._root, True), rows.y - self._shift, check_finite=False)
            self._noise = prior.noise * rows.scale
            here, now = context[None], np.array([float(age)])
            self._weight_here = prior.contexts(rows.c, here)
            across = prior.of_reference(rows.c, rows.age, here, now)
            self._reference_half = solve_triangular(self._root, across, lower=True, check_finite=False)
            self.reference = float(across[:, 0] @ self._weights) + self._shift
            variance = float(prior.of_reference(here, now, here, now)[0, 0]) - float(np.sum(self._reference_half**2))
            # Of the logarithm of the reference's performance here, and its variance.
            self.reference_variance = max(variance, 0.0)
            self._amplitude = float(prior.contexts(here, here)[0, 0])

    def improvement(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(m,) means and (m,) deviations of the improvement g at (m, d) points; both are 0 at the reference."""
        with one_thread():
            across, half = self._across(x)
            variance = self._variance(x, half)
        return across.T @ self._weights, np.sqrt(np.maximum(variance, 0.0))

    def doubt_against(self, x: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m,) deviations of the difference between g at (m, d) points that were measured and g at another such."""
        with one_thread():
            points = np.concatenate([x, other[None]])
            _, half = self._across(points)
            covariance = self._amplitude * self.prior.anchored(points, points[-1:])[:, 0]
            covariance += self.prior.own * self.prior.knobs.same(points, points[-1:])[:, 0] - half.T @ half[:, -1]
            variance = self._variance(points, half)
        return np.asarray(np.sqrt(np.maximum(variance + variance[-1] - 2.0 * covariance, 0.0))[:-1])

    def shared_variance(self, point: NDArray[np.float64]) -> float:
        """How much of the variance of g at a (d,) point one more interval on the reference would take away."""
        with one_thread():
            _, half = self._across(point[None])
            covariance = -float(half[:, 0] @ self._reference_half[:, 0])
        return covariance**2 / (self.reference_variance + self.prior.noise)

    @property
    def information(self) -> float:
        """log det(K + N) - log det N: twice the information that the intervals gave."""
        return float(2.0 * np.log(np.diag(self._root)).sum() - np.log(self._noise).sum())

    @property
    def norm(self) -> float:
        """Of the posterior mean, in the space of the kernel: a' K a for the weights a."""
        y = self._rows.y - self._shift
        return float(np.sqrt(max(0.0, self._weights @ y - self._noise @ self._weights**2)))

    def _variance(self, x: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m,) of g at (m, d) points, with the H of `_across`; below 0 by rounding."""
        own = self.prior.own * self.prior.knobs.same(x, self._rows.x).max(axis=1)
        return np.asarray(self._amplitude * self.prior.anchored_variance(x) + own - np.einsum("ij,ij->j", half, half))

    def _across(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n, m) covariance of intervals and improvements here, and the matrix H of which H'H is what was learnt."""
        across = self.prior.anchored(self._rows.x, x) * self._weight_here
        across += self.prior.own * self.prior.knobs.same(self._rows.x, x)
        return across, solve_triangular(self._root, across, lower=True, check_finite=False)


class _LogPosterior:
    """Logarithm of how probable hyper-parameters are, and its gradient (Rasmussen and Williams, 2006, equation 5.9).

    A sum of W_ij (x_ik - x_jk)^2 over pairs is 2 (sum_i w_i x_ik^2 - (X' W X)_kk) with row sums w: gradients of all
    length scales together cost one product of matrices, however many knobs there are.
    """

    def __init__(self, rows: Rows, knobs: Knobs, form: Form) -> None:
        self._rows, self._knobs, self._form = rows, knobs, form
        self._y = rows.y - np.mean(rows.y)
        # The reference stands behind the intervals, for the kernel's terms that lead to it.
        self._x = np.concatenate([knobs.embed(rows.x), knobs.reference])
        self._same = knobs.same(rows.x, rows.x)
        self._timed = np.concatenate([rows.c, rows.age[:, None] / _AGE], axis=1)
        self.center, self._spread = _medians(knobs.count, rows.c.shape[1])
        far = _FARTHEST * self._spread
        self.bounds = list(zip(self.center - far, self.center + far, strict=True))

    def negative(self, logs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Per interval, up to a constant."""
        prior, rows = Prior(logs, self._knobs, self._form), self._rows
        n, q = rows.c.shape
        lengths = prior.knob_lengths[self._knobs.owner]
        distance = cdist(self._x / lengths, self._x / lengths)
        knobs, knob_slope = matern(distance), _slope(distance)
        origin = knobs[:n, n]
        anchored = knobs[:n, :n] - np.outer(origin, origin)
        distance = cdist(rows.c / prior.context_lengths, rows.c / prior.context_lengths)
        contexts, context_slope = matern(distance), _slope(distance)
        weight = prior.shared + prior.product * contexts
        scaled = self._timed / np.concatenate([prior.context_lengths, [prior.age]])
        distance = cdist(scaled, scaled)
        timed, timed_slope = matern(distance), _slope(distance)
        covariance = _CONSTANT + (rows.c * prior.slopes) @ rows.c.T + prior.reference * timed + anchored * weight
        covariance += prior.own * self._same
        covariance[np.diag_indices(n)] += prior.noise * rows.scale
        root = cholesky(covariance)
        alpha = cho_solve((root, True), self._y, check_finite=False)
        inverse = lapack.dpotri(root, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T

        # The derivative by a hyper-parameter is the sum of `pull` times that of the covariance.
        pull = 0.5 * (np.outer(alpha, alpha) - inverse)
        of_weight = pull * anchored
        of_knobs = np.zeros((n + 1, n + 1))
        of_anchored = pull * weight
        of_knobs[:n, :n] = of_anchored * knob_slope[:n, :n]
        of_knobs[:n, n] = of_knobs[n, :n] = -(of_anchored @ origin) * knob_slope[:n, n]
        by_coordinate = _squares(of_knobs, self._x) / lengths**2
        of_timed = prior.reference * pull * timed_slope
        by_time = _squares(of_timed, self._timed)
        of_contexts = prior.product * of_weight * context_slope
        gradient = np.concatenate(
            [
                [
                    prior.noise * float(np.diag(pull) @ rows.scale),
                    prior.reference * float(np.sum(pull * timed)),
                    prior.shared * float(np.sum(of_weight)),
                    prior.product * float(np.sum(of_weight * contexts)),
                    by_time[q] / prior.age**2,
                    prior.own * float(np.sum(pull * self._same)),
                ],
                prior.slopes * np.einsum("ij,ij->j", rows.c, pull @ rows.c),
                (by_time[:q] + _squares(of_contexts, rows.c)) / prior.context_lengths**2,
                np.bincount(self._knobs.owner, by_coordinate, self._knobs.count),
            ]
        )
        z = (logs - self.center) / self._spread
        value = -0.5 * self._y @ alpha - np.log(np.diag(root)).sum() - 0.5 * z @ z
        return -float(value) / n, -(gradient - z / self._spread) / n


def matern(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matérn-5/2 correlation at scaled distances."""
    r = 5**0.5 * distance
    return np.asarray((1.0 + r + r**2 / 3.0) * np.exp(-r))


def _slope(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the Matérn correlation gains per scaled squared difference, as its length grows by a logarithm's unit."""
    r = 5**0.5 * distance
    return np.asarray(5.0 / 3.0 * (1.0 + r) * np.exp(-r))


def _squares(weights: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) sums over all pairs of weights_ij (x_ik - x_jk)^2, for symmetric (n, n) weights and (n, k) points."""
    return np.asarray(2.0 * (weights.sum(axis=1) @ x**2 - np.einsum("ik,ik->k", x, weights @ x)))


def _medians(knobs: int, contexts: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of the hyper-parameters' logarithms, and how far they spread."""
    context_length = (_CONTEXT_LENGTH[0] + 0.5 * np.log(max(1, contexts)), _CONTEXT_LENGTH[1])
    knob_length = (_KNOB_LENGTH[0] + 0.5 * np.log(max(1, knobs)), _KNOB_LENGTH[1])
    every = np.array(
        [_NOISE, _REFERENCE, _SHARED, _PRODUCT, _AGES, _OWN]
        + [_SLOPE] * contexts
        + [context_length] * contexts
        + [knob_length] * knobs
    )
    return every[:, 0], every[:, 1]

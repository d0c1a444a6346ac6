"""A Gaussian process with a Matérn-5/2 kernel, one length scale per parameter, on BoTorch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from botorch.exceptions import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.kernels import Kernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from numpy.typing import NDArray

# An exact fit costs the cube of its points: 300 take about a quarter of a second on one core.
MAX_POINTS = 300
# Of the prior's variance; keeps the covariance of near points positive definite.
_JITTER = 1e-8


class GaussianProcess:
    """BoTorch's single-task process: Matérn-5/2 over ordered columns times a Hamming kernel over categorical ones.

    Length scales have BoTorch's dimension-scaled priors (Hvarfner et al., ICML 2024). Beyond `max_points` the model
    sees the best half of that number and a random draw of the rest. Runs on one thread, because sums that are split
    differently differ in their last bits.

    Args:
        categories: column -> number of choices, of the columns without an order.
    """

    def __init__(self, categories: Mapping[int, int], max_points: int = MAX_POINTS) -> None:
        self._categories = sorted(categories)
        self._max_points = max_points

    def fit(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> None:
        """See `Surrogate.fit`; cubic in the points, of which there are at most `max_points`."""
        seed = int(rng.integers(2**31))
        inputs, outcomes = self._take(x, y, rng)
        with _repeatable(seed):
            model = SingleTaskGP(
                inputs, outcomes[:, None], covar_module=self._kernel(x.shape[1]), outcome_transform=None
            )
            start = {name: value.clone() for name, value in model.state_dict().items()}
            try:
                fit_gpytorch_mll(
                    ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs={"options": {"ftol": 1e-6}}
                )
            except ModelFittingError:
                # The priors' modes are a sound model too, where the likelihood has no usable maximum.
                model.load_state_dict(start)
            self._prior = _Prior(model, x.shape[1], self._categories)
            self._posterior = _Posterior(self._prior, inputs, outcomes)

    def condition(self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator) -> None:
        """Replace the data and keep the hyper-parameters of the last `fit`: a small part of its cost.

        Args:
            x, y: as in `fit`.
        """
        inputs, outcomes = self._take(x, y, rng)
        with _repeatable(0):
            self._posterior = _Posterior(self._prior, inputs, outcomes)

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Surrogate.predict`."""
        with _repeatable(0):
            mean, half = self._posterior.at(torch.tensor(x, dtype=torch.float64))
            variance = 1.0 - (half**2).sum(dim=0)
        return mean.numpy() * self._deviation + self._mean, np.maximum(variance.numpy(), 0.0) * self._deviation**2

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
        z = torch.tensor(rng.standard_normal((len(pending), samples)))
        with _repeatable(0):
            wanted, points = (torch.tensor(each, dtype=torch.float64) for each in (x, pending))
            mean, half = self._posterior.at(wanted)
            expected, half_pending = self._posterior.at(points)
            within = self._prior.covariance(points, points) - half_pending.T @ half_pending
            across = self._prior.covariance(points, wanted) - half_pending.T @ half
            root = torch.linalg.cholesky(within + _JITTER * torch.eye(len(points), dtype=torch.float64))
            # K^-1 (f - mu_p) is L'^-1 z for f = mu_p + L z.
            shift = torch.linalg.solve_triangular(root, across, upper=False)
            means = mean[:, None] + shift.T @ z
            variance = 1.0 - (half**2).sum(dim=0) - (shift**2).sum(dim=0)
            values = expected[:, None] + root @ z
        return (
            means.numpy() * self._deviation + self._mean,
            np.maximum(variance.numpy(), 0.0) * self._deviation**2,
            values.numpy() * self._deviation + self._mean,
        )

    def _take(
        self, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The data that the model sees, in units of which it keeps the mean and deviation."""
        if len(x) > self._max_points:
            kept = _subset(y, self._max_points, rng)
            x, y = x[kept], y[kept]
        self._mean = float(np.mean(y))
        self._deviation = float(np.std(y))
        if self._deviation <= 1e-12 * max(1.0, abs(self._mean)):
            self._deviation = 1.0
        scaled = (y - self._mean) / self._deviation
        return torch.tensor(x, dtype=torch.float64), torch.tensor(scaled, dtype=torch.float64)

    def _kernel(self, dimension: int) -> Kernel:
        ordered = [column for column in range(dimension) if column not in self._categories]
        parts = []
        if ordered:
            parts.append(
                get_covar_module_with_dim_scaled_prior(len(ordered), active_dims=ordered, use_rbf_kernel=False)
            )
        if self._categories:
            # Without a prior, the scale of a choice that does not matter runs off to infinity, step by step.
            prior = LogNormalPrior(0.0, 1.0)
            kernel = CategoricalKernel(
                ard_num_dims=len(self._categories), active_dims=self._categories, lengthscale_prior=prior
            )
            kernel.lengthscale = prior.mode
            parts.append(kernel)
        return parts[0] if len(parts) == 1 else parts[0] * parts[1]


class _Prior:
    """The hyper-parameters of a fitted model, and the covariance that they mean; its variance is 1 everywhere.

    GPyTorch's lazy tensors cost tens of milliseconds for each prediction; these few lines cost a few.
    """

    def __init__(self, model: SingleTaskGP, dimension: int, categories: Sequence[int]) -> None:
        kernels = getattr(model.covar_module, "kernels", [model.covar_module])
        self._categories = list(categories)
        self._ordered = [column for column in range(dimension) if column not in self._categories]
        self._lengths = kernels[0].lengthscale.detach().squeeze(0) if self._ordered else torch.empty(0)
        self._scales = kernels[-1].lengthscale.detach().squeeze(0) if self._categories else torch.empty(0)
        self.constant = model.mean_module.constant.detach()
        self.noise = model.likelihood.noise.detach()

    def covariance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """(n, m) between the (n, d) and (m, d) points."""
        result = torch.ones(len(a), len(b), dtype=torch.float64)
        if self._ordered:
            near, far = a[:, self._ordered] / self._lengths, b[:, self._ordered] / self._lengths
            # The faster mode takes differences of squares, which cancel between near points.
            r = 5**0.5 * torch.cdist(near, far, compute_mode="donot_use_mm_for_euclid_dist")
            result = (1 + r + r**2 / 3) * torch.exp(-r)
        if self._categories:
            differ = a[:, None, self._categories] != b[None, :, self._categories]
            result = result * torch.exp(-(differ / self._scales).mean(dim=-1))
        return result


class _Posterior:
    """What the prior becomes, given data."""

    def __init__(self, prior: _Prior, x: torch.Tensor, y: torch.Tensor) -> None:
        self._prior = prior
        self._x = x
        # The noise is at least 1e-4, so repeated points leave the matrix well-conditioned.
        self._root = torch.linalg.cholesky(
            prior.covariance(x, x) + prior.noise * torch.eye(len(x), dtype=torch.float64)
        )
        self._weights = torch.cholesky_solve((y - prior.constant)[:, None], self._root)[:, 0]

    def at(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(m,) means, and the (n, m) matrix H with which covariances become K - H' H."""
        across = self._prior.covariance(self._x, points)
        half = torch.linalg.solve_triangular(self._root, across, upper=False)
        return self._prior.constant + across.T @ self._weights, half


def _subset(y: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sorted indices of the best half and a random rest."""
    order = np.argsort(y, kind="stable")
    best, others = order[: size // 2], order[size // 2 :]
    return np.sort(np.concatenate([best, rng.choice(others, size - len(best), replace=False)]))


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """One thread and a random state of its own; both are put back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)

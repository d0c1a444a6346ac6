"""A Gaussian process with a Matérn-5/2 kernel, one length scale per parameter, on BoTorch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
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
# Points predicted at once: BoTorch builds their joint covariance, which grows with the square.
_CHUNK = 128


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
        if len(x) > self._max_points:
            kept = _subset(y, self._max_points, rng)
            x, y = x[kept], y[kept]
        self._mean = float(np.mean(y))
        self._deviation = float(np.std(y))
        if self._deviation <= 1e-12 * max(1.0, abs(self._mean)):
            self._deviation = 1.0
        with _repeatable(seed):
            inputs = torch.tensor(x, dtype=torch.float64)
            outcomes = torch.tensor((y - self._mean) / self._deviation, dtype=torch.float64).unsqueeze(-1)
            model = SingleTaskGP(inputs, outcomes, covar_module=self._kernel(x.shape[1]), outcome_transform=None)
            start = {name: value.clone() for name, value in model.state_dict().items()}
            try:
                fit_gpytorch_mll(
                    ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs={"options": {"ftol": 1e-6}}
                )
            except ModelFittingError:
                # The priors' modes are a sound model too, where the likelihood has no usable maximum.
                model.load_state_dict(start)
            self._model = model.eval()

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `Surrogate.predict`."""
        with _repeatable(0), torch.no_grad():
            chunks = torch.split(torch.tensor(x, dtype=torch.float64), _CHUNK)
            parts = [self._model.posterior(chunk) for chunk in chunks]
            mean = torch.cat([part.mean for part in parts]).squeeze(-1).numpy()
            variance = torch.cat([part.variance for part in parts]).squeeze(-1).numpy()
        return mean * self._deviation + self._mean, np.maximum(variance, 0.0) * self._deviation**2

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

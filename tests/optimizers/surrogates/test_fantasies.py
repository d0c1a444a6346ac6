from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from numpy.typing import NDArray

from optimizers.acquisition import log_expected_improvement
from optimizers.surrogates.fantasies import log_fantasy_improvement
from optimizers.surrogates.gp import GaussianProcess, GrowingProcess

RNG = np.random.default_rng(0)
X = np.column_stack([RNG.random(30), (RNG.integers(3, size=30) + 0.5) / 3, RNG.random(30)])
Y = 100 + 20 * np.sin(4 * X[:, 0]) + 30 * X[:, 1] + X[:, 2]
AT = np.column_stack([RNG.random(50), (RNG.integers(3, size=50) + 0.5) / 3, RNG.random(50)])


def fitted() -> GaussianProcess:
    model = GaussianProcess({1: 3})
    model.fit(X, Y, np.random.default_rng(1))
    return model


def chosen(x: NDArray[np.float64], categories: dict[int, int]) -> NDArray[np.float64]:
    """The same points with choices where categories stand."""
    x = x.copy()
    for column, size in categories.items():
        x[:, column] = (np.floor(x[:, column] * size) + 0.5) / size
    return x


def botorchs(x: NDArray[np.float64], categories: dict[int, int]) -> SingleTaskGP:
    """BoTorch's own model of the same data."""
    ordered = [column for column in range(x.shape[1]) if column not in categories]
    parts = []
    if ordered:
        parts.append(get_covar_module_with_dim_scaled_prior(len(ordered), active_dims=ordered, use_rbf_kernel=False))
    if categories:
        prior = LogNormalPrior(0.0, 1.0)
        parts.append(
            CategoricalKernel(ard_num_dims=len(categories), active_dims=list(categories), lengthscale_prior=prior)
        )
    kernel = parts[0] if len(parts) == 1 else parts[0] * parts[1]
    scaled = torch.tensor((Y - Y.mean()) / Y.std())[:, None]
    return SingleTaskGP(torch.tensor(x), scaled, covar_module=kernel, outcome_transform=None)


def log_posterior(model: SingleTaskGP) -> float:
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    model.train()
    return float(likelihood(model(*model.train_inputs), model.train_targets).detach())


@pytest.mark.parametrize("categories", [{1: 3}, {}, {0: 2, 1: 3, 2: 4}])
def test_predictions_are_botorchs_own_and_the_fit_is_as_probable(categories: dict[int, int]) -> None:
    ours = GaussianProcess(categories)
    x, at = chosen(X, categories), chosen(AT, categories)
    ours.fit(x, Y, np.random.default_rng(1))
    theirs, model = botorchs(x, categories), botorchs(x, categories)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(theirs.likelihood, theirs))
    kernels = list(getattr(model.covar_module, "kernels", [model.covar_module]))
    found = ours.hyperparameters
    with torch.no_grad():
        model.likelihood.noise = found["noise"]
        model.mean_module.constant.fill_(found["constant"])
        for kernel, name in zip(kernels, [name for name in ("lengths", "scales") if len(found[name])], strict=True):
            kernel.lengthscale = torch.tensor(found[name])

    assert log_posterior(model) > log_posterior(theirs) - 1e-3
    mean, variance = ours.predict(at)
    posterior = model.eval().posterior(torch.tensor(at))
    np.testing.assert_allclose(mean, posterior.mean.detach().numpy()[:, 0] * Y.std() + Y.mean(), rtol=1e-9)
    np.testing.assert_allclose(variance, posterior.variance.detach().numpy()[:, 0] * Y.var(), rtol=1e-5, atol=1e-6)


def test_process_that_keeps_up_follows_from_the_results_alone() -> None:
    often, once = GrowingProcess([7], {1: 3}), GrowingProcess([7], {1: 3})
    for count in range(2, 31):
        often.grown(count, lambda n: (X[:n], Y[:n]))
    answers = []
    for process in (often, once):
        model = process.grown(30, lambda n: (X[:n], Y[:n]))
        model.condition(X, Y, np.random.default_rng(1))
        answers.append(model.predict(AT)[0])

    np.testing.assert_array_equal(*answers)
    assert np.corrcoef(answers[0], 20 * np.sin(4 * AT[:, 0]) + 30 * AT[:, 1] + AT[:, 2])[0, 1] > 0.99


def test_conditioning_on_the_same_data_changes_nothing_and_on_more_data_narrows() -> None:
    model = fitted()
    before = model.predict(AT)

    model.condition(X, Y, np.random.default_rng(5))
    same = model.predict(AT)
    model.condition(np.concatenate([X, AT[:5]]), np.concatenate([Y, before[0][:5]]), np.random.default_rng(5))
    more = model.predict(AT)

    np.testing.assert_array_equal(same, before)
    assert (more[1][:5] < 0.5 * before[1][:5]).all()


def test_fantasies_average_to_the_prediction_and_their_values_to_the_variance() -> None:
    model = fitted()
    mean, variance = model.predict(AT)

    means, left, values = model.fantasies(AT, AT[:4], 20_000, np.random.default_rng(0))

    np.testing.assert_allclose(means.mean(axis=1), mean, atol=0.05 * np.sqrt(variance).max())
    np.testing.assert_allclose(values.var(axis=1), variance[:4], rtol=0.1)
    # The law of total variance; at the pending points nothing is left.
    np.testing.assert_allclose(means.var(axis=1) + left, variance, rtol=0.1, atol=1e-6)
    assert (left[:4] < 1e-3 * variance[:4]).all()


def test_pending_points_lose_their_appeal_and_far_ones_keep_it() -> None:
    model = fitted()
    mean, variance = model.predict(AT)
    # Nothing that is pending will reach this bar, so all that counts is what is known already.
    best = float(Y.min()) - 30
    plain = log_expected_improvement(mean, variance, best)

    given = log_fantasy_improvement(model, AT, AT[:2], best, 64, np.random.default_rng(0))

    assert (given[:2] < plain[:2] - 3).all()
    assert np.isfinite(given[2:]).all()

from __future__ import annotations

import numpy as np
import pytest
from botorch.models import SingleTaskGP

from optimizers.acquisition import log_expected_improvement
from optimizers.surrogates import gp
from optimizers.surrogates.fantasies import log_fantasy_improvement
from optimizers.surrogates.gp import GaussianProcess

RNG = np.random.default_rng(0)
X = np.column_stack([RNG.random(30), (RNG.integers(3, size=30) + 0.5) / 3, RNG.random(30)])
Y = 100 + 20 * np.sin(4 * X[:, 0]) + 30 * X[:, 1] + X[:, 2]
AT = np.column_stack([RNG.random(50), (RNG.integers(3, size=50) + 0.5) / 3, RNG.random(50)])


def fitted() -> GaussianProcess:
    model = GaussianProcess({1: 3})
    model.fit(X, Y, np.random.default_rng(1))
    return model


@pytest.mark.parametrize("categories", [{1: 3}, {}, {0: 2, 1: 3, 2: 4}])
def test_predictions_are_botorchs_own(categories: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    models = []

    def kept(*args: object, **options: object) -> SingleTaskGP:
        models.append(SingleTaskGP(*args, **options))
        return models[-1]

    monkeypatch.setattr(gp, "SingleTaskGP", kept)
    ours = GaussianProcess(categories)
    ours.fit(X, Y, np.random.default_rng(1))

    mean, variance = ours.predict(AT)

    posterior = models[0].posterior(gp.torch.tensor(AT))
    np.testing.assert_allclose(mean, posterior.mean.detach().numpy()[:, 0] * Y.std() + Y.mean(), rtol=1e-9)
    np.testing.assert_allclose(variance, posterior.variance.detach().numpy()[:, 0] * Y.var(), rtol=1e-5, atol=1e-6)


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

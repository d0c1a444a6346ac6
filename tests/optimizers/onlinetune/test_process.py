"""The process's arithmetic against plain dense formulas and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizers.onlinetune.process import Form, Knobs, Posterior, Prior, Rows, _LogPosterior, fit, matern

D, Q = 4, 2
# The third knob has three choices.
KNOBS = Knobs(np.array([0.2, 0.5, 1 / 6, 0.4]), {2: 3})
CONSTANT, AGE = 1.0, 100.0


def _rows(n: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    x = rng.random((n, D))
    x[:, 2] = (rng.integers(3, size=n) + 0.5) / 3
    x[:2] = KNOBS_REFERENCE
    x[4] = x[3]
    y = 0.3 * x[:, 0] - x[:, 1] ** 2 + 0.02 * rng.standard_normal(n)
    return Rows(x, rng.normal(size=(n, Q)), np.arange(n, dtype=float), y, rng.uniform(0.5, 3.0, n))


KNOBS_REFERENCE = np.array([0.2, 0.5, 1 / 6, 0.4])


def _prior(form: Form, seed: int = 1) -> Prior:
    middle = Prior.median(KNOBS, Q, form)
    return Prior(middle.logs + 0.3 * np.random.default_rng(seed).standard_normal(len(middle.logs)), KNOBS, form)


def _kernel(prior: Prior, a: Any, b: Any) -> float:
    """k between two (x, c, age), straight from the module's docstring."""

    def m(u: NDArray[np.float64], v: NDArray[np.float64], lengths: NDArray[np.float64]) -> float:
        return float(matern(np.array(np.linalg.norm((u - v) / lengths))))

    def knobs(u: NDArray[np.float64], v: NDArray[np.float64]) -> float:
        lengths = prior.knob_lengths[KNOBS.owner]
        return m(KNOBS.embed(u[None])[0], KNOBS.embed(v[None])[0], lengths)

    (x, c, s), (z, e, t) = a, b
    timed = np.append(prior.context_lengths, prior.age * AGE)
    reference = CONSTANT + float((c * prior.slopes) @ e) + prior.reference * m(np.append(c, s), np.append(e, t), timed)
    anchored = knobs(x, z) - knobs(x, KNOBS_REFERENCE) * knobs(KNOBS_REFERENCE, z)
    own = prior.own * (np.array_equal(x, z) and not np.array_equal(x, KNOBS_REFERENCE))
    return reference + anchored * (prior.shared + prior.product * m(c, e, prior.context_lengths)) + own


def _dense(
    prior: Prior, rows: Rows, x: NDArray[np.float64], c: NDArray[np.float64], age: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of log performance at [the reference, x...], by the textbook."""
    seen = [(rows.x[i], rows.c[i], rows.age[i]) for i in range(len(rows))]
    asked = [(point, c, age) for point in [KNOBS_REFERENCE, *x]]
    k = np.array([[_kernel(prior, a, b) for b in seen] for a in seen]) + np.diag(prior.noise * rows.scale)
    across = np.array([[_kernel(prior, a, b) for b in asked] for a in seen])
    within = np.array([[_kernel(prior, a, b) for b in asked] for a in asked])
    # What a setting has for itself is not counted before it was measured.
    new = [not any(np.array_equal(point, row) for row in [*rows.x, KNOBS_REFERENCE]) for point, _, _ in asked]
    within -= prior.own * np.diag(new)
    mean = across.T @ np.linalg.solve(k, rows.y - rows.y.mean()) + rows.y.mean()
    return mean, within - across.T @ np.linalg.solve(k, across)


@pytest.mark.parametrize("form", ["product", "additive"])
def test_posterior_is_the_dense_one(form: Form) -> None:
    rows, prior = _rows(15), _prior(form)
    x, c = np.concatenate([_rows(6, seed=5).x[2:4], rows.x[3:8]]), np.array([0.4, -0.3])

    posterior = Posterior(prior, rows, c, 20.0)
    mean, deviation = posterior.improvement(x)

    expected, covariance = _dense(prior, rows, x, c, 20.0)
    assert posterior.reference == pytest.approx(expected[0], abs=1e-8)
    assert posterior.reference_variance == pytest.approx(covariance[0, 0], abs=1e-8)
    np.testing.assert_allclose(mean, expected[1:] - expected[0], atol=1e-8)
    variance = np.diag(covariance)[1:] + covariance[0, 0] - 2 * covariance[0, 1:]
    np.testing.assert_allclose(deviation, np.sqrt(variance), atol=1e-7)
    # Of those that were measured, against the last of them and against the reference.
    for other, column in ((x[-1], -1), (KNOBS_REFERENCE, 0)):
        variance = np.diag(covariance)[3:] + covariance[column, column] - 2 * covariance[column, 3:]
        np.testing.assert_allclose(posterior.doubt_against(x[2:], other) ** 2, variance, atol=1e-8)


def test_a_setting_that_was_measured_high_again_and_again_is_high_and_its_neighbours_are_not() -> None:
    high, low = np.array([0.5, 0.5, 1 / 6, 0.4]), np.array([0.52, 0.5, 1 / 6, 0.4])
    x = np.array([KNOBS_REFERENCE, high, low] * 5)
    y = np.array([0.0, 0.7, 0.0] * 5) + 0.01 * np.random.default_rng(0).standard_normal(15)
    rows = Rows(x, np.zeros((15, Q)), np.arange(15.0), y, np.ones(15))

    posterior = Posterior(fit(rows, KNOBS, "product"), rows, np.zeros(Q), 15.0)
    mean, _ = posterior.improvement(np.array([high, low]))

    assert mean == pytest.approx([0.7, 0.0], abs=0.05)


def test_the_reference_is_never_in_doubt() -> None:
    posterior = Posterior(_prior("product"), _rows(12), np.zeros(Q), 12.0)

    mean, deviation = posterior.improvement(KNOBS_REFERENCE[None])

    np.testing.assert_allclose([mean[0], deviation[0]], 0.0, atol=1e-9)


def test_shared_variance_is_what_one_more_interval_on_the_reference_takes_away() -> None:
    rows, prior, c = _rows(12), _prior("product"), np.array([0.1, 0.2])
    point = np.array([0.7, 0.3, 0.5, 0.4])
    more = Rows(
        np.vstack([rows.x, KNOBS_REFERENCE]),
        np.vstack([rows.c, c]),
        np.append(rows.age, 12.0),
        np.append(rows.y, 0.0),
        np.append(rows.scale, 1.0),
    )

    before, after = (Posterior(prior, each, c, 12.0) for each in (rows, more))

    gone = before.improvement(point[None])[1] ** 2 - after.improvement(point[None])[1] ** 2
    assert before.shared_variance(point) == pytest.approx(float(gone[0]), abs=1e-9)


def test_information_and_norm_are_their_closed_forms() -> None:
    rows, prior = _rows(10), _prior("product")
    seen = [(rows.x[i], rows.c[i], rows.age[i]) for i in range(len(rows))]
    k = np.array([[_kernel(prior, a, b) for b in seen] for a in seen])
    noise = np.diag(prior.noise * rows.scale)
    weights = np.linalg.solve(k + noise, rows.y - rows.y.mean())

    posterior = Posterior(prior, rows, np.zeros(Q), 10.0)

    information = np.linalg.slogdet(k + noise)[1] - np.linalg.slogdet(noise)[1]
    assert posterior.information == pytest.approx(information, rel=1e-9)
    assert posterior.norm == pytest.approx(np.sqrt(weights @ k @ weights), rel=1e-6)


def test_the_additive_form_improves_alike_in_every_context() -> None:
    x = _rows(8, seed=3).x
    prior, rows = _prior("additive"), _rows(12)

    here, there = (Posterior(prior, rows, np.full(Q, value), 12.0) for value in (-1.0, 2.0))

    np.testing.assert_allclose(here.improvement(x)[0], there.improvement(x)[0], atol=1e-10)


@pytest.mark.parametrize("form", ["product", "additive"])
def test_gradients_are_those_of_finite_differences(form: Form) -> None:
    posterior = _LogPosterior(_rows(14), KNOBS, form)
    logs = _prior(form).logs

    _, gradient = posterior.negative(logs)

    step = 1e-5
    for j in range(len(logs)):
        ahead, behind = (posterior.negative(logs + side * step * np.eye(len(logs))[j])[0] for side in (1, -1))
        assert gradient[j] == pytest.approx((ahead - behind) / (2 * step), abs=1e-6), j


def test_a_fit_is_more_probable_than_the_medians_and_repeats_itself() -> None:
    rows = _rows(40)
    posterior = _LogPosterior(rows, KNOBS, "product")

    found, again = fit(rows, KNOBS, "product"), fit(rows, KNOBS, "product")

    assert posterior.negative(found.logs)[0] < posterior.negative(posterior.center)[0]
    np.testing.assert_array_equal(found.logs, again.logs)


def test_a_fit_finds_the_noise() -> None:
    rng = np.random.default_rng(2)
    rows = _rows(120)
    still = Rows(np.tile(KNOBS_REFERENCE, (120, 1)), rows.c * 0, rows.age, 0.05 * rng.standard_normal(120), rows.age**0)

    assert fit(still, KNOBS, "product").noise ** 0.5 == pytest.approx(0.05, rel=0.2)


def test_different_choices_are_as_far_apart_as_the_ends_of_an_ordered_knob() -> None:
    a, b = np.array([[0.0, 0.5, 1 / 6, 0.5]]), np.array([[0.0, 0.5, 5 / 6, 0.5]])

    assert np.linalg.norm(KNOBS.embed(a) - KNOBS.embed(b)) == pytest.approx(1.0)
    assert KNOBS.embed(a).shape == (1, 6)

"""Hyper-Tune's bracket allocation: how much each rung tells about the full resource, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import OptimizerError

# Full-resource results until its own ranking may count (five folds of two, as the authors have it).
FULL_FROM = 10
# What the prior of tau counts for, in results at the full resource.
_PRIOR_RESULTS = 10


def ordered_share(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of pairs that predictions put in the measured order; pairs that are equal in the measurements are left out.

    Args:
        predicted: (..., n).
        measured: (n,).
    Returns:
        (...,) in [0, 1]; 0.5 where no pair differs. A pair that is equal in the predictions counts half.
    """
    upper = np.triu_indices(len(measured), 1)
    truth = np.sign(measured[upper[0]] - measured[upper[1]])
    differ = truth != 0
    if not differ.any():
        return np.full(predicted.shape[:-1], 0.5)
    left, right = upper[0][differ], upper[1][differ]
    agreement = np.sign(predicted[..., left] - predicted[..., right]) * truth[differ]
    return np.asarray(0.5 + 0.5 * agreement.mean(axis=-1))


def theta_p_norm(shares: NDArray[np.float64], power: float = 3.0) -> NDArray[np.float64]:
    """Precision of each rung from its share of ordered pairs: theta_k = p_k^3 / sum_j p_j^3.

    Args:
        shares: (K,) in [0, 1].
    Returns:
        (K,) with sum 1.
    """
    powers = shares**power
    total = powers.sum()
    return np.asarray(powers / total if total > 0 else np.full(len(shares), 1.0 / len(shares)))


def theta_probability(
    means: NDArray[np.float64],
    variances: NDArray[np.float64],
    measured: NDArray[np.float64],
    rng: np.random.Generator,
    draws: int = 100,
) -> NDArray[np.float64]:
    """Precision of each rung as the probability that it has the most ordered pairs (Hyper-Tune, section 4.1).

    Outcomes are drawn from each surrogate's predictive distribution; surrogates that tie in a draw share it.

    Args:
        means, variances: (K, n) of each rung's surrogate at the points measured at the highest one.
        measured: (n,) there.
    Returns:
        (K,) with sum 1.
    """
    sampled = means + np.sqrt(np.maximum(variances, 0.0)) * rng.standard_normal((draws, *means.shape))
    shares = ordered_share(sampled, measured)
    winners = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    return np.asarray((winners / winners.sum(axis=1, keepdims=True)).mean(axis=0))


def growing_share(results: int) -> float:
    """The least weight of the full resource's own surrogate after so many results: a / (a + e^(-(n - 10) / 40)).

    In the long run the measurements that count must win over those that are only like them. a = 1/2: a third at 10
    results, four fifths at 100.
    """
    return 0.5 / (0.5 + math.exp(-(results - FULL_FROM) * 0.025))


def with_full_share(theta: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The last rung has this share, the others keep their proportions.

    Args:
        theta: (K,) with sum 1.
    Returns:
        (K,) with sum 1.
    """
    rest = theta[:-1].sum()
    if rest <= 0:
        return np.append(np.zeros(len(theta) - 1), 1.0)
    return np.append(theta[:-1] / rest * (1.0 - share), share)


def bracket_weights(theta: NDArray[np.float64], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Probability of entering each bracket (Hyper-Tune, section 4.1).

    A bracket is worth as much as its lowest rung tells about the full resource, and as many configurations as
    Hyperband would start there.

    Args:
        theta: (K,) precision of each rung's ranking against the highest rung; sums to 1.
        sizes: (K,) configurations that Hyperband starts at each rung.
    Returns:
        (K,) probabilities.
    Raises:
        OptimizerError: the two differ in length, or no weight is positive.
    """
    if len(theta) != len(sizes):
        raise OptimizerError(f"bracket weights: {len(theta)} precisions for {len(sizes)} brackets")
    weights = theta * np.array(sizes, dtype=np.float64)
    total = weights.sum()
    if not total > 0:
        raise OptimizerError("bracket weights: no rung has a positive precision")
    return np.asarray(weights / total)


def affordable_sizes(sizes: Sequence[int], levels: Sequence[float], eta: float, overhead: float) -> NDArray[np.float64]:
    """Configurations that brackets of equal cost start where every leg costs something beside what it trains.

    Hyperband counts what is trained alone. A configuration that enters at rung b costs a leg to there and, for one in
    eta at each rung, another leg to the next; the lower the bracket, the more of its cost are starts.

    Args:
        sizes: (K,) Hyperband's.
        levels: (K,) resources of the rungs.
        overhead: of a leg, in whole trainings.
    Returns:
        (K,), `sizes` where the overhead is 0; the highest bracket keeps its own.
    """
    whole = levels[-1]

    def cost(bracket: int, start: float) -> float:
        reached = [0.0, *levels[bracket:]]
        return sum((start + (reached[k + 1] - reached[k]) / whole) * eta**-k for k in range(len(reached) - 1))

    dearer = np.array([cost(b, overhead) / cost(b, 0.0) for b in range(len(sizes))])
    return np.asarray(np.array(sizes, dtype=np.float64) * dearer[-1] / dearer)


def bracket_payoffs(
    shares: NDArray[np.float64], results: int, sizes: Sequence[float] | NDArray[np.float64], power: float = 8.0
) -> NDArray[np.float64]:
    """Probability of entering each bracket by what Hyperband's turn there would find: not the paper's rule, but ours.

    All brackets cost the same. One compares n_b configurations through its lowest rung, whose correlation with the
    full resource is rho_b, so the best looking of them is expected to lie rho_b * E[max of n_b normals] deviations
    above the mean. rho = sin(pi tau / 2) follows from the ordered pairs' tau = 2 p - 1. While there are few results,
    tau is mixed with a prior that rises evenly from a half to 1 at the full resource.

    Args:
        shares: (K,) ordered pairs of each rung against the full resource, nan where it was not compared: nothing is
            known of such a rung but the prior. The last one is not asked.
        results: at the full resource, on which the shares rest.
        sizes: (K,) configurations that brackets of equal cost start at each rung, see `affordable_sizes`.
        power: how far the brackets that pay are preferred.
    Returns:
        (K,) probabilities.
    """
    from scipy.special import ndtri

    prior = np.linspace(0.5, 1.0, len(sizes)) if len(sizes) > 1 else np.ones(1)
    mixed = (results * (2.0 * shares - 1.0) + _PRIOR_RESULTS * prior) / (results + _PRIOR_RESULTS)
    tau = np.where(np.isnan(mixed), prior, mixed)
    tau[-1] = 1.0
    counts = np.maximum(np.array(sizes, dtype=np.float64), 1.0)
    payoff = np.sin(0.5 * np.pi * np.clip(tau, 0.0, 1.0)) * ndtri((counts - 0.375) / (counts + 0.25))
    if not payoff.max() > 0:
        return np.full(len(sizes), 1.0 / len(sizes))
    weights = (payoff / payoff.max()) ** power * counts
    return np.asarray(weights / weights.sum())

"""Running trials by samples of what they may turn out to be (Snoek et al., NeurIPS 2012, section 3.2)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from optimizers.acquisition import log_expected_improvement


@runtime_checkable
class Fantasist(Protocol):
    """A model that knows how losses at different points hang together; see `GaussianProcess.fantasies`."""

    def fantasies(
        self, x: NDArray[np.float64], pending: NDArray[np.float64], samples: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...


def log_fantasy_improvement(
    model: Fantasist,
    x: NDArray[np.float64],
    pending: NDArray[np.float64],
    best: float,
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Logarithm of the expected improvement, averaged over samples of the pending results.

    A sample that is good raises the bar for the candidates beside it.

    Args:
        x: (n, d) candidates.
        pending: (p, d) points of running trials, p >= 1.
        best: loss to improve on.
    Returns:
        (n,) numbers; -inf where no sample leaves an improvement.
    """
    means, variance, values = model.fantasies(x, pending, samples, rng)
    bars = np.minimum(best, values.min(axis=0))
    gains = [log_expected_improvement(means[:, s], variance, float(bars[s])) for s in range(samples)]
    return np.asarray(np.logaddexp.reduce(gains, axis=0) - np.log(samples))

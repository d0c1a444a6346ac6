"""One prediction from the surrogates of several rungs (MFES-HB, AAAI 2021; Hyper-Tune, section 4.3)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Fusion: TypeAlias = Literal["idp", "gpoe"]

# Trees may agree to the last bit; no surrogate of another fidelity is that sure.
_LEAST_VARIANCE = 1e-6


def fuse(
    fusion: Fusion, means: NDArray[np.float64], variances: NDArray[np.float64], theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the ensemble.

    `idp` takes the surrogates as independent parts of a weighted sum: mean = sum theta_k mean_k and
    variance = sum theta_k^2 variance_k. `gpoe`, the generalised product of experts, weighs precisions instead, so
    that a surrogate counts most where it is sure.

    Args:
        means, variances: (K, n) on one scale.
        theta: (K,) at least 0, with sum 1.
    Returns:
        (n,) and (n,).
    """
    variances = np.maximum(variances, _LEAST_VARIANCE)
    if fusion == "idp":
        return theta @ means, np.square(theta) @ variances
    precision = theta @ (1.0 / variances)
    return theta @ (means / variances) / precision, 1.0 / precision

"""Which parameters matter: functional analysis of variance on a forest (Hutter et al., ICML 2014)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.space import SearchSpace, Value

# Of the shares over trees, which are bootstrap replicates.
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Importance:
    """Main effect of one parameter: the part of the variance over the whole space that it explains by itself.

    Attributes:
        share: mean over trees, in [0, 1].
        low, high: ends of the 95% interval over trees.
    """

    parameter: str
    share: float
    low: float
    high: float


def importances(
    space: SearchSpace,
    configs: Sequence[Mapping[str, Value]],
    losses: Sequence[float],
    rng: np.random.Generator,
    trees: int = 64,
) -> list[Importance]:
    """Main effects of all parameters on a loss, the largest first; what they leave to 1 is due to interactions.

    Every value of a parameter counts alike, on its own scale, wherever the trials lie. An inactive parameter stands
    at its default, so that effects of conditional parameters are those in the part of the space where they exist.

    Args:
        configs, losses: of at least two trials, at one resource; losses are finite.
        trees: of the forest; more of them smooth shares and interval.
    Returns:
        One entry per parameter; all shares are 0 where all losses are equal.
    """
    from sklearn.ensemble import RandomForestRegressor

    x, y = np.array([space.encode(config) for config in configs]), np.array(losses, dtype=np.float64)
    forest = RandomForestRegressor(trees, max_features=0.8, n_jobs=1, random_state=int(rng.integers(2**31))).fit(x, y)
    shares = np.array([main_effects(*_boxes(tree.tree_, space.dimension)) for tree in forest.estimators_])
    low, high = np.percentile(shares, _INTERVAL, axis=0)
    found = [
        Importance(name, float(shares[:, j].mean()), float(low[j]), float(high[j]))
        for j, name in enumerate(space.names)
    ]
    return sorted(found, key=lambda each: -each.share)


def main_effects(
    low: NDArray[np.float64], high: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of each coordinate alone in the variance of a function that is constant on boxes (section 3.2).

    The function averaged over all other coordinates is constant between the boxes' ends, so its variance is a sum.

    Args:
        low, high: (b, d) ends of boxes that tile the unit cube.
        values: (b,) of the function.
    Returns:
        (d,) shares in [0, 1]; 0 where the function is constant.
    """
    volume = np.prod(high - low, axis=1)
    mean = float(volume @ values)
    total = float(volume @ (values - mean) ** 2)
    shares = np.zeros(low.shape[1])
    # What rounding leaves of a constant, whatever the unit of the values.
    if total <= 1e-18 * float(np.max(np.square(values))):
        return shares
    for j in range(low.shape[1]):
        weight = (values - mean) * volume / (high[:, j] - low[:, j])
        ends, place = np.unique(np.concatenate([low[:, j], high[:, j]]), return_inverse=True)
        steps = np.bincount(place, np.concatenate([weight, -weight]))
        marginal = np.cumsum(steps)[:-1]
        shares[j] = float(np.diff(ends) @ marginal**2) / total
    return np.clip(shares, 0.0, 1.0)


def _boxes(tree: Any, dimension: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(leaves, d) lower and upper ends of a tree's leaves in the unit cube, and their (leaves,) values."""
    low = np.zeros((tree.node_count, dimension))
    high = np.ones((tree.node_count, dimension))
    # Children stand behind their parents.
    for node in range(tree.node_count):
        left, right = tree.children_left[node], tree.children_right[node]
        if left < 0:
            continue
        low[[left, right]], high[[left, right]] = low[node], high[node]
        column = tree.feature[node]
        high[left, column] = low[right, column] = tree.threshold[node]
    leaves = tree.children_left < 0
    return low[leaves], high[leaves], tree.value[leaves, 0, 0]

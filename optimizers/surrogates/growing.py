"""A forest over a growing sequence of measurements, that never has to be fitted whole."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

# By how much the measurements grow until each tree has been fitted anew, and how many a tree is fitted on.
_GROWTH = 0.2
MAX_POINTS = 1000
NO_BOUNDS: Mapping[int, float] = MappingProxyType({})


@dataclass(frozen=True)
class _Tree:
    """A fitted tree.

    Attributes:
        apply: (n, d) float32 points -> (n,) leaves.
        sums, counts: (nodes, outputs) and (nodes,) of the outcomes in each leaf.
        ceiling: (outputs,) above which an outcome tells no more than that it is bad; failures lie there.
        outside: (n,) bool, of the measurements that it was given: those it was not fitted on.
    """

    apply: Any
    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    ceiling: NDArray[np.float64]
    outside: NDArray[np.bool_]

    def values(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, outputs) means of the leaves."""
        leaves = self.apply(x)
        return np.asarray(self.sums[leaves] / self.counts[leaves, None])


@dataclass
class _Leaves:
    """A tree's leaves with what was measured since it was fitted; `seen` measurements stand in them."""

    tree: _Tree
    seen: int
    sums: NDArray[np.float64]
    counts: NDArray[np.float64]


class GrowingForest:
    """Bagged regression trees with several outputs, over measurements that only ever become more.

    What may be relied on: predictions follow from the seed and the measurements alone, in their order, bit for bit,
    whatever was asked before; one more measurement costs a small part of a fit. Trees are fitted anew by turns, each
    on a prefix whose length follows from the number of measurements. What came later is sorted into their leaves, and
    so are guesses of what still runs.

    Args:
        seed: of the forest; a tree's own adds its number and the length of its prefix.
        trees: more of them smooth mean and variance, at proportional cost.
        bounds: column -> largest allowed outcome, of constraints.
    """

    def __init__(self, seed: Sequence[int], trees: int, bounds: Mapping[int, float] = NO_BOUNDS) -> None:
        self._seed = list(seed)
        self._bounds = bounds
        self._trees = trees
        self._fitted: OrderedDict[tuple[int, int], _Tree] = OrderedDict()
        self._leaves: dict[int, _Leaves] = {}

    def grown(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float64],
        guessed: NDArray[np.float32],
        guesses: NDArray[np.float64],
    ) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        """The forest of n measurements and some guesses.

        Args:
            x: (n, d) measured points, in order; n >= 1.
            y: (n, outputs) outcomes, smaller is better; nan where a trial failed.
            guessed, guesses: (p, d) points that still run and (p, outputs) finite, what stands in for their outcomes.
        Returns:
            (m, d) points -> (trees, m, outputs) means of the leaves.
        """
        applies, values = [], []
        for number in range(self._trees):
            leaves = self._sorted_in(number, x, y)
            sums, counts = leaves.sums, leaves.counts
            if len(guessed):
                sums, counts = sums.copy(), counts.copy()
                _sort_into(leaves.tree.apply(guessed), guesses, sums, counts)
            applies.append(leaves.tree.apply)
            values.append(sums / np.maximum(counts, 1e-300)[:, None])
        return lambda at: np.array(
            [value.take(apply(at), axis=0) for apply, value in zip(applies, values, strict=True)]
        )

    def each(self, x: NDArray[np.float32], y: NDArray[np.float64], at: NDArray[np.float32]) -> NDArray[np.float64]:
        """(trees, m, outputs) what the trees of the first n measurements say, as they were fitted."""
        return np.array([tree.values(at) for tree in self._fits(x, y)])

    def out_of_bag(self, x: NDArray[np.float32], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """(trees, n, outputs) predictions of measurements by the trees that were not fitted on them; else nan."""
        found = np.full((self._trees, len(x), y.shape[1]), np.nan)
        for number, tree in enumerate(self._fits(x, y)):
            outside = np.ones(len(x), dtype=bool)
            outside[: len(tree.outside)] = tree.outside
            if outside.any():
                found[number, outside] = tree.values(x[outside])
        return found

    def _fits(self, x: NDArray[np.float32], y: NDArray[np.float64]) -> list[_Tree]:
        return [self._tree(number, x, y) for number in range(self._trees)]

    def _sorted_in(self, number: int, x: NDArray[np.float32], y: NDArray[np.float64]) -> _Leaves:
        tree = self._tree(number, x, y)
        leaves = self._leaves.get(number)
        if leaves is None or leaves.tree is not tree or leaves.seen > len(x):
            leaves = _Leaves(tree, len(tree.outside), tree.sums.copy(), tree.counts.copy())
            self._leaves[number] = leaves
        if leaves.seen < len(x):
            # One at a time or all at once, the sums come out the same.
            later = below(y[leaves.seen :], tree.ceiling)
            _sort_into(tree.apply(x[leaves.seen :]), later, leaves.sums, leaves.counts)
            leaves.seen = len(x)
        return leaves

    def _tree(self, number: int, x: NDArray[np.float32], y: NDArray[np.float64]) -> _Tree:
        prefix = fitted_on(len(x), number, self._trees)
        key = (number, prefix)
        if key in self._fitted:
            self._fitted.move_to_end(key)
            return self._fitted[key]
        tree = self._fitted[key] = _fit(x[:prefix], y[:prefix], self._bounds, [*self._seed, number, prefix])
        if len(self._fitted) > 3 * self._trees:
            self._fitted.popitem(last=False)
        return tree


def single(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """As scikit-learn's trees take them."""
    return np.ascontiguousarray(points, dtype=np.float32)


def fitted_on(measured: int, tree: int, trees: int) -> int:
    """On how many of the measurements a tree is fitted: by turns, so that few are fitted at once.

    Prefixes grow by a factor of 1 + growth from fit to fit of one tree; trees follow one another by equal factors.

    Returns:
        Between measured / (1 + growth), rounded down, and `measured`; at least 1.
    """
    step = math.log1p(_GROWTH) / trees
    turn = math.floor(math.log(measured) / step + 1e-9)
    own = turn - (turn - tree) % trees
    return max(1, min(measured, math.ceil(math.exp(own * step) - 1e-9)))


def ceiling(y: NDArray[np.float64], bounds: Mapping[int, float] = NO_BOUNDS) -> NDArray[np.float64]:
    """(outputs,) the outer fence of each column (Tukey): three times the middle half's width above it, if it has one.

    Beyond it an outcome would only stretch the scale: a diverged training is bad, and that is all. Where few outcomes
    miss a bound, or none does yet, the fence may lie below the bound; then it stands at the median of the misses, or
    the middle half's width above the bound, for a miss must not be cut down to a hit.

    Args:
        y: (n, outputs); rows of nan are failures.
        bounds: column -> largest allowed outcome, of constraints.
    """
    finite = y[~np.isnan(y[:, 0])]
    if not len(finite):
        return np.zeros(y.shape[1])
    low, high = np.quantile(finite, [0.25, 0.75], axis=0)
    worst = finite.max(axis=0)
    top = np.asarray(np.where(high > low, np.minimum(worst, high + 3.0 * (high - low)), worst))
    for column, bound in bounds.items():
        missed = finite[finite[:, column] > bound, column]
        width = (high - low)[column] or abs(bound) or 1.0
        top[column] = max(top[column], np.median(missed) if len(missed) else bound + width)
    return top


def deviation(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation along the first axis, in any unit; 1 where all are equal, to rounding."""
    found = y.std(axis=0)
    return np.asarray(np.where(found > 1e-12 * np.abs(y).max(axis=0), found, 1.0))


def below(y: NDArray[np.float64], top: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outcomes cut off at the ceiling; failures become the ceiling."""
    return np.asarray(np.where(np.isnan(y), top, np.minimum(y, top)))


def _fit(x: NDArray[np.float32], y: NDArray[np.float64], bounds: Mapping[int, float], seed: Sequence[int]) -> _Tree:
    # scikit-learn takes over a second to import.
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    top = ceiling(y, bounds)
    y = below(y, top)
    kept = np.arange(len(x))
    if len(x) > MAX_POINTS:
        # The best half decides where the optimum lies; a random rest keeps the model honest elsewhere.
        order = np.argsort(y[:, 0], kind="stable")
        best, others = order[: MAX_POINTS // 2], order[MAX_POINTS // 2 :]
        kept = np.sort(np.concatenate([best, rng.choice(others, MAX_POINTS - len(best), replace=False)]))
    weights = np.bincount(rng.integers(len(kept), size=len(kept)), minlength=len(kept)).astype(np.float64)
    inside = kept[weights > 0]
    weights = weights[weights > 0]
    deviation = y[inside].std(axis=0)
    scaled = (y[inside] - y[inside].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    model = DecisionTreeRegressor(max_features=0.8, random_state=int(rng.integers(2**31)))
    tree = model.fit(x[inside], scaled, sample_weight=weights, check_input=False).tree_
    sums, counts = np.zeros((tree.node_count, y.shape[1])), np.zeros(tree.node_count)
    _sort_into(tree.apply(x[inside]), y[inside], sums, counts, weights)
    outside = np.ones(len(x), dtype=bool)
    outside[inside] = False
    return _Tree(tree.apply, sums, counts, top, outside)


def _sort_into(
    leaves: NDArray[np.int64],
    y: NDArray[np.float64],
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Add outcomes to their leaves, one after the other."""
    np.add.at(sums, leaves, y if weights is None else y * weights[:, None])
    np.add.at(counts, leaves, 1.0 if weights is None else weights)

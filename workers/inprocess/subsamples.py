"""Cross-validation on a part of the samples: the resource `n_samples` of a search."""

# Names are those of scikit-learn.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


class Subsamples:
    """A splitter whose training sets are cut to a share of their samples.

    What may be relied on:
        - its splits are made once, so that all candidates see the same folds, also of a splitter that shuffles;
        - a smaller training set is part of every larger one, so that more samples never mean other samples;
        - of a classification problem, every training set has the classes in their proportions, to one sample each;
        - test sets stay whole: scores of different resources compare.
    """

    def __init__(self, splitter: Any, stratified: bool, seed: int) -> None:
        self._splitter = splitter
        self._stratified = stratified
        self._seed = seed
        self._splits: list[Split] | None = None
        self._share = 1.0

    def cut_to(self, share: float) -> Subsamples:
        """This splitter, with training sets of a share of their samples (0 to 1) from now on."""
        self._share = share
        return self

    def get_n_splits(self, X: Any = None, y: Any = None, **params: Any) -> int:
        return int(self._splitter.get_n_splits(X, y, **params))

    def split(self, X: Any, y: Any = None, **params: Any) -> Iterator[Split]:
        if self._splits is None:
            classes = np.asarray(y).reshape(-1) if self._stratified else None
            rng = np.random.default_rng(self._seed)
            self._splits = [
                (_ordered(np.asarray(train), classes, rng), np.asarray(test))
                for train, test in self._splitter.split(X, y, **params)
            ]
        for train, test in self._splits:
            if self._share >= 1:
                yield np.sort(train), test
            else:
                yield np.sort(train[: max(1, round(self._share * len(train)))]), test


def _ordered(train: NDArray[np.int64], classes: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) the samples shuffled; with classes so that every beginning has them in their proportions."""
    shuffled = rng.permutation(train)
    if classes is None:
        return shuffled
    _, member, counts = np.unique(classes[shuffled], return_inverse=True, return_counts=True)
    # The k-th of a class of n stands at (k + 1/2) / n of the way.
    place = np.empty(len(shuffled))
    for number, count in enumerate(counts):
        place[member == number] = (np.arange(count) + 0.5) / count
    return shuffled[np.argsort(place, kind="stable")]

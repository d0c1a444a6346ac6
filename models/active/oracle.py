"""Who answers: an oracle is asked about one node at a time, and may answer wrongly or not at all."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import WorkloadError


class Oracle(Protocol):
    """Answers questions about nodes; None is no answer."""

    def confirm(self, node: int, label: int) -> bool | None:
        """Whether the node is of this class."""

    def name(self, node: int) -> int | None:
        """The class of the node."""


class SimulatedOracle:
    """Answers from known labels.

    Each question has its own random numbers, drawn from the seed, the node and the class: who is asked the same twice
    answers the same, and two campaigns that put the same question are told the same, in whatever order they ask.

    Args:
        labels: (n,) classes.
        n_classes: number of classes.
        noise: share of answers that are wrong, each by itself: such an oracle comes to contradict itself.
        silence: share of nodes about which it never answers.
    Raises:
        WorkloadError: a share outside 0 to 1.
    """

    def __init__(
        self, labels: NDArray[np.int64], n_classes: int, *, noise: float = 0.0, silence: float = 0.0, seed: int = 0
    ) -> None:
        for name, share in (("noise", noise), ("silence", silence)):
            if not 0 <= share <= 1:
                raise WorkloadError(f"data.{name}: {share!r} must be from 0 to 1, a share of answers")
        self._labels, self._n_classes = labels, n_classes
        self._noise, self._silence, self._seed = noise, silence, seed

    def confirm(self, node: int, label: int) -> bool | None:
        """Whether the node is of this class."""
        if self._silent(node):
            return None
        truth = bool(self._labels[node] == label)
        return truth != self._errs(node, label)

    def name(self, node: int) -> int | None:
        """The class of the node; an error is any other class."""
        if self._silent(node):
            return None
        truth = int(self._labels[node])
        if not self._errs(node, self._n_classes):
            return truth
        return (truth + int(self._random(node, self._n_classes + 2).integers(1, self._n_classes))) % self._n_classes

    def _silent(self, node: int) -> bool:
        return self._silence > 0 and self._random(node, self._n_classes + 1).random() < self._silence

    def _errs(self, node: int, about: int) -> bool:
        return self._noise > 0 and self._random(node, about).random() < self._noise

    def _random(self, node: int, about: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, node, about])

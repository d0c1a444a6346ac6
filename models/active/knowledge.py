"""What is known of nodes' classes: exact labels, classes that are ruled out, and soft labels from both (IGP, 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1

Nodes = NDArray[np.int64]
Distributions = NDArray[np.float64]


class Knowledge:
    """Answers so far, about each of n nodes.

    A node is open (it may be asked about), known, or set aside: an oracle that contradicted itself about it, or
    did not answer, is not asked again, and nothing is learnt from that node.

    Attributes:
        label: (n,) int64, the known class or -1.
        excluded: (n, C) bool, classes that an answer has ruled out.
        aside: (n,) bool.
        contradictions: nodes set aside because answers about them cannot all be true.
    """

    def __init__(self, nodes: int, n_classes: int) -> None:
        self.n_classes = n_classes
        self.label = np.full(nodes, UNKNOWN, dtype=np.int64)
        self.excluded = np.zeros((nodes, n_classes), dtype=bool)
        self.aside = np.zeros(nodes, dtype=bool)
        self.contradictions = 0
        self._belief = np.zeros((nodes, n_classes))

    @property
    def open(self) -> NDArray[np.bool_]:
        """(n,) which nodes may be asked about."""
        return np.asarray((self.label == UNKNOWN) & ~self.aside)

    def tell(self, node: int, label: int, answer: bool, belief: Distributions) -> None:
        """Take the answer to "is this node of this class?".

        A no to all classes but one makes the last one known. Answers that cannot all be true set the node aside.

        Args:
            belief: (C,) the model's distribution when the question was put; soft labels are made of the latest.
        """
        if self.aside[node]:
            return
        self._belief[node] = belief
        known, ruled_out = int(self.label[node]), bool(self.excluded[node, label])
        if known != UNKNOWN:
            if answer != (known == label):
                self._contradicted(node)
        elif not answer:
            self.excluded[node, label] = True
            self._deduce(node)
        elif ruled_out:
            self._contradicted(node)
        else:
            self.label[node] = label

    def reveal(self, node: int, label: int) -> None:
        """Take the answer to "of which class is this node?"."""
        if self.aside[node]:
            return
        if self.excluded[node, label] or self.label[node] not in (UNKNOWN, label):
            self._contradicted(node)
        else:
            self.label[node] = label

    def set_aside(self, node: int) -> None:
        """Ask no more about a node."""
        self.aside[node] = True

    def narrowed(self, belief: Distributions) -> Distributions:
        """The model's distributions with what is known put in.

        Args:
            belief: (n, C), each row sums to 1.
        Returns:
            (n, C): certain where the class is known; else without the classes that are ruled out, renormalised.
        """
        narrow = without(belief, self.excluded)
        known = np.flatnonzero(self.label != UNKNOWN)
        narrow[known] = np.eye(self.n_classes)[self.label[known]]
        return narrow

    def targets(self) -> tuple[Nodes, Distributions]:
        """What to learn from: the nodes that an answer told something of, and their hard or soft labels.

        Returns:
            (m,) nodes, ascending, and (m, C) distributions.
        """
        told = np.flatnonzero(((self.label != UNKNOWN) | self.excluded.any(axis=1)) & ~self.aside)
        return told, self.narrowed(self._belief)[told]

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that is known, as arrays."""
        return {
            "label": self.label,
            "excluded": self.excluded,
            "aside": self.aside,
            "told": self._belief,
            "contradictions": np.array(self.contradictions),
        }

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` gave."""
        self.label, self.excluded, self.aside = state["label"], state["excluded"], state["aside"]
        self._belief, self.contradictions = state["told"], int(state["contradictions"])

    def _deduce(self, node: int) -> None:
        left = np.flatnonzero(~self.excluded[node])
        if len(left) == 1:
            self.label[node] = left[0]

    def _contradicted(self, node: int) -> None:
        self.contradictions += 1
        self.label[node] = UNKNOWN
        self.excluded[node] = False
        self.set_aside(node)


def without(belief: Distributions, excluded: NDArray[np.bool_]) -> Distributions:
    """Distributions without some classes, renormalised; where nothing is left of them, even over the others.

    Args:
        belief: (n, C); excluded: (n, C), in no row all.
    """
    left = np.where(excluded, 0.0, belief)
    total = left.sum(axis=1, keepdims=True)
    # Below this the quotient is rounding and no longer the model's opinion.
    faint = total[:, 0] < 1e-12
    left[faint] = ~excluded[faint]
    return np.asarray(left / left.sum(axis=1, keepdims=True))

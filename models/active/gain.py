"""What an answer is worth: entropy, information gain of a question, and its propagation (IGP, section 3)."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.active.knowledge import Distributions, Nodes

Values = NDArray[np.float64]


def entropy(p: Distributions) -> Values:
    """Entropy in nats of each row of p (..., C)."""
    return np.asarray(-np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0.0), axis=-1))


def certainty(p: Distributions) -> Values:
    """(m,) from 0 to 1, how much of what can be known of a class each row of p (m, C) knows: 1 - H(p) / log C."""
    return np.asarray(1.0 - entropy(p) / np.log(max(2, p.shape[1])))


def information_gain(p: Distributions) -> Values:
    """Expected entropy that the answer to "is it of the likeliest class?" removes (IGP, section 3.2).

    After a yes nothing is left; after a no, the entropy of the distribution without that class. What is removed equals
    the entropy of the answer itself, for the class decides the answer.

    Args:
        p: (m, C) distributions.
    Returns:
        (m,) nats.
    """
    yes = p.max(axis=1)
    return entropy(np.stack([yes, 1.0 - yes], axis=1))


def unexplained(reach: Any, nodes: Nodes, strength: Values) -> Values:
    """What nodes leave unexplained of each: the product over i in nodes of (1 - strength_i reach_ui).

    Args:
        reach: (n, n) sparse, best by columns: influence of each column's node on each row's, 0 to 1.
        nodes: (m,) those that explain.
        strength: (m,) how much of itself each of them explains, 0 to 1.
    Returns:
        (n,) shares.
    """
    columns = reach.tocsc()[:, nodes]
    explained = columns.data * np.repeat(strength, np.diff(columns.indptr))
    columns.data = np.log1p(-np.minimum(explained, 1.0 - 1e-12))
    return np.asarray(np.exp(np.asarray(columns.sum(axis=1)).ravel()))


def greedy_cover(
    reach: Any, weight: Values, strength: Values, candidates: Nodes, count: int, price: Values | None = None
) -> Nodes:
    """Choose nodes one by one, each the one that adds most, for its price, to what the ones before explain; lazily.

    The nodes B explain of node u the share 1 - prod over i in B of (1 - strength_i reach_ui), and are worth the sum of
    these shares by weight. That is monotone and submodular: a node's gain only shrinks as others are chosen, so a gain
    that was computed earlier bounds it; and where all cost the same the choice is within 1 - 1/e of the best.

    Args:
        reach: (n, n) sparse, best by columns: influence of each column's node on each row's, 0 to 1.
        weight: (n,) what it is worth to explain a node.
        strength: (n,) how much of itself a node would explain, 0 to 1.
        candidates: (m,) nodes to choose from.
        count: how many; fewer where there are fewer candidates.
        price: (n,) what a node costs; None: all the same.
    Returns:
        (count,) nodes, the most valuable first; ties go to the earlier candidate.
    """
    columns = reach.tocsc()
    left = weight.astype(np.float64).copy()
    price = np.ones(len(strength)) if price is None else price
    first = (columns.T @ left) * strength / price
    heap = [(-first[node], place, 0) for place, node in enumerate(candidates)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < count:
        _, place, known = heapq.heappop(heap)
        node = int(candidates[place])
        rows, shares = _column(columns, node)
        if known == len(chosen):
            chosen.append(node)
            left[rows] *= 1.0 - strength[node] * shares
        else:
            gain = strength[node] * float(shares @ left[rows]) / price[node]
            heapq.heappush(heap, (-gain, place, len(chosen)))
    return np.array(chosen, dtype=np.int64)


def _column(columns: Any, node: int) -> tuple[NDArray[np.int32], Values]:
    part = slice(columns.indptr[node], columns.indptr[node + 1])
    return columns.indices[part], columns.data[part]

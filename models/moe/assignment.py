"""Balanced linear assignment by auction: every expert the same number of tokens, the sum of scores near its maximum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

# What a token may lose against its best expert at final prices, as a share of the scores' range.
TOLERANCE = 1e-3


def balanced_assignment(scores: NDArray[np.float32], tolerance: float = TOLERANCE) -> NDArray[np.int64]:
    """Assign tokens to experts (BASE layers, section 3.1; Bertsekas' auction for similar objects).

    Loads differ by one at most: the first experts take one token more where tokens do not divide evenly. The sum of
    scores is within T * tolerance * (largest - smallest score) of the best possible.

    Args:
        scores: (T, E), finite.
    Returns:
        (T,) int64, each token's expert.
    """
    n_tokens, n_experts = scores.shape
    places = np.full(n_experts, n_tokens // n_experts, dtype=np.int64)
    places[: n_tokens % n_experts] += 1
    spread = float(scores.max()) - float(scores.min())
    if spread == 0 or n_experts == 1:
        return np.repeat(np.arange(n_experts, dtype=np.int64), places)
    found: NDArray[np.int64] = _auction(np.ascontiguousarray(scores, dtype=np.float64), places, tolerance * spread)
    return found


@kernel()
def _auction(scores: Any, places: Any, epsilon: float) -> Any:
    """Tokens bid in turn until all have a place; a full expert's price is the lowest bid it holds."""
    n_tokens, n_experts = scores.shape
    largest = places.max()
    # Each expert's accepted bids as a heap, lowest first, with their tokens.
    bids = np.zeros((n_experts, largest))
    holders = np.zeros((n_experts, largest), dtype=np.int64)
    held = np.zeros(n_experts, dtype=np.int64)
    prices = np.zeros(n_experts)
    prices[places == 0] = np.inf
    assigned = np.full(n_tokens, -1, dtype=np.int64)
    waiting = np.arange(n_tokens)[::-1].copy()
    n_waiting = n_tokens
    while n_waiting > 0:
        n_waiting -= 1
        token = waiting[n_waiting]
        best, best_value, next_value = -1, -np.inf, -np.inf
        for expert in range(n_experts):
            value = scores[token, expert] - prices[expert]
            if value > best_value:
                best, next_value, best_value = expert, best_value, value
            elif value > next_value:
                next_value = value
        margin = best_value - next_value if next_value > -np.inf else 0.0
        bid = prices[best] + margin + epsilon
        if held[best] < places[best]:
            _push(bids[best], holders[best], held[best], bid, token)
            held[best] += 1
        else:
            loser = holders[best, 0]
            _replace(bids[best], holders[best], held[best], bid, token)
            assigned[loser] = -1
            waiting[n_waiting] = loser
            n_waiting += 1
        assigned[token] = best
        if held[best] == places[best]:
            prices[best] = bids[best, 0]
    return assigned


@kernel()
def _push(bids: Any, holders: Any, size: int, bid: float, token: int) -> None:
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if bids[parent] <= bid:
            break
        bids[child], holders[child] = bids[parent], holders[parent]
        child = parent
    bids[child], holders[child] = bid, token


@kernel()
def _replace(bids: Any, holders: Any, size: int, bid: float, token: int) -> None:
    """Put a bid in the lowest one's place."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and bids[child + 1] < bids[child]:
            child += 1
        if bids[child] >= bid:
            break
        bids[parent], holders[parent] = bids[child], holders[child]
        parent = child
    bids[parent], holders[parent] = bid, token

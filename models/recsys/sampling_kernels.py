"""Kernels that pick neighbours. All take and give the same:

nodes (m,) int32 whose neighbours are wanted, -1 for none; request (m,) int64; hidden (b,) int32, the item node that a
request is not to see, however strong the edges to it, -1 for none; parted (b, 2) int32, two nodes that a request is not
to see as neighbours of each other, -1 for none; pointers (3, nodes + 1), neighbours, weights as in `Adjacency`; k, how
many of each type
-> picked (m, 3, k) int32 node numbers, -1 where there is no further neighbour; weights (m, 3, k) float32
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Picked: TypeAlias = tuple[NDArray[np.int32], NDArray[np.float32]]


@kernel(inline=True)
def _mixed(x: Any) -> Any:
    """SplitMix64's finaliser: a random-looking 64-bit number for every number."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel(inline=True)
def _uniform(seed: Any, a: Any, b: Any) -> Any:
    """A number in [0, 1) for a seed and two numbers."""
    mixed = _mixed(seed + np.uint64(a + 1) * np.uint64(0x9E3779B97F4A7C15))
    mixed = _mixed(mixed ^ (np.uint64(b + 1) * np.uint64(0xC2B2AE3D27D4EB4F)))
    return np.float64(mixed >> np.uint64(11)) / 9007199254740992.0


@kernel(inline=True)
def _unseen(node: Any, other: Any, hidden: Any, one: Any, two: Any) -> Any:
    """Whether a request is not to see one node among another's neighbours."""
    return other == hidden or (node == one and other == two) or (node == two and other == one)


@kernel()
def most_relevant(
    nodes: NDArray[np.int32],
    request: NDArray[np.int64],
    hidden: NDArray[np.int32],
    parted: NDArray[np.int32],
    pointers: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    focal: NDArray[np.float32],
    profiles: NDArray[np.float32],
    squares: NDArray[np.float32],
    noise: np.float32,
    look: int,
    k: int,
    seed: np.uint64,
) -> Picked:
    """The k neighbours x with the largest f.x / (|f|^2 + |x|^2 - f.x) (ZOOMER, focal-biased sampling), best first.

    Args:
        focal: (b, d) vector f of each request.
        profiles, squares: (nodes, d) vector of every node, and its squared length.
        noise: largest number that is added at random to a relevance; heavier edges get a little more, too.
        look: how many of a node's neighbours are compared, the strongest.
    """
    m, d = len(nodes), focal.shape[1]
    picked = np.full((m, 3, k), -1, np.int32)
    picked_weights = np.zeros((m, 3, k), np.float32)
    best = np.empty(k, np.float64)
    at = np.empty(k, np.int64)
    for row in range(m):
        node, asked = nodes[row], request[row]
        if node < 0:
            continue
        length = np.float32(1e-9)
        for j in range(d):
            length += focal[asked, j] * focal[asked, j]
        for kind in range(3):
            low = pointers[kind, node]
            high = min(pointers[kind, node + 1], low + look)
            held = 0
            for place in range(low, high):
                other = neighbours[place]
                if _unseen(node, other, hidden[asked], parted[asked, 0], parted[asked, 1]):
                    continue
                dot = np.float32(0)
                for j in range(d):
                    dot += focal[asked, j] * profiles[other, j]
                score = dot / (length + squares[other] - dot)
                score += noise * (_uniform(seed, node, other) + 0.1 * np.log(1.0 + weights[place]))
                if held == k and score <= best[k - 1]:
                    continue
                held = min(held + 1, k)
                slot = held - 1
                while slot > 0 and best[slot - 1] < score:
                    best[slot], at[slot] = best[slot - 1], at[slot - 1]
                    slot -= 1
                best[slot], at[slot] = score, place
            for slot in range(held):
                picked[row, kind, slot] = neighbours[at[slot]]
                picked_weights[row, kind, slot] = weights[at[slot]]
    return picked, picked_weights


@kernel()
def any_of(
    nodes: NDArray[np.int32],
    request: NDArray[np.int64],
    hidden: NDArray[np.int32],
    parted: NDArray[np.int32],
    pointers: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    k: int,
    seed: np.uint64,
) -> Picked:
    """k neighbours drawn without replacement, each as likely as any other; their weights are 1."""
    m = len(nodes)
    picked = np.full((m, 3, k), -1, np.int32)
    picked_weights = np.zeros((m, 3, k), np.float32)
    for row in range(m):
        node, asked = nodes[row], request[row]
        if node < 0:
            continue
        for kind in range(3):
            seen = 0
            for place in range(pointers[kind, node], pointers[kind, node + 1]):
                other = neighbours[place]
                if _unseen(node, other, hidden[asked], parted[asked, 0], parted[asked, 1]):
                    continue
                # Reservoir sampling: the n-th replaces one of the k with probability k / n.
                slot = seen
                if seen >= k:
                    slot = int(_uniform(seed, row, other) * (seen + 1))
                if slot < k:
                    picked[row, kind, slot] = other
                    picked_weights[row, kind, slot] = 1.0
                seen += 1
    return picked, picked_weights


@kernel()
def first_of(
    nodes: NDArray[np.int32],
    request: NDArray[np.int64],
    hidden: NDArray[np.int32],
    parted: NDArray[np.int32],
    pointers: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    k: int,
) -> Picked:
    """The first k neighbours, which are the strongest."""
    m = len(nodes)
    longest = 1
    for row in range(m):
        if nodes[row] >= 0:
            for kind in range(3):
                longest = max(longest, pointers[kind, nodes[row] + 1] - pointers[kind, nodes[row]])
    width = min(k, longest)
    picked = np.full((m, 3, width), -1, np.int32)
    picked_weights = np.zeros((m, 3, width), np.float32)
    for row in range(m):
        node, asked = nodes[row], request[row]
        if node < 0:
            continue
        for kind in range(3):
            slot = 0
            for place in range(pointers[kind, node], pointers[kind, node + 1]):
                if slot == width:
                    break
                other = neighbours[place]
                if _unseen(node, other, hidden[asked], parted[asked, 0], parted[asked, 1]):
                    continue
                picked[row, kind, slot] = other
                picked_weights[row, kind, slot] = weights[place]
                slot += 1
    return picked, picked_weights


@kernel()
def walk(
    pointers: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    kinds: NDArray[np.int8],
    walks: int,
    length: int,
    reach: int,
    seed: np.uint64,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Nodes that random walks from every node meet, by type and most visited first.

    Args:
        kinds: (nodes,) type of every node.
    Returns:
        counts (3, nodes) of different nodes met, at most `reach`; these nodes one row after the other; their visits.
    """
    nodes = pointers.shape[1] - 1
    met = np.full((3, nodes, reach), -1, np.int32)
    visits = np.zeros((3, nodes, reach), np.float32)
    counts = np.zeros((3, nodes), np.int64)
    for start in range(nodes):
        for turn in range(walks):
            node = start
            for step in range(length):
                total = 0
                for kind in range(3):
                    total += pointers[kind, node + 1] - pointers[kind, node]
                if total == 0:
                    break
                pick = int(_uniform(seed, start * walks + turn, step) * total)
                for kind in range(3):
                    size = pointers[kind, node + 1] - pointers[kind, node]
                    if pick < size:
                        node = neighbours[pointers[kind, node] + pick]
                        break
                    pick -= size
                if node == start:
                    continue
                kind = kinds[node]
                place = 0
                while place < counts[kind, start] and met[kind, start, place] != node:
                    place += 1
                if place == counts[kind, start]:
                    if place == reach:
                        continue
                    met[kind, start, place] = node
                    counts[kind, start] += 1
                visits[kind, start, place] += 1
                while place > 0 and visits[kind, start, place - 1] < visits[kind, start, place]:
                    other, many = met[kind, start, place - 1], visits[kind, start, place - 1]
                    met[kind, start, place - 1] = met[kind, start, place]
                    visits[kind, start, place - 1] = visits[kind, start, place]
                    met[kind, start, place], visits[kind, start, place] = other, many
                    place -= 1
    total = counts.sum()
    flat, weights = np.empty(total, np.int32), np.empty(total, np.float32)
    at = 0
    for kind in range(3):
        for node in range(nodes):
            for place in range(counts[kind, node]):
                flat[at], weights[at] = met[kind, node, place], visits[kind, node, place]
                at += 1
    return counts, flat, weights

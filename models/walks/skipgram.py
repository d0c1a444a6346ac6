"""Vertex vectors from walks: skip-gram with negative sampling (Mikolov et al. 2013), in the order of the walks.

One thread and counter-based randomness: the same walks and seed give the same vectors bit by bit, in one go or in
several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from models.walks import alias
from models.walks.errors import GraphError
from models.walks.format import NO_VERTEX
from models.walks.randomness import draw, mix, walk_key

# Vectors are a multiple of this wide, so that sums go eight at a time.
LANES = 8
# Frequencies to this power give the distribution of negatives.
POWER = 0.75
_END = np.int64(NO_VERTEX)
_LOW, _32, _ONE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(1)


@dataclass
class SkipGram:
    """Vectors in training.

    Attributes:
        inner, outer: (n, d) float32, of vertices as centres and as context; `inner` is the embedding.
    """

    inner: NDArray[np.float32]
    outer: NDArray[np.float32]
    negatives: NDArray[np.uint32]
    seed: int

    @classmethod
    def start(cls, frequencies: NDArray[np.integer], dimensions: int, seed: int) -> SkipGram:
        """Vectors as they are before the first walk.

        Args:
            frequencies: (n,) how often each vertex occurs, or its degree; decides how often it is a negative.
            dimensions: a multiple of 8.
        Raises:
            GraphError: dimensions are no such number.
        """
        if dimensions < LANES or dimensions % LANES:
            raise GraphError(f"dimensions: {dimensions} must be a multiple of {LANES}")
        n = len(frequencies)
        rng = np.random.default_rng(seed)
        inner = (rng.random((n, dimensions), np.float32) - np.float32(0.5)) / np.float32(dimensions)
        weights = np.maximum(frequencies, 1e-3).astype(np.float32) ** np.float32(POWER)
        table = alias.build(np.array([0, n]), weights)
        return cls(inner, np.zeros_like(inner), table, seed)

    def learn(
        self,
        walks: NDArray[np.uint32],
        first: int,
        *,
        window: int,
        negatives: int,
        rate: float,
        final: float | None = None,
    ) -> float:
        """Learn from walks once.

        Args:
            walks: (k, columns); first: the number of the first, which keys the randomness.
            window: contexts reach up to this far; each centre draws its own reach, 1 to `window`.
            rate, final: step size at the first walk, and to which it falls linearly; None: it stays.
        Returns:
            Mean loss over pairs in nats, before each was learnt; 0 without pairs.
        """
        final = rate if final is None else final
        total, pairs = _learn(
            *(walks, first, self.inner, self.outer, self.negatives, np.uint64(self.seed)),
            *(window, negatives, np.float32(rate), np.float32(final)),
        )
        return float(total / pairs) if pairs else 0.0


@kernel()
def _learn(
    walks: Any,
    first: Any,
    inner: Any,
    outer: Any,
    table: Any,
    seed: Any,
    window: Any,
    negatives: Any,
    rate: Any,
    final: Any,
) -> Any:
    vertices, width = inner.shape
    change = np.empty(width, np.float32)
    total, pairs = 0.0, 0
    for i in range(len(walks)):
        step = rate + (final - rate) * np.float32(i) / np.float32(len(walks))
        key, counter = mix(walk_key(seed, np.uint64(first + i))), np.uint64(0)
        length = 0
        while length < walks.shape[1] and np.int64(walks[i, length]) != _END:
            length += 1
        for at in range(length):
            random = draw(key, counter)
            counter += _ONE
            reach: Any = 1 + np.int64(((random & _LOW) * np.uint64(window)) >> _32)
            centre = np.int64(walks[i, at])
            for other in range(max(0, at - reach), min(length, at + reach + 1)):
                if other == at:
                    continue
                change[:] = 0
                for sample in range(negatives + 1):
                    target, label = np.int64(walks[i, other]), np.float32(1)
                    if sample > 0:
                        random = draw(key, counter)
                        counter += _ONE
                        target = np.int64(((random & _LOW) * np.uint64(vertices)) >> _32)
                        if (random >> _32) >= table[target, 0]:
                            target = np.int64(table[target, 1])
                        if target == np.int64(walks[i, other]):
                            continue
                        label = np.float32(0)
                    score = _dot(inner[centre], outer[target])
                    chance = np.float32(1) / (np.float32(1) + np.exp(-score))
                    total += np.log1p(np.exp(-abs(score))) + max(-score if sample == 0 else score, np.float32(0))
                    error = (label - chance) * step
                    for j in range(width):
                        change[j] += error * outer[target, j]
                        outer[target, j] += error * inner[centre, j]
                for j in range(width):
                    inner[centre, j] += change[j]
                pairs += 1
    return total, pairs


@kernel()
def _dot(left: Any, right: Any) -> Any:
    # Eight sums side by side: compilers may not reorder one sum of floats, and so would not vectorise it.
    a = b = c = d = e = f = g = h = np.float32(0)
    for j in range(0, len(left), LANES):
        a += left[j] * right[j]
        b += left[j + 1] * right[j + 1]
        c += left[j + 2] * right[j + 2]
        d += left[j + 3] * right[j + 3]
        e += left[j + 4] * right[j + 4]
        f += left[j + 5] * right[j + 5]
        g += left[j + 6] * right[j + 6]
        h += left[j + 7] * right[j + 7]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))

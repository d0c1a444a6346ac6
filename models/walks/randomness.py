"""Random numbers by counter: each is a function of seed, walk, hop and trial, and of nothing that ran before.

So a walk is the same whatever the memory budget, the threads, the blocks or the restarts. The mixing is SplitMix64's
finaliser (Steele, Lea and Flood 2014), applied to a walk's key and then along the walk's own sequence.
"""

from __future__ import annotations

import numpy as np

from models.compiled import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@kernel(inline=True)
def mix(value: np.uint64) -> np.uint64:
    """A bijection of 64 bits that leaves no visible order."""
    value = (value ^ (value >> _30)) * _FIRST
    value = (value ^ (value >> _27)) * _SECOND
    return value ^ (value >> _31)


@kernel(inline=True)
def walk_key(seed: np.uint64, walk: np.uint64) -> np.uint64:
    """Where a walk's own sequence begins."""
    return mix(mix(seed + _GOLDEN) + walk * _GOLDEN)


@kernel(inline=True)
def draw(key: np.uint64, counter: np.uint64) -> np.uint64:
    """Number `counter` of a sequence: 64 random bits."""
    return mix(key + (counter + np.uint64(1)) * _GOLDEN)

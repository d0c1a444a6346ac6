"""Which nodes are alike: by MinHash over their neighbours, without comparing all pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BANDS, ROWS = 12, 2
MIN_SIMILARITY = 0.1


def similar_pairs(
    nodes: NDArray[np.int32], members: NDArray[np.int32], most: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Pairs of nodes whose sets of members overlap (Broder 1997; bands as in locality-sensitive hashing).

    Nodes that agree in all hashes of a band are compared with their next few in the same bucket, so the work grows
    with the number of nodes. The similarity is the share of equal hashes, an estimate of the sets' Jaccard index.

    Args:
        nodes, members: (n,) each row says that a member belongs to a node's set.
        most: in each band a node is compared with a quarter as many of its bucket's next nodes, at least one.
    Returns:
        One end, other end, similarity of at least `MIN_SIMILARITY`; every pair once.
    """
    if not len(nodes):
        return np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32)
    order = np.argsort(nodes, kind="stable")
    known, first = np.unique(nodes[order], return_index=True)
    signatures = _signatures(members[order], first, seed)
    keys = []
    for band in range(BANDS):
        rows = signatures[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        bucket = rows[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ rows[:, 1]
        by_bucket = np.argsort(bucket, kind="stable")
        for ahead in range(1, max(1, most // 4) + 1):
            one, other = by_bucket[:-ahead], by_bucket[ahead:]
            same = bucket[one] == bucket[other]
            low, high = np.minimum(one[same], other[same]), np.maximum(one[same], other[same])
            keys.append(low * len(known) + high)
    pairs = np.unique(np.concatenate(keys))
    one, other = pairs // len(known), pairs % len(known)
    likeness = (signatures[one] == signatures[other]).mean(axis=1).astype(np.float32)
    enough = likeness >= MIN_SIMILARITY
    return known[one[enough]], known[other[enough]], likeness[enough]


def _signatures(members: NDArray[np.int32], first: NDArray[np.int64], seed: int) -> NDArray[np.uint32]:
    """(nodes, BANDS * ROWS) smallest hash of each node's members under each hash function."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(1, 2**31, size=BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(2**32, size=BANDS * ROWS, dtype=np.uint64)
    codes = (members.astype(np.uint64) + np.uint64(1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    columns = []
    for factor, shift in zip(factors, shifts, strict=True):
        hashed = (((codes + shift) * factor) >> np.uint64(32)).astype(np.uint32)
        columns.append(np.minimum.reduceat(hashed, first))
    return np.stack(columns, axis=1)

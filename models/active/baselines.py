"""Criteria that IGP is compared with. They buy exact labels, and can be asked to choose relaxed questions as well."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.active.gain import entropy, greedy_cover, unexplained
from models.active.knowledge import Nodes
from models.active.situation import Situation, Terrain

# Clustering looks at so many principal components of the features.
COMPONENTS = 64
# PageRank's damping, and the steps after which 0.85^steps is nothing.
_DAMPING, _PAGERANK_STEPS = 0.85, 100
# AGE: with every round the graph's centre counts for less, and the model's opinion for more.
_AGE_DECAY = 0.95

Scores = NDArray[np.float64]


def random(situation: Situation, count: int) -> Nodes:
    """Any nodes."""
    return _first(situation, situation.random.random(len(situation.candidates)), count)


def degree(situation: Situation, count: int) -> Nodes:
    """The nodes with the most neighbours."""
    return _best(situation, situation.terrain.graph.degrees.astype(np.float64), count)


def pagerank(situation: Situation, count: int) -> Nodes:
    """The nodes of highest PageRank (Page et al., 1999)."""
    return _best(situation, pagerank_of(situation.terrain), count)


def uncertainty(situation: Situation, count: int) -> Nodes:
    """The nodes about which the model is least sure: of the highest entropy."""
    return _best(situation, entropy(situation.belief), count)


def age(situation: Situation, count: int) -> Nodes:
    """AGE (Cai et al., 2017): a sum of percentiles of uncertainty, density and centrality, whose weights shift.

    The weight of centrality is drawn from a beta distribution whose mean falls from 1 towards a half in time; the
    other two share the rest evenly. Density is one over one plus the distance to the centre of the node's cluster of
    propagated features, with as many clusters as classes.
    """
    decayed = _AGE_DECAY**situation.round
    central = situation.random.beta(1.0, max(1e-3, 1.005 - decayed))
    parts = (entropy(situation.belief), _density(situation.terrain), pagerank_of(situation.terrain))
    weights = ((1.0 - central) / 2, (1.0 - central) / 2, central)
    scores = sum(weight * _percentile(part) for weight, part in zip(weights, parts, strict=True))
    return _best(situation, np.asarray(scores), count)


def featprop(situation: Situation, count: int) -> Nodes:
    """FeatProp (Wu et al., 2019) batch by batch: clusters of propagated features, each asked for its middle.

    There are as many clusters as nodes asked and to ask; those that hold no node that was asked come first, the largest
    first.
    """
    components, candidates = _components(situation.terrain), situation.candidates
    asked = np.setdiff1d(situation.terrain.pool, candidates)
    clusters = min(len(asked) + count, len(situation.terrain.pool))
    centres, member = _clusters(components[situation.terrain.pool], clusters, int(situation.random.integers(2**31)))
    of = np.full(len(components), -1)
    of[situation.terrain.pool] = member
    sizes = np.bincount(member, minlength=clusters).astype(np.float64)
    sizes[of[asked]] = 0.0
    chosen: list[int] = []
    for cluster in np.argsort(-sizes, kind="stable")[:count]:
        free = np.setdiff1d(candidates[of[candidates] == cluster], chosen)
        free = free if len(free) else np.setdiff1d(candidates, chosen)
        if len(free):
            chosen.append(int(free[np.argmin(np.linalg.norm(components[free] - centres[cluster], axis=1))]))
    return np.array(chosen, dtype=np.int64)


def grain(situation: Situation, count: int) -> Nodes:
    """After GRAIN (Zhang et al., 2021): the nodes whose influence covers most of what no node that was asked covers.

    Its diversity is that of coverage: a node that is explained already is worth little to explain again.
    """
    terrain = situation.terrain
    asked = np.setdiff1d(terrain.pool, situation.candidates)
    reach = terrain.influence
    uncovered = unexplained(reach, asked, np.ones(len(asked)))
    return greedy_cover(reach, uncovered, np.ones(terrain.graph.n), situation.candidates, count)


def pagerank_of(terrain: Terrain) -> Scores:
    """(n,) PageRank, sums to 1; the walk leaves a node without neighbours for any other."""
    return _pagerank(terrain)


@lru_cache(maxsize=8)
def _pagerank(terrain: Terrain) -> Scores:
    from scipy import sparse

    graph = terrain.graph
    links = sparse.csr_array((np.ones(len(graph.indices)), graph.indices, graph.indptr), shape=(graph.n, graph.n))
    shares = 1.0 / np.maximum(graph.degrees, 1)
    rank = np.full(graph.n, 1.0 / graph.n)
    for _ in range(_PAGERANK_STEPS):
        lost = rank[graph.degrees == 0].sum()
        rank = (1.0 - _DAMPING + _DAMPING * lost) / graph.n + _DAMPING * (links @ (rank * shares))
    return rank


def _components(terrain: Terrain) -> NDArray[np.float32]:
    """(n, up to COMPONENTS) the first principal components of the propagated features."""
    return terrain.features[:, :COMPONENTS]


def _clusters(points: NDArray[np.float32], count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(count, d) centres and (m,) each point's cluster."""
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=1, max_iter=50, random_state=seed).fit(points)
    return found.cluster_centers_, found.labels_.astype(np.int64)


@lru_cache(maxsize=8)
def _density(terrain: Terrain) -> Scores:
    components = _components(terrain)
    centres, member = _clusters(components, terrain.graph.n_classes, 0)
    return np.asarray(1.0 / (1.0 + np.linalg.norm(components - centres[member], axis=1)), dtype=np.float64)


def _percentile(values: Scores) -> Scores:
    """(n,) share of values that each exceeds."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, values, side="left") / len(values)


def _best(situation: Situation, scores: Scores, count: int) -> Nodes:
    """The candidates of the highest scores; ties are broken at random."""
    candidates = situation.candidates
    order = np.lexsort((situation.random.random(len(candidates)), -scores[candidates]))
    return candidates[order[:count]]


def _first(situation: Situation, scores: Scores, count: int) -> Nodes:
    """The candidates of the lowest scores, one for each candidate."""
    return situation.candidates[np.argsort(scores, kind="stable")[:count]]

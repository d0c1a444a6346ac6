"""Graphs of any size: stochastic block models, where classes are communities, and RMAT, with hubs as in the web."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.data.graph import Graph, from_edges
from tunewright.errors import WorkloadError


def sbm(
    nodes: int = 300,
    classes: int = 3,
    degree: float = 8.0,
    *,
    homophily: float = 0.8,
    features: int = 16,
    noise: float = 1.5,
    per_class: int = 20,
    seed: int = 0,
    name: str = "sbm",
) -> Graph:
    """A stochastic block model: communities of about equal size, whose nodes have features around a common centre.

    Args:
        degree: mean number of edges of a node.
        homophily: share of edges inside of a community.
        noise: deviation of features from their community's centre, whose entries are of deviation 1.
        per_class: nodes of each class to train on; a quarter of the rest validates, half tests.
    Raises:
        WorkloadError: a size that cannot be.
    """
    if nodes < 4 * classes or classes < 2 or features < 1 or not 0 <= homophily <= 1 or degree <= 0:
        raise WorkloadError(
            f"sbm: {nodes} nodes in {classes} classes, {features} features, degree {degree}, homophily {homophily}: "
            "give 2 classes or more with 4 nodes each, at least 1 feature, a degree above 0, a homophily from 0 to 1"
        )
    rng = np.random.default_rng([seed, nodes, classes])
    labels = rng.permutation(np.arange(nodes) % classes)
    members = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[members], np.arange(classes + 1))
    count = int(nodes * degree / 2)
    source = rng.integers(nodes, size=count)
    inside = rng.random(count) < homophily
    other = (labels[source] + rng.integers(1, classes, size=count)) % classes
    block = np.where(inside, labels[source], other)
    target = members[starts[block] + (rng.random(count) * (starts[block + 1] - starts[block])).astype(np.int64)]
    values = _around_centres(labels, classes, features, noise, rng)
    return _split(source, target, values, labels, per_class, rng, name)


def rmat(
    nodes: int,
    edges: int,
    *,
    features: int = 32,
    classes: int = 8,
    noise: float = 3.0,
    per_class: int = 200,
    corners: tuple[float, float, float] = (0.57, 0.19, 0.19),
    seed: int = 0,
    name: str = "rmat",
) -> Graph:
    """An RMAT graph (Chakrabarti et al., SDM 2004) with shuffled ids, and labels that neighbours tend to share.

    Labels start at random, and nodes take the one that most of their neighbourhood has, twice; features lie around
    the class's centre, with so much noise that neighbours are needed to tell.

    Args:
        edges: drawn; what is drawn twice or joins a node to itself is lost.
        corners: probabilities of the upper left, upper right and lower left quarter.
    Raises:
        WorkloadError: a size that cannot be.
    """
    if nodes < 4 * classes or edges < 1 or classes < 2 or features < 1 or sum(corners) >= 1 or min(corners) < 0:
        raise WorkloadError(
            f"rmat: {nodes} nodes, {edges} edges, {classes} classes, {features} features, corners {corners}: give 2 "
            "classes or more with 4 nodes each, at least 1 edge and feature, corners from 0 that sum to less than 1"
        )
    rng = np.random.default_rng([seed, nodes, edges])
    source, target = rmat_edges(nodes, edges, corners, rng)
    labels = _shared_labels(source, target, nodes, classes, rng)
    values = _around_centres(labels, classes, features, noise, rng)
    return _split(source, target, values, labels, per_class, rng, name)


def rmat_edges(
    nodes: int, edges: int, corners: tuple[float, float, float], rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(edges,) sources and targets; pairs with an id beyond `nodes` are drawn again."""
    from models.data.edges import rmat as pieces

    scale = max(1, math.ceil(math.log2(nodes)))
    shares = (*corners, 1 - sum(corners))
    found = np.empty((edges, 2), np.int32)
    count = 0
    while count < edges:
        for piece in pieces(scale, edges - count, seed=int(rng.integers(2**31)), shares=shares):
            kept = piece[(piece < nodes).all(axis=1)]
            found[count : count + len(kept)] = kept
            count += len(kept)
    return found[:, 0], found[:, 1]


def _shared_labels(
    source: NDArray[np.int32], target: NDArray[np.int32], nodes: int, classes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    from scipy import sparse

    ones = np.ones(len(source), dtype=np.float32)
    links = sparse.csr_array((ones, (source, target)), shape=(nodes, nodes))
    labels = rng.integers(classes, size=nodes)
    for _ in range(2):
        # A label counts less the more nodes have it, or one would take all.
        weight = (nodes / classes / np.maximum(np.bincount(labels, minlength=classes), 1)).astype(np.float32)
        votes = np.zeros((nodes, classes), dtype=np.float32)
        votes[np.arange(nodes), labels] = weight[labels]
        labels = (links @ votes + links.T @ votes + votes).argmax(axis=1)
    # Every class has nodes to train and validate on.
    labels[rng.choice(nodes, 4 * classes, replace=False)] = np.arange(4 * classes) % classes
    return labels.astype(np.int64)


def _around_centres(
    labels: NDArray[np.int64], classes: int, features: int, noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    centres = rng.standard_normal((classes, features)).astype(np.float32)
    values = rng.standard_normal((len(labels), features), dtype=np.float32)
    values *= np.float32(noise)
    values += centres[labels]
    return values


def _split(
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    per_class: int,
    rng: np.random.Generator,
    name: str,
) -> Graph:
    order = rng.permutation(len(labels))
    parts = [order[labels[order] == label] for label in range(int(labels.max()) + 1)]
    train = np.concatenate([part[: min(per_class, max(1, len(part) // 4))] for part in parts])
    rest = order[~np.isin(order, train)]
    first = len(rest) // 4
    valid, test = rest[:first], rest[first : 3 * first]
    return from_edges(source, target, features, labels, name=name, train=train, valid=valid, test=test)

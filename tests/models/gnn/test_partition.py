"""An operator in parts, against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.graph import from_edges
from models.data.graphs import sbm
from models.gnn.operators import normalised, propagate
from models.gnn.partition import PartialFeatures, split
from tunewright.errors import WorkloadError


def joined(nodes, edges, width=3, seed=0):
    rng = np.random.default_rng(seed)
    source, target = rng.integers(nodes, size=(2, edges))
    features = rng.standard_normal((nodes, width), dtype=np.float32)
    train, valid, test = np.split(np.arange(6), 3)
    return from_edges(source, target, features, np.arange(nodes) % 2, name="drawn", train=train, valid=valid, test=test)


def in_parts(csr, x, k, count):
    """As workers would, each with its own rows and what it is sent."""
    parts = split(csr, count)
    features = [PartialFeatures(part, x[part.nodes]) for part in parts]
    steps = [x]
    for _ in range(k):
        sent = [
            [features[other].rows(index) for other in range(count) if len(parts[other].sent[index])]
            for index in range(count)
        ]
        made = np.full_like(x, np.nan)
        for part, mine, halo in zip(parts, features, sent, strict=True):
            made[part.nodes] = mine.step(halo)
        steps.append(made)
    return steps


@settings(max_examples=50)
@given(st.integers(6, 40), st.integers(0, 120), st.integers(1, 6), st.integers(0, 3), st.sampled_from([1, 3, 70]))
def test_parts_together_are_the_whole_bit_for_bit(nodes, edges, count, k, width):
    graph = joined(nodes, edges, width)
    csr = normalised(graph, "symmetric", 0.3)

    for mine, whole in zip(in_parts(csr, graph.features, k, count), propagate(csr, graph.features, k), strict=True):
        assert np.array_equal(mine, whole)


@pytest.mark.parametrize("kind", ["symmetric", "random_walk", "ppr", "triangle"])
def test_every_operator_comes_in_parts(kind):
    graph = sbm(120, 3, 6.0, seed=2)
    csr = normalised(graph, kind)

    assert np.array_equal(in_parts(csr, graph.features, 3, 4)[-1], propagate(csr, graph.features, 3)[-1])


def test_parts_have_every_node_once_and_about_equal_work():
    csr = normalised(joined(1000, 20_000), "symmetric")
    parts = split(csr, 4)

    assert np.array_equal(np.sort(np.concatenate([part.nodes for part in parts])), np.arange(1000))
    work = [len(part.indices) + len(part.nodes) for part in parts]
    assert max(work) < 1.1 * min(work)


def path(order):
    """A line through the nodes in an order."""
    return from_edges(
        order[:-1],
        order[1:],
        np.ones((len(order), 2), dtype=np.float32),
        np.arange(len(order)) % 2,
        name="path",
        train=np.arange(2),
        valid=np.arange(2, 4),
        test=np.arange(4, 6),
    )


def test_a_halo_has_what_a_part_needs_of_others_and_no_more():
    parts = split(normalised(path(np.arange(30)), "symmetric"), 3)
    first, second, third = (part.nodes for part in parts)

    # Each part needs the node before its first and the one behind its last.
    assert [part.halo.tolist() for part in parts] == [[second[0]], [first[-1], third[0]], [second[-1]]]
    assert [rows.tolist() for rows in parts[1].sent] == [[0], [], [len(second) - 1]]


def test_nodes_that_are_near_go_together_whatever_their_numbers():
    order = np.random.default_rng(0).permutation(300)

    parts = split(normalised(path(order), "symmetric"), 3)

    assert sum(len(part.halo) for part in parts) == 4


def test_a_hub_may_leave_a_part_without_nodes():
    hub = np.zeros(200, dtype=np.int64)
    graph = from_edges(
        hub,
        np.arange(1, 201),
        np.ones((201, 2), dtype=np.float32),
        np.arange(201) % 2,
        name="star",
        train=np.arange(2),
        valid=np.arange(2, 4),
        test=np.arange(4, 6),
    )
    csr = normalised(graph, "symmetric")

    assert 0 in [len(part.nodes) for part in split(csr, 8)]
    assert np.array_equal(in_parts(csr, graph.features, 2, 8)[-1], propagate(csr, graph.features, 2)[-1])


@pytest.mark.parametrize("count", [0, -1, 11])
def test_a_number_of_parts_that_cannot_be_is_refused(count):
    csr = normalised(joined(10, 20), "symmetric")

    with pytest.raises(WorkloadError, match=r"parts: .* for a graph of 10 nodes; give 1 to 10"):
        split(csr, count)

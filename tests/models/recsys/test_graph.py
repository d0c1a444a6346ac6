from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.data.interactions import Interactions, generate, split_globally
from models.recsys.features import read_features
from models.recsys.graph import build_graph
from models.recsys.profiles import node_profiles
from models.recsys.similarity import similar_pairs
from tunewright.errors import WorkloadError


@pytest.fixture(scope="module")
def split():
    return split_globally(generate(80, 60, 8, 4_000, seed=2))


def test_a_graph_is_refused_everything_but_a_training_part(split):
    for part in (split.valid, split.test, generate(10, 8, 8, 100)):
        with pytest.raises(WorkloadError, match="training part of a split alone"):
            build_graph(part)


def test_no_held_out_interaction_reaches_graph_or_features(split):
    """Whatever the rows to be judged by are changed to, graph and features stay the same, bit for bit."""
    graph, features = build_graph(split.train), read_features(split.train)
    clicks = set(zip(split.train.user[split.train.clicked], split.train.item[split.train.clicked], strict=True))
    shift = graph.users + graph.queries
    edges = graph.edges["user-item"]
    source = np.repeat(np.arange(graph.nodes), np.diff(edges.pointers))

    assert set(zip(source, edges.neighbours - shift, strict=True)) == clicks
    held_out = set(zip(split.test.user, split.test.item, strict=True)) - clicks
    assert held_out
    assert not held_out & set(zip(source, edges.neighbours - shift, strict=True))
    changed = split_globally(flipped(split))
    again, features_again = build_graph(changed.train), read_features(changed.train)
    assert np.array_equal(features.codes, features_again.codes)
    for name, kept in graph.edges.items():
        assert np.array_equal(kept.neighbours, again.edges[name].neighbours)
        assert np.array_equal(kept.weights, again.edges[name].weights)


def flipped(split) -> Interactions:
    """The whole table with every held-out click turned round, and its items, too."""
    parts = [
        split.train,
        *(replace(p, rating=1 - p.rating, item=p.item[::-1].copy()) for p in (split.valid, split.test)),
    ]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("user", "item", "query", "rating", "timestamp", "truth")
    }
    return replace(split.train, **columns, part="all")


def test_edges_run_both_ways_and_count_clicks(split):
    graph = build_graph(split.train)
    clicks = split.train.take(split.train.clicked, "train")
    one, other = graph.edges["query-item"], graph.edges["item-query"]

    assert one.weights.sum() == other.weights.sum() == len(clicks)
    assert len(one.neighbours) == len(other.neighbours)
    for edges in graph.edges.values():
        for node in range(graph.nodes):
            weights = edges.weights[edges.pointers[node] : edges.pointers[node + 1]]
            assert np.all(np.diff(weights) <= 0)


def test_clicks_long_apart_are_not_one_session():
    n = 3
    clicks = Interactions(
        np.zeros(n, np.int32),
        np.arange(n, dtype=np.int32),
        np.zeros(n, np.int32),
        np.ones(n, np.float32),
        np.array([0, 60, 100_000], np.int64),
        liked_from=1.0,
        users=1,
        items=n,
        queries=1,
        part="train",
    )

    edges = build_graph(clicks, similar=False).edges["session"]

    assert edges.neighbours.tolist() == [3, 2]


def test_users_without_clicks_and_a_part_without_any_have_no_neighbours(split):
    nobody = replace(split.train, rating=np.zeros(len(split.train), np.float32))

    graph = build_graph(nobody)

    assert all(len(edges.neighbours) == 0 for edges in graph.edges.values())
    assert np.isfinite(node_profiles(graph.adjacency(5), 0)).all()


def test_reach_keeps_the_strongest(split):
    graph = build_graph(split.train)
    whole, cut = graph.adjacency(1_000), graph.adjacency(3)

    assert np.diff(cut.pointers, axis=1).max() == 3
    for kind in range(3):
        for node in range(graph.nodes):
            kept = cut.neighbours[cut.pointers[kind, node] : cut.pointers[kind, node + 1]]
            all_of_it = whole.neighbours[whole.pointers[kind, node] : whole.pointers[kind, node + 1]]
            assert np.array_equal(kept, all_of_it[:3])


def test_similarity_estimates_the_jaccard_index():
    members = {0: range(40), 1: range(40), 2: range(20, 60), 3: range(100, 140)}
    nodes = np.concatenate([[node] * len(of) for node, of in members.items()]).astype(np.int32)

    one, other, likeness = similar_pairs(
        nodes, np.concatenate([list(of) for of in members.values()]).astype("i4"), 8, 0
    )

    found = {(int(a), int(b)): float(s) for a, b, s in zip(one, other, likeness, strict=True)}
    assert found[0, 1] == 1.0
    assert all(3 not in pair for pair in found)
    if (0, 2) in found:
        assert abs(found[0, 2] - 1 / 3) < 0.3


def test_a_category_nobody_has_seen_is_padding_and_every_field_has_rows_of_its_own(split):
    field = split.train.item_fields["category"]
    unseen = replace(field, codes=np.r_[np.int32(0), field.codes[1:]])

    features = read_features(replace(split.train, item_fields={"category": unseen, "price": unseen}))

    item = split.train.users + split.train.queries
    assert features.codes[item, 1:].tolist() == [0, 0]
    assert features.codes[item + 1, 2] - features.codes[item + 1, 1] == field.size
    assert features.codes.max() < features.rows

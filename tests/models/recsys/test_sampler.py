from __future__ import annotations

import numpy as np
import pytest

from models.data.interactions import generate, split_globally
from models.recsys.graph import build_graph
from models.recsys.sampler import METHODS, REACH, Sampler
from tunewright.errors import WorkloadError

USERS, QUERIES = np.arange(40, dtype=np.int32), (np.arange(40) % 16).astype(np.int32)


@pytest.fixture(scope="module")
def train():
    return split_globally(generate(80, 60, 16, 6_000, seed=2)).train


@pytest.fixture(scope="module")
def graph(train):
    return build_graph(train)


@pytest.mark.parametrize("method", METHODS)
def test_a_neighbourhood_holds_neighbours_once_and_at_most_as_many_as_asked(graph, method):
    sampler = Sampler(graph, method, (4, 2))
    near = graph.adjacency(REACH)

    levels = sampler.draw(graph.user_nodes(USERS), graph.query_nodes(QUERIES))

    assert len(levels) == 3
    assert np.array_equal(levels[0].nodes, np.r_[USERS, QUERIES + graph.users])
    for before, level, k in zip(levels, levels[1:], (4, 2), strict=False):
        assert np.array_equal(level.request, before.request[level.parent])
        assert np.array_equal(graph.type_of(level.nodes), level.kind)
        triples = np.stack([level.parent, level.kind, level.nodes])
        assert len(np.unique(triples, axis=1).T) == len(level.nodes)
        if method != "full":
            assert np.unique(triples[:2], axis=1, return_counts=True)[1].max() <= k
        if method != "importance":
            for parent, kind, node in triples.T[:200]:
                of = before.nodes[parent]
                assert node in near.neighbours[near.pointers[kind, of] : near.pointers[kind, of + 1]]


def test_the_region_of_interest_is_the_most_relevant_by_tanimoto(graph, monkeypatch):
    monkeypatch.setattr("models.recsys.sampler.NOISE", 0.0)
    sampler = Sampler(graph, "roi", (3,))
    near, x = graph.adjacency(REACH), sampler.profiles.astype(np.float64)

    (_, level) = sampler.draw(graph.user_nodes(USERS), graph.query_nodes(QUERIES))

    for user, query in zip(USERS[:10], QUERIES[:10] + graph.users, strict=True):
        f = x[user] + x[query]
        items = near.neighbours[near.pointers[2, user] : near.pointers[2, user + 1]]
        relevance = x[items] @ f / (f @ f + (x[items] ** 2).sum(axis=1) - x[items] @ f)
        best = items[np.argsort(-relevance)[:3]]
        assert set(best) == set(level.nodes[(level.parent == user) & (level.kind == 2)])


def test_a_region_of_interest_keeps_more_of_the_querys_intent_than_chance(train, graph):
    def on_intent(method):
        _, level = Sampler(graph, method, (3,)).draw(graph.user_nodes(train.user), graph.query_nodes(train.query))
        rows = (level.kind == 2) & (level.parent < len(train))
        category = train.item_fields["category"].codes[level.nodes[rows] - graph.users - graph.queries]
        return (category - 1 == train.query[level.request[rows]] % 4).mean()

    assert on_intent("roi") > on_intent("uniform") + 0.1


@pytest.mark.parametrize("method", METHODS)
def test_the_item_that_is_asked_about_is_not_seen(train, graph, method):
    rows = np.flatnonzero(train.clicked)[:200]
    item = graph.item_nodes(train.item[rows])

    levels = Sampler(graph, method, (20, 5)).draw(
        graph.user_nodes(train.user[rows]), graph.query_nodes(train.query[rows]), hidden=item
    )

    for level in levels:
        assert not (level.nodes == item[level.request]).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_user_and_a_query_that_are_parted_do_not_see_each_other(train, graph, method):
    rows = np.flatnonzero(train.clicked)[:200]
    user, query = graph.user_nodes(train.user[rows]), graph.query_nodes(train.query[rows])
    parted = np.arange(200) % 2 == 0

    _, level = Sampler(graph, method, (REACH,)).draw(user, query, parted=parted)

    asks = np.r_[user, query][level.parent]
    met = ((asks == user[level.request]) & (level.nodes == query[level.request])) | (
        (asks == query[level.request]) & (level.nodes == user[level.request])
    )
    assert not met[parted[level.request]].any()
    assert met[~parted[level.request]].any()


def test_more_neighbours_than_a_node_has_are_all_of_them(graph):
    near = graph.adjacency(REACH)
    _, level = Sampler(graph, "roi", (REACH,)).draw(graph.user_nodes(USERS), graph.query_nodes(QUERIES))

    counts = sum(np.diff(near.pointers[kind])[np.r_[USERS, QUERIES + graph.users]].sum() for kind in range(3))

    assert len(level.nodes) == counts


def test_unknown_users_and_queries_have_no_neighbours(graph):
    nobody = np.array([-1, -1], np.int32)

    levels = Sampler(graph, "roi", (4, 2)).draw(nobody, nobody)

    assert [len(level.nodes) for level in levels] == [4, 0, 0]


def test_a_uniform_draw_takes_every_neighbour_as_often_as_any_other(graph):
    sampler, near = Sampler(graph, "uniform", (2,)), graph.adjacency(REACH)
    user = int(np.argmax(np.diff(near.pointers[2, : graph.users + 1])))
    items = near.neighbours[near.pointers[2, user] : near.pointers[2, user + 1]]
    drawn = np.zeros(graph.nodes)
    for turn in range(600):
        _, level = sampler.draw(np.array([user], np.int32), np.array([-1], np.int32), turn=turn)
        drawn[level.nodes[level.kind == 2]] += 1

    expected = 1200 / len(items)
    assert np.abs(drawn[items] - expected).max() < 5 * np.sqrt(expected)


def test_walks_put_the_nodes_they_meet_most_first(graph):
    sampler = Sampler(graph, "importance", (5,))
    near = sampler._adjacency

    for kind in range(3):
        for node in range(graph.nodes):
            assert np.all(np.diff(near.weights[near.pointers[kind, node] : near.pointers[kind, node + 1]]) <= 0)


def test_draws_repeat_for_the_same_turn_alone(graph):
    sampler = Sampler(graph, "uniform", (3,))
    one, again, other = (
        sampler.draw(graph.user_nodes(USERS), graph.query_nodes(QUERIES), turn=t)[1].nodes for t in (1, 1, 2)
    )

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_cannot_be_drawn_is_named(graph):
    with pytest.raises(WorkloadError, match="sampler: 'nearest' is unknown; known: roi, uniform"):
        Sampler(graph, "nearest", (3,))
    with pytest.raises(WorkloadError, match=r"scale: \[3, 0\] must hold"):
        Sampler(graph, "roi", (3, 0))

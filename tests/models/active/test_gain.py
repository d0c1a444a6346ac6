from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from models.active.gain import entropy, greedy_cover, information_gain
from models.active.influence import influence
from models.active.knowledge import without
from models.data.graph import from_edges
from models.data.graphs import load
from tunewright.errors import WorkloadError


def test_entropy_is_that_of_the_closed_form():
    assert entropy(np.array([[0.25] * 4, [1.0, 0, 0, 0]])) == pytest.approx([np.log(4), 0.0])


def test_information_gain_is_what_the_paper_defines():
    p = np.random.default_rng(0).dirichlet([1.0] * 5, size=50)

    left = without(p, p == p.max(axis=1, keepdims=True))
    expected = entropy(p) - (1.0 - p.max(axis=1)) * entropy(left)

    assert information_gain(p) == pytest.approx(expected)


def value(reach, weight, strength, nodes):
    left = np.ones(len(weight))
    for node in nodes:
        left *= 1.0 - strength[node] * reach[:, node]
    return float(weight @ (1.0 - left))


@pytest.mark.parametrize("seed", range(5))
def test_lazy_greedy_chooses_what_plain_greedy_chooses_and_is_near_the_best(seed):
    rng = np.random.default_rng(seed)
    reach = rng.random((12, 12)) * (rng.random((12, 12)) < 0.4)
    weight, strength = rng.random(12), rng.random(12)
    candidates = np.arange(1, 11)

    chosen = greedy_cover(sparse.csr_array(reach), weight, strength, candidates, 3)

    plain: list[int] = []
    for _ in range(3):
        plain.append(max(set(candidates) - set(plain), key=lambda v: value(reach, weight, strength, [*plain, v])))
    best = max(value(reach, weight, strength, nodes) for nodes in combinations(candidates, 3))
    assert chosen.tolist() == plain
    assert value(reach, weight, strength, chosen) >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("seed", range(3))
def test_greedy_takes_what_adds_most_for_its_price(seed):
    rng = np.random.default_rng(seed)
    reach = rng.random((12, 12)) * (rng.random((12, 12)) < 0.4)
    weight, strength, price = rng.random(12), rng.random(12), rng.uniform(1, 3, 12)
    candidates = np.arange(12)

    chosen = greedy_cover(sparse.csr_array(reach), weight, strength, candidates, 4, price)

    plain: list[int] = []
    for _ in range(4):
        before = value(reach, weight, strength, plain)
        plain.append(
            max(
                set(candidates) - set(plain),
                key=lambda v: (value(reach, weight, strength, [*plain, v]) - before) / price[v],
            )
        )
    assert chosen.tolist() == plain


def test_greedy_gives_all_candidates_where_more_are_asked_for():
    reach = sparse.csr_array(np.eye(4))

    chosen = greedy_cover(reach, np.ones(4), np.ones(4), np.array([2, 1]), 5)

    assert sorted(chosen.tolist()) == [1, 2]


def test_influence_is_the_derivative_of_propagated_features():
    source, target = np.array([0, 1, 2, 0]), np.array([1, 2, 3, 2])
    graph = from_edges(
        source, target, np.ones((5, 1), np.float32), np.array([0, 1, 0, 1, 0]), name="five",
        train=np.array([0, 1]), valid=np.array([2]), test=np.array([3]),
    )  # fmt: skip
    looped = np.eye(5)
    looped[source, target] = looped[target, source] = 1.0
    operator = looped / np.sqrt(np.outer(looped.sum(0), looped.sum(0)))
    power = operator @ operator

    found = influence(graph, 2).toarray()

    assert found == pytest.approx(power / power.sum(axis=1, keepdims=True), abs=1e-6)
    # An isolated node owes everything to itself.
    assert found[4].tolist() == [0, 0, 0, 0, 1]


def test_influence_needs_a_step_of_propagation():
    with pytest.raises(WorkloadError, match="influence: 0 steps of propagation; give 1 or more"):
        influence(load("sbm"), 0)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data.interactions import generate, split_globally
from models.recsys.asked import Asked
from models.recsys.attention import Edges, FocalLayer, Levels
from models.recsys.features import RESERVED, EmbeddingTable
from models.recsys.graph import build_graph
from models.recsys.learner import Recipe, ZoomerLearner, judged
from models.recsys.losses import focal_loss, sampled_softmax
from models.recsys.options import read_options
from models.recsys.ranking import auc, hit_rate, ndcg, ranks_of
from models.recsys.serving import Recommender
from models.recsys.zoomer import ZoomerWorkload
from tunewright.errors import WorkloadError
from tunewright.workload import Checkpoint, Leg


@pytest.fixture(scope="module")
def split():
    return split_globally(generate(100, 40, 8, 12_000, seed=4))


@pytest.fixture(scope="module")
def graph(split):
    return build_graph(split.train)


def learner(split, graph, *, seed=1, **recipe):
    return ZoomerLearner(
        Recipe(**{"dimensions": 16, "scale": (4,), "batch": 256, **recipe}),
        split.train,
        judged(split.valid, 600, 100),
        unit=1_024,
        seed=seed,
        graph=graph,
    )


@pytest.fixture(scope="module")
def trained(split, graph):
    made = learner(split, graph)
    for resource in range(1, 41):
        made.learn(resource)
    return made


def generator():
    return torch.Generator().manual_seed(0)


def test_a_row_to_learn_from_sees_edges_of_other_rows_alone(split, monkeypatch):
    """An edge between user and query of the very click that is asked about would tell the answer."""
    monkeypatch.setattr("models.recsys.learner.STRANGERS", 0.0)
    train = split.train.take(np.arange(1_500), split.train.part)
    made = learner(replace(split, train=train), build_graph(train), method="full", scale=(1_000,), batch=1_024)
    drawn = []
    draw = made.model.sampler.draw
    monkeypatch.setattr(made.model.sampler, "draw", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])

    made.learn(1)

    (levels,) = drawn
    rows, pairs = made._rows(0, 1_024), train.user * train.queries + train.query
    others = np.bincount(pairs, train.clicked)[pairs] - train.clicked > 0
    users, queries = levels[0].nodes.reshape(2, -1)
    near = levels[1]
    by_user, by_query = near.parent < len(rows), near.parent >= len(rows)
    for of_these, wanted in ((by_user, queries), (by_query, users)):
        seen = of_these & (near.nodes == wanted[near.request])
        assert np.array_equal(np.isin(np.arange(len(rows)), near.request[seen]), others[rows])
    assert (~others & train.clicked)[rows].sum() > 20


def test_it_learns_what_was_planted(trained):
    found = trained.measure()

    assert found["auc"] > 0.6
    assert found["hit_rate_at_10"] > 1.5 * 10 / 40


def test_the_auc_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    scores, clicked = rng.integers(5, size=60).astype(float), rng.random(60) < 0.4
    better = (scores[clicked][:, None] > scores[~clicked]) + 0.5 * (scores[clicked][:, None] == scores[~clicked])

    assert auc(scores, clicked) == pytest.approx(better.mean())
    assert auc(scores, np.zeros(60, bool)) == 0.5


def test_scores_that_are_no_numbers_rank_last():
    scores = np.full((2, 4), np.nan, np.float32)

    assert ranks_of(scores, np.array([2, 0]), [np.array([0]), np.array([], int)]).tolist() == [4, 4]
    assert np.isnan(auc(scores[0], np.array([True, False, False, True])))


@pytest.mark.parametrize("loss", ["softmax", "both"])
def test_a_batch_without_clicks_is_no_error(split, loss):
    train = split.train.take(np.flatnonzero(~split.train.clicked)[:200], split.train.part)
    made = ZoomerLearner(
        Recipe(dimensions=16, scale=(4,), batch=64, loss=loss), train, judged(split.valid, 60, 10), unit=500, seed=1
    )

    made.learn(1)

    assert np.isfinite(made.measure()["auc"])


def test_numbers_without_training_rows_are_strangers(split):
    rows = np.flatnonzero((split.train.user < 60) & (split.train.query < 6) & (split.train.item < 30))
    train = split.train.take(rows, split.train.part)
    model = ZoomerLearner(Recipe(dimensions=16), train, judged(split.valid, 60, 10), unit=500, seed=1).model
    users, queries = np.array([-1, 80], np.int32), np.array([-1, 7], np.int32)

    vectors, items = model.request_vectors(users, queries), model.item_vectors()
    own = model.embeddings.weight[RESERVED:][model.graph.users + model.graph.queries :][30 : model.graph.items]
    own += 1
    one, other = Recommender(model).answer([Asked(user=80, query=2, items=(1,)), Asked(user=3, query=7, items=(1,))])

    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(items, model.item_vectors())
    assert (one.known_user, one.known_query) == (False, True)
    assert (other.known_user, other.known_query) == (True, False)


def test_ranks_leave_out_what_was_seen():
    scores = np.array([[0.9, 0.8, 0.7, 0.1]], np.float32)

    ranks = ranks_of(scores, np.array([2]), [np.array([0])])

    assert ranks.tolist() == [1]
    assert hit_rate(ranks, 1) == 0
    assert ndcg(ranks, 10) == pytest.approx(1 / np.log2(3))


def test_the_focal_loss_is_the_cross_entropy_at_gamma_0_and_smaller_for_easy_rows():
    logits, clicked = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, clicked)

    assert focal_loss(logits, clicked, 0.0) == pytest.approx(float(plain))
    p = torch.sigmoid(torch.where(clicked > 0, logits, -logits))
    assert focal_loss(logits, clicked, 2.0) == pytest.approx(float((-((1 - p) ** 2) * p.log()).mean()))


def test_in_batch_negatives_are_corrected_for_frequency_and_never_the_item_itself():
    requests, items = torch.eye(3), torch.eye(3)
    frequency = torch.tensor([0.5, 0.25, 0.25]).log()

    loss = sampled_softmax(requests, items, torch.tensor([7, 7, 9]), frequency, 1.0)

    logits = torch.eye(3) - frequency
    logits[0, 1] = logits[1, 0] = -1e9
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, torch.arange(3))))


def test_without_attention_a_layer_takes_the_weighted_mean_of_each_kind_and_the_mean_of_kinds():
    layer = FocalLayer(2, Levels(False, False, False, False), generator())
    nodes, focal = torch.zeros(1, 2), torch.ones(1, 2)
    neighbours = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    edges = Edges(torch.tensor([0, 0, 0]), torch.tensor([0, 0, 2]), torch.tensor([3.0, 1.0, 1.0]))

    out = layer(nodes, neighbours, edges, focal)

    means = torch.stack([torch.tensor([0.75, 0.25]), torch.tensor([2.0, 2.0])])
    expected = torch.relu(layer.own(nodes) + layer.taken(layer.message(means).mean(dim=0, keepdim=True)))
    assert torch.allclose(out, expected, atol=1e-6)


def test_which_neighbour_counts_depends_on_the_focal_vector():
    layer = FocalLayer(4, Levels(), generator())
    edges = Edges(torch.tensor([0, 0]), torch.tensor([0, 0]), torch.ones(2))
    neighbours = torch.randn(2, 4, generator=generator())

    one, other = (
        layer._shares(f, neighbours, edges, edges.parent * 3) for f in (5 * neighbours[:1], -5 * neighbours[:1])
    )

    assert float(one.sum().detach()) == pytest.approx(1.0)
    assert (one[0] > one[1]) != (other[0] > other[1])


@pytest.mark.parametrize("off", ["feature", "edge", "semantic", "focal"])
def test_each_level_can_be_switched_off(split, graph, off):
    whole, without = learner(split, graph), learner(split, graph, levels=replace(Levels(), **{off: False}))

    for made in (whole, without):
        made.learn(1)

    assert whole.measure()["auc"] != without.measure()["auc"]


def test_a_graph_is_built_once_for_all_legs_of_a_process(tmp_path, monkeypatch):
    sizes = {"users": 60, "items": 40, "queries": 8, "interactions": 1_500, "unit": 64, "judged": 60, "ranked": 20}
    built = []
    monkeypatch.setattr("models.recsys.options.build_graph", lambda train: built.append(build_graph(train)) or built[0])
    monkeypatch.setattr("models.recsys.learner.build_graph", lambda train: built.append(build_graph(train)) or built[0])

    for number in range(2):
        (tmp_path / str(number)).mkdir()
        ZoomerWorkload().run(
            {**ZoomerWorkload.space.default(), "near": 2 + number},
            Leg(0, 1),
            data={"dataset": "generated", **sizes},
            checkpoint=Checkpoint(tmp_path / str(number)),
            report=lambda resource, metrics: None,
        )

    assert len(built) == 1


def test_a_step_touches_only_the_embeddings_it_looked_up_and_padding_stays_zero():
    table = EmbeddingTable(10, 3, generator())
    before = table.weight.clone()

    local, (places,) = table.look_up([np.array([[4, 0], [4, 7]])], learn=True)
    local[places].square().sum().backward()
    table.update(0.1, 0.0)

    changed = (table.weight != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [4, 7]
    assert not table.weight[0].any()


def test_a_state_holds_all_that_later_steps_depend_on(split, graph, tmp_path):
    one, other = learner(split, graph, scale=(3, 2)), learner(split, graph, scale=(3, 2))
    one.learn(1)
    one.save(tmp_path)
    one.learn(2)

    other.restore(tmp_path)
    other.learn(2)

    assert torch.equal(one.model.embeddings.weight, other.model.embeddings.weight)
    for name, value in one.model.towers.state_dict().items():
        assert torch.equal(value, other.model.towers.state_dict()[name]), name


def test_users_and_queries_nobody_knows_get_an_answer(trained):
    recommender = Recommender(trained.model)

    known, stranger, beyond, nothing = recommender.answer(
        [Asked(user=3, query=2), Asked(), Asked(user=10**9, query=-7), Asked(items=(0, 10**9, -4))]
    )

    assert known.known_user
    assert known.known_query
    assert not stranger.known_user
    assert stranger.items == beyond.items
    assert len(stranger.items) == 10
    assert nothing.scores[1] == nothing.scores[2]
    assert all(0 < score < 1 for answer in (known, stranger, nothing) for score in answer.scores)


def test_recommended_items_are_those_with_the_highest_scores_that_the_user_has_not_clicked(trained, split):
    asked = [Asked(user=user, query=user % 8) for user in range(30)]
    exact, indexed = Recommender(trained.model, exact=True), Recommender(trained.model)
    train, clicked = split.train, split.train.clicked

    answers = exact.answer(asked)

    for one, answer in zip(asked, answers, strict=True):
        seen = set(train.item[clicked & (train.user == one.user)].tolist())
        (scored,) = exact.answer([replace(one, items=tuple(range(40)))])
        order = [item for item in np.argsort([-score for score in scored.scores]).tolist() if item not in seen]
        assert sorted(answer.items) == sorted(order[:10])
    same = [len(set(a.items) & set(b.items)) for a, b in zip(answers, indexed.answer(asked), strict=True)]
    assert np.mean(same) > 9.5


def test_one_answer_is_the_same_alone_and_in_a_batch(trained):
    recommender = Recommender(trained.model, exact=True)
    asked = [Asked(user=user, query=2, items=(1, 2, 3)) for user in range(5)]

    batch = recommender.answer(asked)

    assert recommender.answer(asked[:1])[0].scores == pytest.approx(batch[0].scores, abs=1e-5)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dataset": 7}, r"data\.dataset: 7 is unknown"),
        ({"split": "random"}, r"data\.split: 'random' is unknown; known: user, global"),
        ({"unit": 0}, r"data\.unit: 0 must be a whole number from 1"),
        ({"threads": True}, r"data\.threads: True must be"),
        ({"path": 3}, r"data\.path: 3 must be a path"),
        ({"dataset": "generated", "path": "mine"}, r"data\.path: generated is made up"),
    ],
)
def test_options_that_cannot_be_used_are_named(option, message):
    with pytest.raises(WorkloadError, match=message):
        read_options(option)

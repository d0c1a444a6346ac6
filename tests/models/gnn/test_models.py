"""Designs, aggregators and models: formulas against dense algebra, gradients, learning, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.data.graphs import sbm
from models.gnn.baselines import baseline
from models.gnn.cache import Operator
from models.gnn.designs import LEARNED, MESSAGES, POST_MESSAGES, V1, V2, V3, Design, Training
from models.gnn.full_batch import MODELS, Architecture, FullBatchLearner
from models.gnn.layers import Dropout, ResidualPerceptron
from models.gnn.messages import LearnedMessage, aggregate
from models.gnn.operators import normalised, propagate
from models.gnn.sgap import SgapLearner
from models.gnn.sparse import DenseInputs, SparseInputs, SparseMatrix, inputs
from models.gnn.workload import BaselineWorkload, SgapWorkload, design
from tunewright.errors import WorkloadError
from tunewright.workload import Checkpoint, Leg

FAST = Training(0.05, 1e-4)
BASELINES = [*MODELS, "sgc", "sign", "s2gc", "gbp"]
STEPS = [np.array([[1.0, -2.0]], np.float32), np.array([[3.0, 0.0]], np.float32), np.array([[2.0, 5.0]], np.float32)]
GEOMETRIC = np.array([1, 0.85, 0.7225]) / 2.5725


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEWRIGHT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def graph():
    return sbm(600, 3, 8.0, noise=2.5, seed=6)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("last", [2, 5]),
        ("concat", [1, -2, 3, 0, 2, 5]),
        ("mean", [2, 1]),
        ("sum", [6, 3]),
        ("max", [3, 5]),
        ("min", [1, -2]),
        ("geometric", [GEOMETRIC @ [1, 3, 2], GEOMETRIC @ [-2, 0, 5]]),
    ],
)
def test_fixed_aggregators_are_their_formulas_and_leave_the_steps_alone(message, wanted):
    before = [step.copy() for step in STEPS]

    assert aggregate(STEPS, message)[0] == pytest.approx(wanted)
    assert all(np.array_equal(one, two) for one, two in zip(before, STEPS, strict=True))


@pytest.mark.parametrize("message", LEARNED)
def test_learned_aggregators_weigh_steps_by_shares_that_sum_to_one(message):
    layer = LearnedMessage(message, 2, 2, torch.Generator().manual_seed(1))
    same = torch.ones(3, 4, 2)

    assert torch.allclose(layer(same), same[0])
    layer(torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(2))).square().sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_the_gate_is_its_formula():
    layer = LearnedMessage("gate", 2, 2, torch.Generator().manual_seed(1))
    steps = torch.from_numpy(np.stack(STEPS))

    scores = torch.sigmoid(steps @ layer.weight)[:, 0]
    shares = torch.exp(scores) / torch.exp(scores).sum()
    assert torch.allclose(layer(steps)[0], (shares[:, None] * steps[:, 0]).sum(dim=0))


def test_logistic_regression_is_a_perceptron_of_depth_one():
    layer = ResidualPerceptron(5, 7, 3, 1, 0.5, torch.Generator().manual_seed(0))

    assert [tuple(weight.shape) for weight in layer.parameters()] == [(3, 5), (3,)]


def test_dropout_keeps_sums_and_is_off_when_predicting():
    layer = Dropout(0.3, torch.Generator().manual_seed(0))

    dropped = layer(torch.ones(100_000))

    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(layer.eval()(torch.ones(5)), torch.ones(5))


@pytest.mark.parametrize("kind", ["symmetric", "random_walk"])
def test_derivatives_go_back_through_the_operator(graph, kind):
    csr = normalised(graph, kind)
    matrix = SparseMatrix(csr, symmetric=kind == "symmetric")
    dense = torch.zeros(graph.n, graph.n)
    dense[np.repeat(np.arange(graph.n), np.diff(csr.indptr)), csr.indices.astype(int)] = torch.from_numpy(csr.values)
    x = torch.randn(graph.n, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = x.detach().clone().requires_grad_()

    (matrix @ x).sin().sum().backward()
    (dense @ y).sin().sum().backward()

    assert torch.allclose(x.grad, y.grad, atol=1e-5)


def test_sparse_features_are_the_dense_ones_with_their_derivatives():
    features = np.random.default_rng(0).random((40, 30), dtype=np.float32)
    features[features > 0.1] = 0
    layer, other = torch.nn.Linear(30, 5), torch.nn.Linear(30, 5)
    other.load_state_dict(layer.state_dict())
    sparse = inputs(features)
    assert isinstance(sparse, SparseInputs)
    assert isinstance(inputs(features + 1), DenseInputs)

    one, two = sparse.linear(layer), other(torch.from_numpy(features))
    one.square().sum().backward()
    two.square().sum().backward()

    assert torch.allclose(one, two, atol=1e-6)
    assert torch.allclose(layer.weight.grad, other.weight.grad, atol=1e-5)
    dropped = sparse.dropped(0.5, torch.Generator().manual_seed(0))
    kept = dropped.linear(layer) - layer.bias
    assert not torch.allclose(kept, two - layer.bias)


def test_a_model_that_diverged_is_not_right_about_the_first_class(graph, monkeypatch):
    learner = SgapLearner(Design(), FAST, graph)
    nothing = np.full((graph.n, graph.n_classes), np.nan, np.float32)
    monkeypatch.setattr(learner, "scores", lambda nodes=None: nothing)

    found = learner.step(1)

    assert np.isnan([found["error"], found["loss"]]).all()


@pytest.mark.parametrize("message", MESSAGES)
def test_every_aggregator_learns(graph, message):
    learner = SgapLearner(Design(message=message, steps=2, width=32, dropout=0.2), FAST, graph, seed=1)

    for _ in range(40):
        learner.fit()

    assert learner.accuracy(graph.test) > 0.75


@pytest.mark.parametrize("model", BASELINES)
def test_every_baseline_learns(graph, model):
    learner = baseline(model, graph, FAST, layers=2, width=32, dropout=0.2, seed=1)

    for _ in range(40):
        learner.fit()

    assert learner.accuracy(graph.test) > 0.7


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_baselines_of_any_depth_predict_a_distribution(graph, model, layers):
    learner = FullBatchLearner(Architecture(model, layers), FAST, graph)

    learner.fit()

    assert learner.scores().sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("message", POST_MESSAGES)
def test_predictions_are_propagated_after_training(graph, message):
    plain = SgapLearner(Design(steps=1), FAST, graph, seed=2)
    after = SgapLearner(
        Design(steps=1, post_steps=3, post_operator=Operator("ppr", alpha=0.3), post_message=message),
        FAST,
        graph,
        seed=2,
    )
    for learner in (plain, after):
        learner.fit()

    wanted = aggregate(propagate(normalised(graph, "ppr", alpha=0.3), plain.scores(), 3), message)
    assert after.scores() == pytest.approx(wanted, abs=1e-6)
    assert np.array_equal(after.scores(graph.valid), after.scores()[graph.valid])


def test_propagating_predictions_helps_where_neighbours_agree(graph):
    found = {}
    for name, what in (("v2", V2), ("v3", V3)):
        learner = SgapLearner(Design(steps=1, post_steps=what.post_steps), FAST, graph, seed=3)
        for _ in range(20):
            learner.fit()
        found[name] = learner.accuracy(graph.test)

    assert found["v3"] > found["v2"]


def test_the_named_designs_are_pascas():
    assert (V1.operator, V1.message) == (Operator("ppr", alpha=0.1), "simple")
    assert (V2.operator, V2.message, V2.post_steps) == (Operator("symmetric"), "gate", 0)
    assert (V3.operator, V3.message, V3.post_operator) == (V2.operator, "gate", Operator("ppr", alpha=0.3))
    assert V3.post_steps > 0
    assert design(SgapWorkload.space.default()) == V3


def test_the_first_report_of_a_process_does_not_time_its_warming_up(graph, monkeypatch):
    learner = SgapLearner(V3, FAST, graph, seed=0)
    # Seconds at the beginnings and ends of predictions: four before the first report, one before each other.
    clock = iter([0, 9, 10, 13, 20, 22, 30, 34, 40, 43, 50, 51])
    monkeypatch.setattr("models.gnn.learner.time.perf_counter", lambda: float(next(clock)))

    assert [learner.step(epoch)["inference_ms"] for epoch in (1, 2, 3)] == [2000, 2000, 1000]


def test_memory_counts_what_the_design_looks_at(graph):
    small = SgapLearner(Design(steps=4, message="mean"), FAST, graph)
    large = SgapLearner(Design(steps=4, message="gate"), FAST, graph)

    assert large.stored_bytes - small.stored_bytes == 4 * graph.features.nbytes
    assert small.step(1)["memory_mb"] == small.step(2)["memory_mb"] == small.memory_mb


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "pre_steps: 0; propagate 1 step or more"),
        ({"depth": 0}, "depth 0"),
        ({"post_steps": -1}, "post_steps -1"),
        ({"message": "median"}, "message: 'median' is unknown; known: last, concat"),
        ({"post_message": "gate"}, "post_message: 'gate' is unknown"),
    ],
)
def test_designs_that_cannot_be_are_refused(fields, message):
    with pytest.raises(WorkloadError, match=message):
        Design(**fields)


@pytest.mark.parametrize(
    ("workload", "changed", "message"),
    [
        *((BaselineWorkload, {"model": model, "layers": 0}, "layers: 0 must be 1 or more") for model in BASELINES),
        (BaselineWorkload, {"width": 0}, "width: 0 must be 1 or more"),
        (BaselineWorkload, {"dropout": 1.0}, "dropout: 1.0 must be from 0 to below 1"),
        (BaselineWorkload, {"model": "appnp", "alpha": 2.0}, "alpha: 2.0 must be from 0 to 1"),
        (BaselineWorkload, {"model": "gat"}, "model: 'gat' is unknown; known: gcn, jknet"),
        (SgapWorkload, {"pre_steps": 0}, "pre_steps: 0; propagate 1 step or more"),
        (SgapWorkload, {"dropout": 1.0}, "dropout: 1.0 must be from 0 to below 1"),
        (SgapWorkload, {"post_operator": "cheb"}, "post_operator: 'cheb' is unknown; known: symmetric"),
    ],
)
def test_a_setting_of_a_studys_own_space_that_cannot_be_is_named(workload, changed, message, tmp_path):
    with pytest.raises(WorkloadError, match=f"^{message}"):
        workload().run(
            {**workload.space.default(), **changed},
            Leg(0, 1),
            data={"dataset": "sbm"},
            checkpoint=Checkpoint(tmp_path),
            report=lambda resource, metrics: None,
        )


@pytest.mark.parametrize("workload", [SgapWorkload, BaselineWorkload])
@pytest.mark.parametrize("threads", [0, True, 1.5, "two", 2000])
def test_a_wrong_number_of_threads_is_named(workload, threads, tmp_path):
    with pytest.raises(WorkloadError, match=r"data\.threads: .* must be a whole number from 1"):
        workload().run(
            workload.space.default(),
            Leg(0, 1),
            data={"dataset": "sbm", "threads": threads},
            checkpoint=Checkpoint(tmp_path),
            report=lambda resource, metrics: None,
        )


@pytest.mark.slow
def test_gcn_comes_to_the_literatures_accuracy_on_the_public_split_of_citeseer():
    from models.data.graphs import load

    try:
        citeseer = load("citeseer")
    except WorkloadError as error:
        pytest.skip(f"its files can be had neither from the cache nor from the index: {error}")
    found = []
    for seed in range(3):
        learner = baseline("gcn", citeseer, Training(0.01, 5e-4), layers=2, width=16, seed=seed)
        for _ in range(150):
            learner.fit()
        found.append(learner.accuracy(citeseer.test))

    # 70.3 % (Kipf and Welling, table 2).
    assert np.mean(found) == pytest.approx(0.703, abs=0.015)

"""What every gate promises, and what each does by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from models.moe.assignment import TOLERANCE, balanced_assignment
from models.moe.errors import RoutingError
from models.moe.gates import GATES, Place, create
from models.moe.routing import balance_loss, capacity, queue_choices, z_loss
from tunewright.errors import WorkloadError

WIDTH, VOCABULARY = 8, 40
CAPACITY_GATES = ["switch", "gshard", "topk", "ktop1", "sam", "loss_free"]


def place(n_experts=8, seed=0):
    return Place(WIDTH, n_experts, torch.Generator().manual_seed(seed), torch.arange(1, VOCABULARY + 1))


def tokens(n, seed=1):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(n, WIDTH, generator=random), torch.randint(VOCABULARY, (n,), generator=random)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", GATES)
@given(n=st.integers(1, 70), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_assignments_are_sorted_by_expert_and_within_the_tokens(name, training, n, seed):
    gate = create(name, place(seed=seed)).train(training)

    routing = gate(*tokens(n, seed))

    assert int(routing.counts.sum()) == len(routing.tokens) == len(routing.weights)
    assert len(routing.counts) == 8
    assert 0 <= int(routing.tokens.min()) <= int(routing.tokens.max()) < n
    assert torch.equal(routing.experts, routing.experts.sort().values)
    for expert in range(8):
        mine = routing.experts == expert
        assert routing.positions[mine].tolist() == list(range(int(mine.sum())))
        assert len(set(routing.tokens[mine].tolist())) == int(mine.sum())
    assert torch.isfinite(routing.weights).all()
    assert bool((routing.weights >= 0).all())


@pytest.mark.parametrize("name", GATES)
def test_a_token_s_experts_do_not_depend_on_other_tokens_in_evaluation(name):
    gate = create(name, place()).eval()
    x, ids = tokens(30)

    together, alone = gate(x, ids), gate(x[7:8], ids[7:8])

    mine = together.tokens == 7
    assert torch.equal(together.experts[mine], alone.experts)
    torch.testing.assert_close(together.weights[mine], alone.weights)


@pytest.mark.parametrize("name", [name for name in GATES if name != "hash"])
def test_the_gate_learns_through_its_weights(name):
    gate = create(name, place())
    routing = gate(*tokens(50))

    (routing.weights.square().sum() + routing.auxiliary).backward()

    assert gate.weight.grad is not None
    assert float(gate.weight.grad.abs().max()) > 0


@pytest.mark.parametrize("name", GATES)
def test_noise_comes_from_the_place_s_generator_alone(name):
    routings = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        gate = create(name, place(), {} if name in ("hash", "base") else {"jitter": 0.1})
        routings.append([gate(*tokens(40)) for _ in range(2)])

    for first, second in zip(*routings, strict=True):
        assert torch.equal(first.tokens, second.tokens)
        assert torch.equal(first.weights, second.weights)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", GATES)
def test_all_that_a_gate_makes_lies_where_its_tokens_do(name, training):
    gate = create(name, place(), {} if name in ("hash", "base") else {"jitter": 0.1}).train(training)
    given = tokens(40)

    # Stands for tokens on a device that is not the default one, as on a GPU: what is made without a device goes astray.
    with torch.device("meta"):
        routing = gate(*given)

    for made in (routing.tokens, routing.weights, routing.counts, routing.auxiliary, routing.positions):
        assert made.device == given[0].device


@pytest.mark.parametrize("name", CAPACITY_GATES)
@pytest.mark.parametrize("factor", [0.25, 1.0])
def test_queues_end_at_the_capacity_in_training_and_the_rest_is_dropped(name, factor):
    gate = create(name, place(), {"capacity_factor": factor})
    x, ids = tokens(64)

    routing = gate(x, ids)

    places = math.ceil(gate.k * 64 / 8 * factor)
    assert int(routing.counts.max()) <= places
    without = create(name, place())(x, ids)
    assert routing.dropped == len(without.tokens) - len(routing.tokens)
    assert routing.dropped == int((without.counts - places).clamp(min=0).sum())


def test_second_choices_queue_behind_all_first_choices():
    choices = torch.tensor([[0, 1], [1, 0], [1, 0]])

    routing = queue_choices(choices, torch.ones(3, 2), n_experts=2, places=2)

    assert routing.tokens.tolist() == [0, 1, 1, 2]
    assert routing.experts.tolist() == [0, 0, 1, 1]
    assert routing.dropped == 2


def test_the_capacity_is_an_even_share_times_its_factor_rounded_up():
    assert capacity(10, 4, 1, 1.0) == 3
    assert capacity(10, 4, 2, 1.25) == 7
    assert capacity(1, 64, 1, 0.5) == 1
    assert capacity(10, 4, 1, None) is None


def test_losses_follow_their_formulas():
    gates = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]])

    assert balance_loss(gates, torch.tensor([0, 1])).item() == pytest.approx(3 * (0.55 * 0.5 + 0.35 * 0.5))
    assert balance_loss(torch.full((3, 3), 1 / 3), torch.tensor([0, 1, 2])).item() == pytest.approx(1)
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert z_loss(logits).item() == pytest.approx((math.log(2) ** 2 + (1 + math.log(2)) ** 2) / 2)


def test_switch_weighs_by_the_probability_of_its_one_expert():
    gate = create("switch", place(), {"balance": 0.5})
    x, ids = tokens(20)

    routing = gate(x, ids)

    gates = (x @ gate.weight.T).softmax(-1)
    assert torch.equal(routing.experts, gates.argmax(-1)[routing.tokens])
    torch.testing.assert_close(routing.weights, gates.max(-1).values[routing.tokens])
    torch.testing.assert_close(routing.auxiliary, 0.5 * balance_loss(gates, gates.argmax(-1)))


def test_gshard_takes_light_second_experts_seldom():
    gate = create("gshard", place(2))
    with torch.no_grad():
        gate.weight.zero_()
        gate.weight[0, 0] = 1.0
    x = torch.zeros(4000, WIDTH)
    x[:, 0] = math.log(9)  # gates 0.9 and 0.1

    routing = gate(x)

    assert int(routing.counts[0]) == 4000
    assert int(routing.counts[1]) == pytest.approx(0.2 * 4000, abs=100)
    assert int(gate.eval()(x).counts[1]) == 4000


def test_ktop1_takes_one_expert_of_each_group():
    routing = create("ktop1", place(), {"k": 4})(*tokens(16))

    for token in range(16):
        assert (routing.experts[routing.tokens == token] // 2).tolist() == [0, 1, 2, 3]


def test_sam_stays_inside_the_group_with_the_largest_sum():
    gate = create("sam", place(), {"k": 3, "groups": 2})
    x, ids = tokens(16)

    routing = gate(x, ids)

    groups = (x @ gate.weight.T).softmax(-1).unflatten(1, (2, 4)).sum(-1).argmax(-1)
    assert torch.equal(routing.experts // 4, groups[routing.tokens])


def test_sam_s_alignment_loss_is_what_outsiders_exceed_the_last_insider_by():
    gate = create("sam", place(4), {"k": 2, "groups": 2, "balance": 0.0, "alignment": 1.0})
    gates = torch.tensor([[0.35, 0.20, 0.40, 0.05]])

    routing = gate.route(torch.zeros(1, WIDTH), gates.log(), None)

    assert routing.experts.tolist() == [0, 1]
    assert routing.auxiliary.item() == pytest.approx(0.40 - 0.20)


@given(n=st.integers(1, 60), n_experts=st.integers(1, 9), seed=st.integers(0, 999))
@settings(max_examples=60)
def test_the_auction_is_balanced_and_near_the_best_assignment(n, n_experts, seed):
    scores = np.random.default_rng(seed).normal(size=(n, n_experts)).astype(np.float32)

    found = balanced_assignment(scores)

    places = [n // n_experts + (expert < n % n_experts) for expert in range(n_experts)]
    assert np.bincount(found, minlength=n_experts).tolist() == places
    slots = np.repeat(np.arange(n_experts), places)
    rows, columns = linear_sum_assignment(scores[:, slots], maximize=True)
    best = scores[rows, slots[columns]].sum()
    assert scores[np.arange(n), found].sum() >= best - n * TOLERANCE * np.ptp(scores) - 1e-3


def test_the_auction_ends_when_all_tokens_want_the_same():
    scores = np.tile(np.array([5.0, 1.0, 1.0, 0.0], dtype=np.float32), (200, 1))

    assert np.bincount(balanced_assignment(scores)).tolist() == [50, 50, 50, 50]
    assert np.bincount(balanced_assignment(np.zeros((9, 4), dtype=np.float32))).tolist() == [3, 2, 2, 2]


@pytest.mark.parametrize("by", ["balanced", "random"])
def test_hash_sends_equal_ids_to_equal_experts(by):
    gate = create("hash", place(), {"by": by})
    ids = torch.arange(VOCABULARY).repeat(2)

    routing = gate(torch.zeros(2 * VOCABULARY, WIDTH), ids)

    experts = torch.empty_like(ids)
    experts[routing.tokens] = routing.experts
    assert torch.equal(experts[:VOCABULARY], experts[VOCABULARY:])


def test_the_balanced_hash_spreads_occurrences():
    table = create("hash", place()).table
    loads = torch.zeros(8).index_add_(0, table, torch.arange(1.0, VOCABULARY + 1))

    assert float(loads.max() / loads.min()) < 1.1


def test_loss_free_raises_the_bias_of_idle_experts_and_does_not_weigh_by_it():
    gate = create("loss_free", place(4), {"k": 1, "rate": 0.5})
    with torch.no_grad():
        gate.weight.zero_()
        gate.weight[2, 0] = 1.0
    x = torch.ones(10, WIDTH)

    first, second = gate(x), gate(x)

    assert first.counts.tolist() == [0, 0, 10, 0]
    assert int(second.counts[2]) == 0
    assert second.weights.unique().tolist() == [0.5]


def test_experts_choose_their_best_tokens_and_all_the_same_number():
    gate = create("expert_choice", place(), {"k": 2, "capacity_factor": 0.5})
    x, ids = tokens(64)

    routing = gate(x, ids)

    assert routing.counts.tolist() == [8] * 8
    gates = (x @ gate.weight.T).softmax(-1)
    assert set(routing.tokens[:8].tolist()) == set(gates[:, 0].topk(8).indices.tolist())


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_dense_to_sparse_starts_with_all_experts_and_ends_with_one(schedule):
    gate = create("dense_to_sparse", place(), {"horizon": 50, "schedule": schedule, "end": 0.01})
    x, ids = tokens(64)

    temperatures, active = [], []
    for _ in range(51):
        temperatures.append(gate.temperature)
        active.append(len(gate(x, ids).tokens) / 64)

    assert temperatures[0] == pytest.approx(2.0)
    assert temperatures[-1] == pytest.approx(0.01)
    assert temperatures == sorted(temperatures, reverse=True)
    assert active[0] == 8
    assert 1 < active[45] < 4
    assert active[-1] == 1


def test_dense_to_sparse_is_top_1_in_evaluation_and_takes_all_above_its_threshold_in_training():
    gate = create("dense_to_sparse", place(), {"threshold": 0.2, "horizon": 5})
    x, ids = tokens(64)

    dense = gate(x, ids)

    assert float(dense.weights.detach().min()) > 0.2
    torch.testing.assert_close(torch.zeros(64).index_add_(0, dense.tokens, dense.weights), torch.ones(64))
    assert torch.equal(gate.eval()(x, ids).tokens.sort().values, torch.arange(64))


def test_dense_to_sparse_drops_by_capacity_only_after_its_schedule():
    gate = create("dense_to_sparse", place(), {"horizon": 1, "capacity_factor": 0.5})
    x, ids = tokens(64)

    dense, sparse = gate(x, ids), gate(x, ids)

    assert dense.dropped == 0
    assert len(dense.tokens) == 512
    assert int(sparse.counts.max()) <= 4


@pytest.mark.parametrize("name", GATES)
def test_one_token_and_one_expert_are_enough(name):
    one = (
        create(name, place(1), {"k": 1} if name in ("topk", "ktop1", "expert_choice", "loss_free") else {})
        if (name not in ("gshard", "sam"))
        else create(name, place(2), {"k": 1, "groups": 1} if name == "sam" else {})
    )

    assert int(one(*tokens(1)).counts.sum()) >= 1


def test_logits_that_are_not_finite_are_an_error_that_says_so():
    gate = create("switch", place())
    x, ids = tokens(4)
    x[2, 3] = math.nan

    with pytest.raises(RoutingError, match=r"logits are not finite: .* lower the learning rate"):
        gate(x, ids)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("nope", {}, r"gate: 'nope' is unknown; known: switch, .*"),
        ("topk", {"k": 9}, r"k: 9 experts per token, but there are 8"),
        ("topk", {"k": 0}, r"k: 0 experts per token"),
        ("switch", {"capacity_factor": 0}, r"capacity_factor: 0 leaves experts without a place"),
        ("switch", {"capacity_factor": math.nan}, r"capacity_factor: nan"),
        ("ktop1", {"k": 3}, r"k: 8 experts cannot be split into 3 equal groups"),
        ("sam", {"groups": 3}, r"groups: 8 experts cannot be split into 3"),
        ("sam", {"groups": 4, "k": 3}, r"k: 3 experts per token, but a group has 2"),
        ("dense_to_sparse", {"start": 0.1, "end": 0.3}, r"end: temperature 0.3 must be above 0 and at most start"),
        ("dense_to_sparse", {"threshold": 1.0}, r"threshold \(1.0\) from 0 to below 1"),
        ("dense_to_sparse", {"schedule": "cosine"}, r"schedule 'cosine'.* linear or exponential"),
        ("hash", {"by": "name"}, r"by: 'name' is unknown"),
        ("switch", {"colour": 1}, r"gate switch: .*colour"),
    ],
)
def test_wrong_settings_are_named(name, wrong, message):
    with pytest.raises(WorkloadError, match=message):
        create(name, place(), wrong)


def test_the_hash_gate_names_what_it_misses():
    with pytest.raises(WorkloadError, match="hash needs the frequencies"):
        create("hash", Place(WIDTH, 4, torch.Generator()))
    gate = create("hash", place())
    with pytest.raises(RoutingError, match="give ids"):
        gate(torch.zeros(2, WIDTH))
    with pytest.raises(RoutingError, match="ids go to 40, but the hash table has 40"):
        gate(torch.zeros(1, WIDTH), torch.tensor([VOCABULARY]))


def test_an_empty_batch_is_refused():
    with pytest.raises(RoutingError, match="no tokens"):
        create("switch", place())(torch.zeros(0, WIDTH))

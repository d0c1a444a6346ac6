"""Sorted execution equals the one-hot dispatch, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.moe.execution import ACTIVATIONS, einsum_experts, sorted_experts
from models.moe.gates import GATES, Place, create
from models.moe.layer import Experts, MoE, diversify
from models.moe.routing import queue_up
from tunewright.errors import WorkloadError


def gradients(execute, x, routing_of, experts):
    inputs = [x.clone().requires_grad_(), *(w.detach().clone().requires_grad_() for w in (experts.up, experts.down))]
    weights, routing = routing_of()
    output = execute(inputs[0], routing, inputs[1], inputs[2], experts.activation)
    found = torch.autograd.grad(output.sin().sum(), [*inputs, weights], materialize_grads=True)
    return output, *found


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(data=st.data())
@settings(max_examples=25)
def test_sorted_and_einsum_give_the_same_results_and_gradients(activation, data):
    n_tokens, n_experts = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 6))
    n = data.draw(st.integers(0, 40))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    places = data.draw(st.none() | st.integers(1, 5))
    # Every token at most once per expert, as gates give them.
    pairs = torch.randperm(n_tokens * n_experts, generator=random)[:n]
    x = torch.randn(n_tokens, 5, generator=random, dtype=torch.float64)
    experts = Experts(n_experts, 5, 7, activation, random).double()
    values = torch.rand(len(pairs), generator=random, dtype=torch.float64)

    def routing_of():
        weights = values.clone().requires_grad_()
        routing = queue_up(pairs // n_experts, pairs % n_experts, weights, n_experts=n_experts, places=places)
        return weights, routing

    ours, reference = (gradients(execute, x, routing_of, experts) for execute in (sorted_experts, einsum_experts))

    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_finite_differences(activation):
    random = torch.Generator().manual_seed(3)
    experts = Experts(3, 4, 5, activation, random).double()
    x = torch.randn(6, 4, generator=random, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(6, generator=random, dtype=torch.float64, requires_grad=True)

    def execute(x, weights, up, down):
        routing = queue_up(torch.arange(6), torch.tensor([0, 2, 2, 0, 2, 0]), weights, n_experts=3)
        return sorted_experts(x, routing, up, down, activation)

    assert torch.autograd.gradcheck(execute, (x, weights, experts.up, experts.down))


@pytest.mark.parametrize("name", GATES)
def test_a_layer_gives_the_same_by_either_execution(name):
    found = []
    for execution in ("sorted", "einsum"):
        random = torch.Generator().manual_seed(5)
        place = Place(8, 4, random, torch.ones(10))
        layer = MoE(create(name, place), Experts(4, 8, 16, "gelu", random), execution)
        x = torch.randn(33, 8, generator=random, requires_grad=True)
        y = layer(x, torch.randint(10, (33,), generator=random))
        (y.square().mean() + layer.routing.auxiliary).backward()
        grads = [p.grad for p in layer.parameters() if p.grad is not None]
        found.append([y, x.grad, *grads])

    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_tokens_without_an_expert_come_out_as_zero_and_idle_experts_get_no_gradient():
    random = torch.Generator().manual_seed(1)
    experts = Experts(3, 4, 5, "relu", random)
    routing = queue_up(torch.tensor([1]), torch.tensor([2]), torch.ones(1), n_experts=3)

    y = sorted_experts(torch.ones(3, 4), routing, experts.up, experts.down, "relu")
    y.sum().backward()

    assert y[[0, 2]].abs().sum().item() == 0
    assert experts.up.grad[:2].abs().sum().item() == 0
    assert experts.down.grad[2].abs().sum().item() > 0


def test_diversify_copies_the_first_expert_under_masks_of_their_own():
    random = torch.Generator().manual_seed(1)
    experts = Experts(4, 32, 64, "gelu", random)
    first = experts.up[0].clone()

    diversify(experts, 0.25, random)

    for expert in range(4):
        kept = experts.up[expert] != 0
        assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.05)
        assert torch.equal(experts.up[expert][kept], first[kept])
    assert not torch.equal(experts.up[0], experts.up[1])
    with pytest.raises(WorkloadError, match="mask_share: 1"):
        diversify(experts, 1, random)


def test_unknown_names_are_refused_with_the_known_ones():
    random = torch.Generator()
    with pytest.raises(WorkloadError, match=r"activation: 'tanh' is unknown; known: relu, gelu, swiglu"):
        Experts(2, 4, 4, "tanh", random)
    with pytest.raises(WorkloadError, match=r"execution: 'magic' is unknown; known: sorted, einsum, triton"):
        MoE(create("switch", Place(4, 2, random)), Experts(2, 4, 4, "relu", random), "magic")

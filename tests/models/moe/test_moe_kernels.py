"""Triton's kernels equal PyTorch's primitives; in Triton's interpreter where there is no GPU."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="Triton is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from models.moe import kernels
from models.moe.execution import PYTORCH, sorted_experts, triton_experts
from models.moe.gates import Place, create
from models.moe.layer import Experts

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@given(st.data())
@settings(max_examples=15)
def test_layout_transforms_and_grouped_products_equal_pytorch_s(data):
    seed = data.draw(st.integers(0, 99))
    counts = data.draw(st.lists(st.sampled_from([0, 1, 5, 33, 64]), min_size=1, max_size=4))
    m, n = data.draw(st.sampled_from([1, 7, 65])), data.draw(st.sampled_from([3, 64, 70]))
    rows, right = random(sum(counts), m, seed=seed), random(sum(counts), n, seed=seed + 1)
    matrices = random(len(counts), n, m, seed=seed + 2).transpose(1, 2)
    indices = torch.randint(9, (sum(counts),), generator=torch.Generator().manual_seed(seed)).to(DEVICE)

    pairs = [
        (kernels.product(rows, matrices, counts), PYTORCH.product(rows, matrices, counts)),
        (kernels.outer(rows, right, counts), PYTORCH.outer(rows, right, counts)),
        (kernels.combine(rows, indices, 9), PYTORCH.combine(rows, indices, 9)),
        (kernels.gather(random(9, m, seed=seed), indices), PYTORCH.gather(random(9, m, seed=seed), indices)),
    ]

    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.mem_get_info()[0] < 16 << 30, reason="needs a GPU with 16 GiB free"
)
def test_results_of_more_than_two_to_the_31_numbers_are_whole():
    width, count = 1 << 16, (1 << 15) + 2
    rows = torch.arange(2 * width, device=DEVICE, dtype=torch.bfloat16).view(2, width)
    indices = torch.arange(count, device=DEVICE) % 2
    left = torch.ones(1, 1 << 15, device=DEVICE, dtype=torch.bfloat16)

    gathered = kernels.gather(rows, indices)
    products = kernels.outer(left, rows[:1], [0, 1])

    assert torch.equal(gathered[-2:], rows)
    assert torch.equal(products[1, -1], rows[0])


@pytest.mark.parametrize(("n_experts", "k"), [(5, 1), (8, 2), (33, 4)])
def test_gating_takes_the_k_largest_of_the_softmax(n_experts, k):
    logits = random(20, n_experts, seed=1)

    weights, choices = kernels.top_k(logits, k)

    expected = logits.softmax(-1).topk(k)
    torch.testing.assert_close(weights, expected.values)
    assert torch.equal(choices, expected.indices)


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_experts_by_triton_give_the_same_results_and_gradients(activation):
    found = []
    for execute in (sorted_experts, triton_experts):
        generator = torch.Generator().manual_seed(2)
        gate = create("topk", Place(12, 4, generator))
        experts = Experts(4, 12, 20, activation, generator).to(DEVICE)
        x = torch.randn(40, 12, generator=generator, requires_grad=True)
        routing = gate(x)
        y = execute(x, routing, experts.up, experts.down, activation)
        y.square().sum().backward()
        found.append([y, x.grad, gate.weight.grad, experts.up.grad, experts.down.grad])

    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

"""Carrying out a routing: each token through its experts' feed-forward networks, and back, weighted.

`sorted_experts` moves tokens once and multiplies exactly what was routed; `einsum_experts` is the one-hot dispatch of
GShard, kept as the reference and as the baseline of `benchmarks.moe_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.moe.routing import Routing
from tunewright.errors import WorkloadError


@dataclass(frozen=True)
class Activation:
    """Between an expert's two matrix products.

    Attributes:
        apply: hidden rows (A, f * factor) to (A, f).
        backward: (gradient of the output, hidden rows) to the gradient of the hidden rows.
        factor: 2 for gated activations, whose hidden rows are [gate, up].
    """

    apply: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    factor: int = 1


def _swiglu(hidden: Tensor) -> Tensor:
    gate, up = hidden.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up) if not hidden.requires_grad else functional.silu(gate) * up


def _swiglu_backward(gradient: Tensor, hidden: Tensor) -> Tensor:
    gate, up = hidden.chunk(2, dim=-1)
    found = torch.empty_like(hidden)
    by_gate, by_up = found.chunk(2, dim=-1)
    torch.mul(gradient, functional.silu(gate), out=by_up)
    by_gate.copy_(torch.ops.aten.silu_backward(gradient * up, gate))
    return found


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(functional.relu, lambda gradient, hidden: gradient * (hidden > 0)),
    "gelu": Activation(functional.gelu, lambda gradient, hidden: torch.ops.aten.gelu_backward(gradient, hidden)),
    "swiglu": Activation(_swiglu, _swiglu_backward, factor=2),
}


@dataclass(frozen=True)
class Primitives:
    """What sorted execution is made of; PyTorch's are the oracle of those in `models.moe.kernels`.

    Attributes:
        gather: rows (T, d), indices (A,) to (A, d).
        combine: rows (A, d), indices (A,), number of results T to (T, d), sums of rows with equal index.
        product: as `grouped_product`.
        outer: as `grouped_outer`.
    """

    gather: Callable[[Tensor, Tensor], Tensor]
    combine: Callable[[Tensor, Tensor, int], Tensor]
    product: Callable[[Tensor, Tensor, list[int]], Tensor]
    outer: Callable[[Tensor, Tensor, list[int]], Tensor]


def sorted_experts(x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: str) -> Tensor:
    """Sum over a token's assignments of weight * down @ activation(up @ x).

    Rows are gathered by expert, one matrix product per expert runs on its slice, results are added back: no padding,
    and no work for what was not routed. Backward gathers and activates again rather than keeping the rows.

    Args:
        x: (T, d).
        up: (E, f * factor, d).
        down: (E, d, f).
        activation: a name in ACTIVATIONS.
    Returns:
        (T, d); rows of tokens without an expert are 0.
    """
    return execute_sorted(x, routing, up, down, activation, PYTORCH)


def execute_sorted(
    x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: str, primitives: Primitives
) -> Tensor:
    """As `sorted_experts`, by the primitives given."""
    counts: list[int] = routing.counts.tolist()
    result: Tensor = _SortedExperts.apply(  # type: ignore[no-untyped-call]
        x, routing.weights, up, down, routing.tokens, counts, ACTIVATIONS[activation], primitives
    )
    return result


class _SortedExperts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        up: Tensor,
        down: Tensor,
        tokens: Tensor,
        counts: list[int],
        activation: Activation,
        primitives: Primitives,
    ) -> Tensor:
        rows = primitives.gather(x, tokens)
        hidden = primitives.product(rows, up.transpose(1, 2), counts)
        outputs = primitives.product(activation.apply(hidden), down.transpose(1, 2), counts)
        ctx.save_for_backward(x, weights, up, down, tokens, hidden, outputs)
        ctx.counts, ctx.activation, ctx.primitives = counts, activation, primitives
        return primitives.combine(outputs * weights[:, None], tokens, len(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, up, down, tokens, hidden, outputs = ctx.saved_tensors
        counts, primitives = ctx.counts, ctx.primitives
        by_output = primitives.gather(gradients[0].contiguous(), tokens)
        by_weight = torch.linalg.vecdot(by_output, outputs)
        by_output *= weights[:, None]
        by_down = primitives.outer(by_output, ctx.activation.apply(hidden), counts)
        by_hidden = ctx.activation.backward(primitives.product(by_output, down, counts), hidden)
        by_up = primitives.outer(by_hidden, primitives.gather(x, tokens), counts)
        by_x = primitives.combine(primitives.product(by_hidden, up, counts), tokens, len(x))
        return by_x, by_weight, by_up, by_down, None, None, None, None


def grouped_product(rows: Tensor, matrices: Tensor, counts: list[int]) -> Tensor:
    """Multiply each group of rows by its own matrix.

    Args:
        rows: (A, m), sorted by group.
        matrices: (E, m, n).
        counts: rows of each group.
    Returns:
        (A, n).
    """
    result = rows.new_empty(len(rows), matrices.shape[2])
    # Views made all at once: slicing one by one takes longer than a small product.
    views = zip(torch.split(rows, counts), matrices.unbind(0), torch.split(result, counts), strict=True)
    for group, matrix, place in views:
        if len(group):
            torch.mm(group, matrix, out=place)
    return result


def grouped_outer(left: Tensor, right: Tensor, counts: list[int]) -> Tensor:
    """left^T @ right of each group's rows; 0 where a group has no rows.

    Args:
        left: (A, m). right: (A, n).
    Returns:
        (E, m, n).
    """
    result = left.new_empty(len(counts), left.shape[1], right.shape[1])
    views = zip(torch.split(left.t(), counts, dim=1), torch.split(right, counts), result.unbind(0), strict=True)
    for transposed, group, place in views:
        if len(group):
            torch.mm(transposed, group, out=place)
        else:
            place.zero_()
    return result


PYTORCH = Primitives(
    gather=lambda rows, indices: rows.index_select(0, indices),
    combine=lambda rows, indices, n: rows.new_zeros(n, rows.shape[1]).index_add_(0, indices, rows),
    product=grouped_product,
    outer=grouped_outer,
)


def einsum_experts(x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: str) -> Tensor:
    """The same by one-hot dispatch: a (T, E, C) tensor moves the tokens, O(T * E * C * d) work for moving alone.

    Arguments and result as in `sorted_experts`. C is the longest queue.
    """
    n_tokens, n_experts = len(x), len(up)
    places = max(1, int(routing.counts.max()))
    where = (routing.tokens, routing.experts, routing.positions)
    combine = x.new_zeros(n_tokens, n_experts, places).index_put(where, routing.weights)
    dispatch = x.new_zeros(n_tokens, n_experts, places).index_put(where, torch.ones_like(routing.weights))
    rows = torch.einsum("tec,td->ecd", dispatch, x)
    hidden = ACTIVATIONS[activation].apply(torch.einsum("ecd,efd->ecf", rows, up))
    return torch.einsum("tec,ecd->td", combine, torch.einsum("ecf,edf->ecd", hidden, down))


def triton_experts(x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: str) -> Tensor:
    """As `sorted_experts`, by Triton's kernels: for CUDA devices.

    Raises:
        WorkloadError: Triton is not installed.
    """
    try:
        from models.moe.kernels import TRITON
    except ImportError as error:
        raise WorkloadError('execution: "triton" needs the package triton; install it, or take "sorted"') from error
    return execute_sorted(x, routing, up, down, activation, TRITON)


Execution = Callable[[Tensor, Routing, Tensor, Tensor, str], Tensor]
EXECUTIONS: Mapping[str, Execution] = {"sorted": sorted_experts, "einsum": einsum_experts, "triton": triton_experts}

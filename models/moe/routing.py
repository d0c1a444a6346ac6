"""What a gate decides: which token goes to which expert with which weight; and how queues before experts fill up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tunewright.errors import WorkloadError


@dataclass(frozen=True)
class Routing:
    """Assignments of tokens to experts, sorted by expert and, within one, by place in its queue.

    Attributes:
        tokens: (A,) int64, the token of each assignment; a token may have none, or several.
        weights: (A,), by which the expert's output is multiplied; the gate's gradient flows through it.
        counts: (E,) int64, assignments of each expert; adds up to A.
        dropped: how many assignments found their expert's queue full.
        auxiliary: scalar to add to the loss: the gate's own balance, alignment and z-losses, weighted.
    """

    tokens: Tensor
    weights: Tensor
    counts: Tensor
    dropped: int
    auxiliary: Tensor

    @property
    def experts(self) -> Tensor:
        """(A,) int64, the expert of each assignment; does not decrease."""
        return torch.repeat_interleave(self.counts)

    @property
    def positions(self) -> Tensor:
        """(A,) int64, each assignment's place in its expert's queue, from 0."""
        starts = self.counts.cumsum(0) - self.counts
        return torch.arange(len(self.tokens), device=self.tokens.device) - starts.repeat_interleave(self.counts)


def capacity(n_tokens: int, n_experts: int, k: int, factor: float | None) -> int | None:
    """Places in an expert's queue: ceil(k * tokens / experts * factor); None, without end, where there is no factor.

    Raises:
        WorkloadError: the factor is not positive.
    """
    if factor is None:
        return None
    if not factor > 0:
        raise WorkloadError(f"capacity_factor: {factor} leaves experts without a place; it must be above 0, or None")
    return max(1, math.ceil(k * n_tokens / n_experts * factor))


def queue_up(
    tokens: Tensor,
    experts: Tensor,
    weights: Tensor,
    *,
    n_experts: int,
    places: int | None = None,
    auxiliary: Tensor | None = None,
) -> Routing:
    """Put assignments into their experts' queues in the order given, and drop those that find no place.

    Args:
        tokens, experts: (A,) int64, in order of precedence: all first choices, then all second choices, ...
        weights: (A,).
        places: in each queue; None: no end.
        auxiliary: scalar; 0 where there is none.
    """
    order = _by_expert(experts)
    counts = torch.bincount(experts, minlength=n_experts)
    dropped = 0
    if places is not None:
        full = counts.clamp(max=places)
        dropped = int((counts - full).sum())
        if dropped:
            starts = counts.cumsum(0) - counts
            position = torch.arange(len(order), device=order.device) - starts.repeat_interleave(counts)
            order, counts = order[position < places], full
    return Routing(
        tokens=tokens.index_select(0, order),
        weights=weights.index_select(0, order),
        counts=counts,
        dropped=dropped,
        auxiliary=weights.new_zeros(()) if auxiliary is None else auxiliary,
    )


def queue_choices(
    choices: Tensor, weights: Tensor, *, n_experts: int, places: int | None = None, auxiliary: Tensor | None = None
) -> Routing:
    """Queue k choices of every token; second choices queue behind all first choices.

    Args:
        choices, weights: (T, k).
    """
    n_tokens, k = choices.shape
    tokens = torch.arange(n_tokens, device=choices.device).repeat(k)
    return queue_up(
        tokens, choices.T.flatten(), weights.T.flatten(), n_experts=n_experts, places=places, auxiliary=auxiliary
    )


def balance_loss(gates: Tensor, choices: Tensor) -> Tensor:
    """E * sum over experts of (mean gate) * (share of choices): 1 where both are uniform (Switch, equation 4).

    Args:
        gates: (T, E), each row a distribution.
        choices: (T,) or (T, k) int64.
    """
    n_experts = gates.shape[1]
    share = torch.bincount(choices.flatten(), minlength=n_experts).to(gates.dtype) / choices.numel()
    return n_experts * torch.dot(gates.mean(0), share)


def z_loss(logits: Tensor) -> Tensor:
    """Mean squared log-partition of logits (T, E), which keeps them small (ST-MoE, equation 5)."""
    return torch.logsumexp(logits, dim=-1).square().mean()


def _by_expert(experts: Tensor) -> Tensor:
    """Stable order by expert. Numpy sorts 16-bit integers by counting, in linear time."""
    if experts.is_cuda:
        return torch.argsort(experts, stable=True)
    return torch.from_numpy(np.argsort(experts.numpy().astype(np.int16), kind="stable"))

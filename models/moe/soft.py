"""Soft mixture of experts: experts see mixed tokens, so that everything is differentiable and no load is uneven."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.moe.errors import RoutingError
from models.moe.execution import ACTIVATIONS
from models.moe.gates import Place
from models.moe.layer import Experts, Load
from tunewright.errors import WorkloadError


class SoftMoE(nn.Module):
    """Each slot of each expert takes a weighted mean of a group's tokens; each token a weighted mean of what comes out
    (Puigcerver et al. 2024, equations 1 to 3, with normalised logits as in section 2.3).

    A token's result hangs on its whole group. A causal model takes tokens of one position together, each of another
    text (Antoniak et al. 2023). In a group of its own a token goes through every slot.

    Args:
        slots: of each expert; a group costs as much as E * slots tokens of one expert.
    Raises:
        WorkloadError: slots are fewer than 1.
    """

    def __init__(self, place: Place, experts: Experts, *, slots: int = 1) -> None:
        super().__init__()
        if slots < 1:
            raise WorkloadError(f"slots: {slots}; an expert needs at least 1")
        self.experts = experts
        shape = (place.n_experts * slots, place.width)
        self.slots = nn.Parameter(torch.randn(shape, generator=place.random) / math.sqrt(place.width))
        self.scale = nn.Parameter(torch.ones(()))
        self.load: Load | None = None

    @property
    def gate_flops(self) -> int:
        """Of one token, forward: its logits, its part of every slot, and every slot's part of it."""
        return 3 * 2 * self.slots.numel()

    def forward(self, x: Tensor) -> Tensor:
        """(G, n, d) for G groups of n tokens.

        Raises:
            RoutingError: logits are not finite.
        """
        logits = functional.normalize(x, dim=-1) @ (self.scale * functional.normalize(self.slots, dim=-1)).T
        if not torch.isfinite(logits.detach().sum()):
            raise RoutingError("a soft mixture's logits are not finite: training has diverged; lower the learning rate")
        groups, n_experts = len(x), len(self.experts.up)
        mixed = torch.einsum("gns,gnd->sgd", logits.softmax(1), x)
        rows = mixed.reshape(n_experts, -1, x.shape[2])
        hidden = ACTIVATIONS[self.experts.activation].apply(torch.bmm(rows, self.experts.up.transpose(1, 2)))
        made = torch.bmm(hidden, self.experts.down.transpose(1, 2)).view(len(self.slots), groups, x.shape[2])
        self.load = Load(assigned=groups * len(self.slots), dropped=0, imbalance=1.0, auxiliary=x.new_zeros(()))
        return torch.einsum("gns,sgd->gnd", logits.softmax(2), made)

"""The layer: a gate, its experts, and the execution that brings tokens to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.moe.execution import ACTIVATIONS, EXECUTIONS
from models.moe.gates import Gate
from models.moe.routing import Routing
from tunewright.errors import WorkloadError


@dataclass(frozen=True)
class Load:
    """What a layer did with its last batch.

    Attributes:
        assigned: rows that went through experts.
        dropped: assignments that found no place.
        imbalance: largest load of an expert over the mean.
        auxiliary: scalar to add to the loss.
    """

    assigned: int
    dropped: int
    imbalance: float
    auxiliary: Tensor


class Experts(nn.Module):
    """Feed-forward networks of one shape, without biases.

    Attributes:
        up: (E, f * factor, d), factor 2 for gated activations.
        down: (E, d, f).
    """

    def __init__(self, n_experts: int, width: int, hidden: int, activation: str, random: torch.Generator) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise WorkloadError(f"activation: {activation!r} is unknown; known: {', '.join(ACTIVATIONS)}")
        self.activation = activation
        rows = hidden * ACTIVATIONS[activation].factor
        self.up = nn.Parameter(torch.randn(n_experts, rows, width, generator=random) * width**-0.5)
        self.down = nn.Parameter(torch.randn(n_experts, width, hidden, generator=random) * hidden**-0.5)

    @property
    def flops(self) -> int:
        """Floating point operations of one assignment, forward: a multiplication and an addition per weight."""
        return 2 * (self.up[0].numel() + self.down[0].numel())


class MoE(nn.Module):
    """Tokens through a gate's choice of experts.

    Args:
        execution: "sorted", or "einsum" to check against.
    Attributes:
        routing: of the last batch.
    """

    def __init__(self, gate: Gate, experts: Experts, execution: str = "sorted") -> None:
        super().__init__()
        if execution not in EXECUTIONS:
            raise WorkloadError(f"execution: {execution!r} is unknown; known: {', '.join(EXECUTIONS)}")
        self.gate, self.experts = gate, experts
        self.routing: Routing | None = None
        self._execute = EXECUTIONS[execution]

    @property
    def load(self) -> Load | None:
        """None before the first batch."""
        found = self.routing
        if found is None:
            return None
        counts = found.counts.double()
        return Load(len(found.tokens), found.dropped, float(counts.max() / counts.mean()), found.auxiliary)

    @property
    def gate_flops(self) -> int:
        """Floating point operations of the gate for one token, forward."""
        return 2 * self.gate.weight.numel()

    def forward(self, x: Tensor, ids: Tensor | None = None) -> Tensor:
        """(T, d) for tokens (T, d) with ids (T,); 0 for tokens that were dropped, which their residual carries."""
        self.routing = self.gate(x, ids)
        return self._execute(x, self.routing, self.experts.up, self.experts.down, self.experts.activation)


def diversify(experts: Experts, share: float, random: torch.Generator) -> None:
    """Make all experts copies of the first, each with its own random part of the weights set to 0 (EvoMoE, 3.2).

    Training starts with one expert for all tokens; this is what spawns the others from it.

    Args:
        share: of weights to mask, from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise WorkloadError(f"mask_share: {share} must be from 0 to below 1")
    with torch.no_grad():
        for weights in (experts.up, experts.down):
            kept = torch.rand(weights.shape, generator=random) >= share
            weights.copy_(weights[:1].clone() * kept)

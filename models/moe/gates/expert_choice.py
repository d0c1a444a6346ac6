"""Experts choose tokens (Zhou et al. 2022): perfectly balanced, and not causal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.moe.gates.base import Gate, Place
from models.moe.routing import Routing, queue_choices, queue_up


class ExpertChoice(Gate):
    """Each expert takes the k * T / E * capacity_factor tokens whose gates for it are largest.

    That looks at the whole batch, later tokens too. So in evaluation each token takes its k best experts itself:
    a language model's validation loss stays honest.
    """

    def __init__(self, place: Place, *, k: int = 2, capacity_factor: float = 1.0, **shared: Any) -> None:
        super().__init__(place, k=k, **{"balance": 0.0, **shared}, capacity_factor=capacity_factor)

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        gates = logits.softmax(-1)
        auxiliary = self.auxiliary(logits, logits.new_zeros(()))
        places = self.places(len(x))
        if places is None:
            weights, choices = gates.topk(self.k, dim=-1)
            return queue_choices(choices, weights, n_experts=self.n_experts, auxiliary=auxiliary)
        taken = min(places, len(x))
        weights, tokens = gates.T.topk(taken, dim=-1)
        experts = torch.arange(self.n_experts, device=x.device).repeat_interleave(taken)
        return queue_up(tokens.flatten(), experts, weights.flatten(), n_experts=self.n_experts, auxiliary=auxiliary)

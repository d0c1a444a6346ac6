"""Gates in which each token chooses its experts by a softmax over logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.moe.gates.base import Gate, Place
from models.moe.routing import Routing, balance_loss, queue_choices, queue_up
from tunewright.errors import WorkloadError


class TopK(Gate):
    """The k experts of the largest gates.

    Args:
        normalise: whether a token's k weights are scaled to add up to 1 (Mixtral) or stay as they are (Qwen).
    """

    def __init__(self, place: Place, *, k: int = 2, normalise: bool = True, **shared: Any) -> None:
        super().__init__(place, k=k, **shared)
        self.normalise = normalise

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        gates = logits.softmax(-1)
        weights, choices = gates.topk(self.k, dim=-1)
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        auxiliary = self.auxiliary(logits, balance_loss(gates, choices))
        places = self.places(len(x))
        return queue_choices(choices, weights, n_experts=self.n_experts, places=places, auxiliary=auxiliary)


class Switch(TopK):
    """The one expert of the largest gate, weighted by it (Switch Transformers, section 2.1)."""

    def __init__(self, place: Place, **shared: Any) -> None:
        super().__init__(place, k=1, normalise=False, **shared)


class GShard(Gate):
    """Two experts; in training the second is taken at random, in proportion to its weight (GShard, algorithm 1)."""

    def __init__(self, place: Place, **shared: Any) -> None:
        super().__init__(place, k=2, **shared)

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        gates = logits.softmax(-1)
        best, choices = gates.topk(2, dim=-1)
        weights = best / best.sum(-1, keepdim=True)
        tokens = torch.arange(len(x), device=x.device).repeat(2)
        experts, weights = choices.T.flatten(), weights.T.flatten()
        if self.training:
            drawn = self.room(weights[: len(x)]).uniform_(generator=self.random).to(x.device)
            second = 2 * weights[len(x) :].detach() > drawn
            taken = torch.cat([torch.ones_like(second), second])
            tokens, experts, weights = tokens[taken], experts[taken], weights[taken]
        auxiliary = self.auxiliary(logits, balance_loss(gates, choices[:, 0]))
        places = self.places(len(x))
        return queue_up(tokens, experts, weights, n_experts=self.n_experts, places=places, auxiliary=auxiliary)


class KTop1(Gate):
    """Experts in k groups; a token takes the best of each, by a softmax inside it (M6-T, expert prototyping)."""

    def __init__(self, place: Place, *, k: int = 2, **shared: Any) -> None:
        super().__init__(place, k=k, **shared)
        _divides("k", k, place.n_experts)

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        size = self.n_experts // self.k
        gates = logits.view(-1, self.k, size).softmax(-1)
        weights, inside = gates.max(-1)
        balance = torch.stack([balance_loss(gates[:, group], inside[:, group]) for group in range(self.k)]).mean()
        choices = inside + size * torch.arange(self.k, device=x.device)
        auxiliary = self.auxiliary(logits, balance)
        places = self.places(len(x))
        return queue_choices(choices, weights, n_experts=self.n_experts, places=places, auxiliary=auxiliary)


class SAM(Gate):
    """Switch and mixture: the group with the largest summed gate, then the k best experts inside it (HetuMoE).

    With a group per host, no token leaves for two hosts. The alignment loss is what gates outside the group exceed
    the last one taken inside by.

    Args:
        groups: of equal size.
        alignment: weight of the alignment loss.
    """

    def __init__(self, place: Place, *, k: int = 2, groups: int = 2, alignment: float = 0.01, **shared: Any) -> None:
        super().__init__(place, k=k, **shared)
        _divides("groups", groups, place.n_experts)
        if k > place.n_experts // groups:
            raise WorkloadError(f"k: {k} experts per token, but a group has {place.n_experts // groups}; take fewer")
        self.groups, self.alignment = groups, alignment

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        size = self.n_experts // self.groups
        gates = logits.softmax(-1)
        grouped = gates.view(-1, self.groups, size)
        sums = grouped.sum(-1)
        group = sums.argmax(-1)
        weights, inside = grouped[torch.arange(len(x), device=x.device), group].topk(self.k, dim=-1)
        choices = inside + size * group[:, None]
        excess = functional.relu(grouped - weights[:, -1:, None])
        outside = torch.arange(self.groups, device=x.device) != group[:, None]
        alignment = (excess.sum(-1) * outside).sum(-1).mean()
        balance = balance_loss(sums, group) + balance_loss(gates, choices)
        auxiliary = self.auxiliary(logits, balance) + self.alignment * alignment
        places = self.places(len(x))
        return queue_choices(choices, weights, n_experts=self.n_experts, places=places, auxiliary=auxiliary)


def _divides(name: str, parts: int, n_experts: int) -> None:
    if parts < 1 or n_experts % parts:
        raise WorkloadError(f"{name}: {n_experts} experts cannot be split into {parts} equal groups; take a divisor")

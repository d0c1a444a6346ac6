"""Gates whose balance is no matter of a loss: assigned, fixed by token, or steered by a bias."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.moe.assignment import balanced_assignment
from models.moe.errors import RoutingError
from models.moe.gates.base import Gate, Place
from models.moe.routing import Routing, queue_choices
from tunewright.errors import WorkloadError


class Base(Gate):
    """In training every expert gets the same number of tokens, so that scores are largest in sum (BASE layers).

    Experts have orthogonal centroids at first; a weight is the sigmoid of token times centroid, and the residual
    connection carries the token itself. In evaluation each token takes its best expert.
    """

    def __init__(self, place: Place, *, z: float = 0.0, jitter: float = 0.0) -> None:
        super().__init__(place, k=1, balance=0.0, z=z, jitter=jitter)

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        choices = _assigned(logits.detach()) if self.training else logits.argmax(-1)
        weights = logits.gather(1, choices[:, None]).sigmoid()
        auxiliary = self.auxiliary(logits, logits.new_zeros(()))
        return queue_choices(choices[:, None], weights, n_experts=self.n_experts, auxiliary=auxiliary)

    def _initial(self, place: Place) -> Tensor:
        initial = torch.empty(place.n_experts, place.width)
        return nn.init.orthogonal_(initial, gain=0.1, generator=place.random)


class Hash(Gate):
    """A fixed expert for each token id, with weight 1 and nothing to learn (Hash layers).

    Args:
        by: "balanced" gives the most frequent ids first, each to the expert with least to do; "random" draws.
    """

    def __init__(self, place: Place, *, by: Literal["balanced", "random"] = "balanced") -> None:
        super().__init__(place, k=1, balance=0.0)
        if place.frequencies is None:
            raise WorkloadError("gate: hash needs the frequencies of token ids; give them, or take another gate")
        if by not in ("balanced", "random"):
            raise WorkloadError(f'by: {by!r} is unknown; take "balanced" or "random"')
        size = len(place.frequencies)
        if by == "random":
            table = torch.randint(place.n_experts, (size,), generator=place.random)
        else:
            table = _balanced_table(place.frequencies, place.n_experts)
        self.table: Tensor
        self.register_buffer("table", table)

    def logits(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.n_experts)

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        if ids is None:
            raise RoutingError("the hash gate routes by token id: give ids with the tokens")
        if int(ids.max()) >= len(self.table) or int(ids.min()) < 0:
            raise RoutingError(f"token ids go to {int(ids.max())}, but the hash table has {len(self.table)} entries")
        choices = self.table.index_select(0, ids)[:, None]
        return queue_choices(choices, x.new_ones(len(x), 1), n_experts=self.n_experts)

    def _initial(self, place: Place) -> Tensor:
        return torch.empty(0, place.width)


class LossFree(Gate):
    """Sigmoid gates; a bias that is raised for idle experts chooses, and does not weigh (DeepSeek-V3, section 2.1.2).

    Args:
        rate: by how much the bias of each expert moves after a batch in training.
    """

    def __init__(self, place: Place, *, k: int = 2, rate: float = 1e-3, **shared: Any) -> None:
        super().__init__(place, k=k, **{"balance": 0.0, **shared})
        self.rate = rate
        self.bias: Tensor
        self.register_buffer("bias", torch.zeros(place.n_experts))

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        gates = logits.sigmoid()
        choices = (gates.detach() + self.bias).topk(self.k, dim=-1).indices
        chosen = gates.gather(1, choices)
        # At k = 1 a normalised weight would always be 1, and the gate would learn nothing.
        weights = chosen / chosen.sum(-1, keepdim=True).clamp(min=1e-9) if self.k > 1 else chosen
        if self.training:
            load = torch.bincount(choices.flatten(), minlength=self.n_experts).to(self.bias.dtype)
            self.bias += self.rate * torch.sign(load.mean() - load)
        auxiliary = self.auxiliary(logits, logits.new_zeros(()))
        places = self.places(len(x))
        return queue_choices(choices, weights, n_experts=self.n_experts, places=places, auxiliary=auxiliary)


def _assigned(scores: Tensor) -> Tensor:
    return torch.from_numpy(balanced_assignment(scores.cpu().numpy())).to(scores.device)


def _balanced_table(frequencies: Tensor, n_experts: int) -> Tensor:
    """(vocabulary,) int64: greedily, the most frequent id to the expert with the smallest sum so far."""
    table = np.zeros(len(frequencies), dtype=np.int64)
    # Ids that were never seen still spread out.
    amounts = frequencies.double().numpy() + 1e-6
    loads = np.zeros(n_experts)
    for index in np.argsort(-amounts, kind="stable"):
        table[index] = expert = int(loads.argmin())
        loads[expert] += amounts[index]
    return torch.from_numpy(table)

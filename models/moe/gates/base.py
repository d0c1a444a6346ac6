"""What every gate is: tokens in, a `Routing` out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.moe.errors import RoutingError
from models.moe.routing import Routing, capacity, z_loss
from tunewright.errors import WorkloadError


@dataclass(frozen=True, eq=False)
class Place:
    """Where a gate stands.

    Attributes:
        width: of token vectors (d).
        n_experts: E.
        random: gives the initial weights now and all noise later; its state belongs to a checkpoint.
        frequencies: (vocabulary,) how often each token id occurs in training; gates that route by id need it.
    """

    width: int
    n_experts: int
    random: torch.Generator
    frequencies: Tensor | None = None


class Gate(nn.Module, ABC):
    """Routes tokens to experts.

    A gate's state (weights, biases, how far a schedule has come) are its parameters and buffers; its noise comes from
    the place's generator. Noise and capacities belong to training: in evaluation a token's experts depend on nothing
    but the token, so that no token learns of those behind it.

    Args:
        k: experts per token.
        capacity_factor: of the queues in training, times an even share; None: queues without end.
        balance: weight of the balance loss.
        z: weight of the z-loss.
        jitter: tokens are multiplied by noise from 1 - jitter to 1 + jitter before the logits, in training.
    Raises:
        WorkloadError: a setting is wrong; names it.
    """

    def __init__(
        self,
        place: Place,
        *,
        k: int = 1,
        capacity_factor: float | None = None,
        balance: float = 0.01,
        z: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= k <= place.n_experts:
            raise WorkloadError(f"k: {k} experts per token, but there are {place.n_experts}; take 1 to that many")
        # Asked for its error: a capacity that is wrong shows here, not in the first batch.
        capacity(1, place.n_experts, k, capacity_factor)
        self.k, self.n_experts = k, place.n_experts
        self.capacity_factor, self.balance, self.z, self.jitter = capacity_factor, balance, z, jitter
        self.random = place.random
        self.weight = nn.Parameter(self._initial(place))

    def forward(self, x: Tensor, ids: Tensor | None = None) -> Routing:
        """Route tokens.

        Args:
            x: (T, d).
            ids: (T,) int64 token ids; only gates that route by id look at them.
        Raises:
            RoutingError: logits are not finite, or ids are missing or unknown.
        """
        if len(x) == 0:
            raise RoutingError("a gate was given no tokens: leave empty batches out")
        return self.route(x, self.logits(x), ids)

    def logits(self, x: Tensor) -> Tensor:
        """Scores of all experts, (T, E)."""
        if self.training and self.jitter:
            low, high = 1 - self.jitter, 1 + self.jitter
            x = x * self.room(x).uniform_(low, high, generator=self.random).to(x.device)
        found = functional.linear(x, self.weight)
        # One sum shows every NaN and infinity, cheaper than a mask of them.
        if not torch.isfinite(found.detach().sum()):
            raise RoutingError(
                "a gate's logits are not finite: training has diverged; lower the learning rate, or weigh the z-loss up"
            )
        return found

    @abstractmethod
    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        """Decide, from tokens (T, d), their logits (T, E) and ids (T,)."""

    def places(self, n_tokens: int) -> int | None:
        """Places in an expert's queue; None where there is no end."""
        return capacity(n_tokens, self.n_experts, self.k, self.capacity_factor) if self.training else None

    def room(self, like: Tensor) -> Tensor:
        """An unfilled tensor of the same shape, for noise: where the generator is, which may be another device."""
        return torch.empty(like.shape, dtype=like.dtype, device=self.random.device)

    def auxiliary(self, logits: Tensor, balance: Tensor) -> Tensor:
        """The weighted sum of balance loss and z-loss."""
        found = self.balance * balance
        return found + self.z * z_loss(logits) if self.z else found

    def _initial(self, place: Place) -> Tensor:
        # Small, so that training starts near an even choice (Switch, section 2.4).
        shape = (place.n_experts, place.width)
        return torch.randn(shape, generator=place.random) * math.sqrt(0.1 / place.width)

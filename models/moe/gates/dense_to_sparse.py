"""The dense-to-sparse gate: every token to nearly every expert at first, to one in the end (EvoMoE, section 3.3)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from models.moe.gates.base import Gate, Place
from models.moe.routing import Routing, balance_loss, queue_choices, queue_up
from tunewright.errors import WorkloadError


class DenseToSparse(Gate):
    """A softmax at a falling temperature, with Gumbel noise; experts above a threshold take part.

    While the schedule lasts g = softmax((L + Gumbel noise) / tau), and a token goes to all experts with g > threshold,
    always to its best. After the schedule's end, and in evaluation, there is no noise, and a token goes to its best
    expert alone; a capacity applies after the end. Weights are g, scaled to add up to 1 while there are many experts,
    or the plain softmax of L.

    Args:
        start, end: temperatures (tau).
        horizon: batches in training after which the schedule ends.
        schedule: how tau falls: "linear" or "exponential".
        threshold: below 1.
        mix: "gate" (weights from g) or "softmax" (of L alone).
    """

    def __init__(
        self,
        place: Place,
        *,
        start: float = 2.0,
        end: float = 0.3,
        horizon: int = 1_000,
        schedule: Literal["linear", "exponential"] = "linear",
        threshold: float = 1e-3,
        mix: Literal["gate", "softmax"] = "gate",
        **shared: Any,
    ) -> None:
        super().__init__(place, k=1, **shared)
        if not 0 < end <= start:
            raise WorkloadError(f"end: temperature {end} must be above 0 and at most start ({start})")
        if horizon < 0 or not 0 <= threshold < 1:
            raise WorkloadError(f"horizon ({horizon}) must not be negative, threshold ({threshold}) from 0 to below 1")
        if schedule not in ("linear", "exponential") or mix not in ("gate", "softmax"):
            raise WorkloadError(f"schedule {schedule!r}, mix {mix!r}: take linear or exponential, gate or softmax")
        self.start, self.end, self.horizon, self.schedule = start, end, horizon, schedule
        self.threshold, self.mix = threshold, mix
        self.batches: Tensor
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @property
    def temperature(self) -> float:
        """tau for the next batch."""
        share = min(1.0, int(self.batches) / self.horizon) if self.horizon else 1.0
        if self.schedule == "linear":
            return self.start + share * (self.end - self.start)
        return math.exp((1 - share) * math.log(self.start) + share * math.log(self.end))

    def route(self, x: Tensor, logits: Tensor, ids: Tensor | None) -> Routing:
        dense = self.training and int(self.batches) < self.horizon
        noisy = logits + self._gumbel(logits) if dense else logits
        gates = (noisy / self.temperature).softmax(-1)
        weights = gates if self.mix == "gate" else logits.softmax(-1)
        best = gates.argmax(-1)
        auxiliary = self.auxiliary(logits, balance_loss(gates, best))
        if self.training:
            self.batches += 1
        if dense:
            return self._dense(gates, weights, best, auxiliary)
        chosen = best[:, None]
        places = self.places(len(x))
        return queue_choices(
            chosen, weights.gather(1, chosen), n_experts=self.n_experts, places=places, auxiliary=auxiliary
        )

    def _dense(self, gates: Tensor, weights: Tensor, best: Tensor, auxiliary: Tensor) -> Routing:
        taken = (gates.detach() > self.threshold).scatter(1, best[:, None], True)
        if self.mix == "gate":
            kept = weights * taken
            weights = kept / kept.sum(-1, keepdim=True)
        experts, tokens = taken.T.nonzero(as_tuple=True)
        return queue_up(tokens, experts, weights.T[taken.T], n_experts=self.n_experts, auxiliary=auxiliary)

    def _gumbel(self, logits: Tensor) -> Tensor:
        return -self.room(logits).exponential_(generator=self.random).log().to(logits.device)

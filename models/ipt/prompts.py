"""Prompts: a task's own, an instance's own made from its codes, and how the two become one.

A prompt is a row of vectors: at the input as wide as an embedding, in every layer as wide as all keys and values of
that layer together. Instance prompts begin at zero, so that learning begins from the task prompt alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.ipt.attention import Prefix
from models.ipt.encoders import InstanceEncoder, drawn

COMBINATIONS = ("concatenate", "add", "gate")
INSERTIONS = ("input", "layers")
PREFIX_DEVIATION = 0.02


class Prompts(nn.Module):
    """The prompts of a batch of texts: (batch, length, size).

    Args:
        config: `dropout` of the codes, and for instance prompts `strategy`, `combine`, `bottleneck` and so on.
        start: (task_length, size) first value of the task prompt.
        width, vocabulary: of the frozen model.
        instance: whether texts get prompts of their own.
    """

    def __init__(
        self,
        config: dict[str, Any],
        start: Tensor,
        width: int,
        vocabulary: int,
        *,
        instance: bool,
        random: torch.Generator,
    ) -> None:
        super().__init__()
        count, size = start.shape
        self.task = nn.Parameter(start.clone())
        self._combine = str(config.get("combine", "concatenate"))
        self._random, self._dropout = random, float(config["dropout"])
        self.encoder: InstanceEncoder | None = None
        if not instance:
            return
        length = int(config["instance_length"]) if self._combine == "concatenate" else count
        self.encoder = InstanceEncoder(config, width, vocabulary, length, random)
        self.up = nn.Parameter(torch.zeros(int(config["bottleneck"]), size))
        if self._combine == "gate":
            self.gate = nn.Parameter(torch.zeros(int(config["bottleneck"])))

    def forward(self, ids: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
        """Prompts of the texts; arguments as `InstanceEncoder.forward` takes them."""
        task = self.task.expand(len(ids), -1, -1)
        if self.encoder is None:
            return task
        codes = dropped(self.encoder(ids, seen, hidden), self._dropout, self._random if self.training else None)
        # A mean over codes: with a sum these prompts would move faster than the task's, the more so the wider they are,
        # and one learning rate has to suit both.
        own = codes @ self.up / len(self.up)
        if self._combine == "concatenate":
            return torch.cat([task, own], dim=1)
        if self._combine == "gate":
            own = torch.sigmoid(codes @ self.gate)[:, :, None] * own
        return task + own


def word_start(words: nn.Embedding, count: int, random: torch.Generator) -> Tensor:
    """(count, width): embeddings of random words, from which a prompt at the input learns fastest (Lester et al.)."""
    picked = torch.randint(words.num_embeddings, (count,), generator=random)
    return words.weight.detach()[picked]


def prefix_start(count: int, size: int, random: torch.Generator) -> Tensor:
    """(count, size): small random keys and values."""
    return drawn((count, size), PREFIX_DEVIATION, random).detach()


def as_prefixes(prompts: Tensor, layers: int, heads: int) -> list[Prefix]:
    """Keys and values of each layer, from prompts (batch, length, layers * 2 * heads * head width)."""
    batch, length, _ = prompts.shape
    split = prompts.view(batch, length, layers, 2, heads, -1).permute(2, 3, 0, 4, 1, 5)
    return [(layer[0], layer[1]) for layer in split]


def dropped(x: Tensor, share: float, random: torch.Generator | None) -> Tensor:
    """Dropout that draws from a generator; none of it without one."""
    if random is None or share == 0:
        return x
    return x * torch.empty_like(x).bernoulli_(1 - share, generator=random) / (1 - share)

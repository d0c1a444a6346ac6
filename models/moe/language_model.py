"""A GPT whose feed-forward layers are mixtures of experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.moe.gates import Place, create
from models.moe.layer import Experts, MoE
from models.moe.soft import SoftMoE
from tunewright.errors import WorkloadError

HEAD_WIDTH = 32
HIDDEN_FACTOR = 4
# Names the one-expert model, and the soft mixture, neither of which has a gate.
DENSE, SOFT = "dense", "soft"


@dataclass(frozen=True)
class ModelShape:
    """A language model.

    Attributes:
        layers, width: blocks and d; heads have width 32, hidden layers 4 d.
        context: longest sequence.
        gate: a name in GATES, "soft", or "dense": feed-forward layers everywhere.
        settings: the gate's, or the soft mixture's.
    """

    vocabulary: int
    context: int
    layers: int
    width: int
    gate: str
    n_experts: int
    settings: dict[str, Any]


class Block(nn.Module):
    """Causal attention, then a feed-forward layer, each behind a norm and beside a residual."""

    feed: nn.Module

    def __init__(self, width: int, random: torch.Generator) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        if width % self.heads:
            raise WorkloadError(
                f"width: {width} cannot be shared by {self.heads} heads; take a multiple of {HEAD_WIDTH}"
            )
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed = _matrix(3 * width, width, random)
        self.out = _matrix(width, width, random)

    def forward(self, x: Tensor, ids: Tensor, shared: bool) -> Tensor:
        """(B, S, d) for (B, S, d) and token ids (B, S); `shared`: all tokens through the first expert, ungated."""
        batch, length, width = x.shape
        mixed = functional.linear(self.before_attention(x), self.mixed)
        q, k, v = mixed.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + functional.linear(attended.transpose(1, 2).reshape(batch, length, width), self.out)
        return x + self._fed(self.before_feed(x), ids, shared)

    def _fed(self, x: Tensor, ids: Tensor, shared: bool) -> Tensor:
        rows = x.view(-1, x.shape[2])
        fed: Tensor
        if not isinstance(self.feed, MoE | SoftMoE):
            fed = self.feed(rows)
        elif shared:
            fed = feed_forward(rows, self.feed.experts.up[0], self.feed.experts.down[0])
        elif isinstance(self.feed, MoE):
            fed = self.feed(rows, ids.flatten())
        elif self.training:
            # Tokens of one position: none learns of those behind it.
            fed = self.feed(x.transpose(0, 1)).transpose(0, 1)
        else:
            fed = self.feed(rows[:, None])
        return fed.reshape(x.shape)


class FeedForward(nn.Module):
    """The dense layer: one expert for all."""

    def __init__(self, width: int, hidden: int, random: torch.Generator) -> None:
        super().__init__()
        self.up = _matrix(hidden, width, random, width**-0.5)
        self.down = _matrix(width, hidden, random, hidden**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """(T, d) for (T, d)."""
        return feed_forward(rows, self.up, self.down)


def feed_forward(rows: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """What one expert computes: down @ gelu(up @ row)."""
    return functional.linear(functional.gelu(functional.linear(rows, up)), down)


class LanguageModel(nn.Module):
    """Logits of the next token. The last block of each pair has experts, and so the last of all.

    Attributes:
        shared: whether all tokens go through each layer's first expert: the start of EvoMoE.
    """

    def __init__(self, shape: ModelShape, random: torch.Generator, frequencies: Tensor) -> None:
        super().__init__()
        self.shape, self.shared = shape, False
        self.tokens = _matrix(shape.vocabulary, shape.width, random, 0.02)
        self.places = _matrix(shape.context, shape.width, random, 0.02)
        place = Place(shape.width, shape.n_experts, random, frequencies)
        hidden = HIDDEN_FACTOR * shape.width

        # Gates differ in what they draw: drawn last, they leave the first weights of all else the same.
        blocks = [Block(shape.width, random) for _ in range(shape.layers)]
        for index, block in enumerate(blocks):
            if shape.gate == DENSE or (shape.layers - 1 - index) % 2:
                block.feed = FeedForward(shape.width, hidden, random)
            else:
                block.feed = Experts(shape.n_experts, shape.width, hidden, "gelu", random)
        for block in blocks:
            if isinstance(block.feed, Experts):
                block.feed = _mixture(shape, place, block.feed)
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.LayerNorm(shape.width)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, S, vocabulary) for token ids (B, S)."""
        x = self.tokens[ids] + self.places[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, ids, self.shared)
        return functional.linear(self.last(x), self.tokens)

    @property
    def mixtures(self) -> list[MoE | SoftMoE]:
        """The layers with experts."""
        feeds = [block.feed for block in self.blocks if isinstance(block, Block)]
        return [feed for feed in feeds if isinstance(feed, MoE | SoftMoE)]

    def flops(self, assignments: float) -> float:
        """Floating point operations of one token, forward.

        Args:
            assignments: experts per token and layer with experts; what a `shared` pass uses is 1.
        """
        shape = self.shape
        attention = 2 * 4 * shape.width**2 + 2 * shape.width * shape.context
        feed = 2 * 2 * HIDDEN_FACTOR * shape.width**2
        mixtures = len(self.mixtures)
        gates = sum(mixture.gate_flops for mixture in self.mixtures)
        fed = feed * (shape.layers - mixtures + mixtures * assignments)
        return shape.layers * attention + fed + gates + 2 * shape.width * shape.vocabulary


def _mixture(shape: ModelShape, place: Place, experts: Experts) -> MoE | SoftMoE:
    if shape.gate == SOFT:
        return SoftMoE(place, experts, **shape.settings)
    return MoE(create(shape.gate, place, shape.settings), experts)


def _matrix(rows: int, columns: int, random: torch.Generator, deviation: float | None = None) -> nn.Parameter:
    scale = columns**-0.5 if deviation is None else deviation
    return nn.Parameter(torch.randn(rows, columns, generator=random) * scale)

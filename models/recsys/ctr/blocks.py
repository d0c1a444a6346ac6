"""Blocks of a click-through network and the graph that they form.

A block reads fields' tokens (n, tokens, width), flat numbers (n, m), or several of both, and gives one of the two.
Blocks that nothing else reads go to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunewright.space import Config

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
# Tokens that flat numbers become for a block that reads tokens; width of an attention head.
_TOKENS_OF_FLAT, _HEAD_WIDTH = 4, 8


@dataclass(frozen=True)
class Shape:
    """Of what a block reads or gives, without the rows.

    Attributes:
        tokens: number of tokens of `width` numbers each; 0 for flat numbers, `width` of them.
    """

    tokens: int
    width: int

    @property
    def flat(self) -> int:
        return max(1, self.tokens) * self.width


@dataclass(frozen=True)
class Manner:
    """What all blocks of a network share: activation, normalisation ("none", "layer", "batch"), dropout, randomness."""

    activation: str
    norm: str
    dropout: float
    random: torch.Generator

    def linear(self, fan_in: int, fan_out: int, bias: bool = True) -> nn.Linear:
        """A layer whose weights come from the network's own generator, with variance 2 / fan_in."""
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=bias)  # type: ignore[no-untyped-call]
        nn.init.normal_(layer.weight, 0.0, (2.0 / fan_in) ** 0.5, generator=self.random)
        if bias:
            nn.init.zeros_(layer.bias)
        return layer

    def after(self, x: Tensor, norm: nn.Module | None, training: bool) -> Tensor:
        """Normalised, activated, with units dropped in training."""
        x = ACTIVATIONS[self.activation](x if norm is None else norm(x))
        if not training or self.dropout == 0:
            return x
        # functional.dropout takes no generator.
        return x * torch.empty_like(x).bernoulli_(1 - self.dropout, generator=self.random) / (1 - self.dropout)

    def normaliser(self, width: int) -> nn.Module | None:
        if self.norm == "none":
            return None
        return nn.LayerNorm(width) if self.norm == "layer" else nn.BatchNorm1d(width)


class Flat(nn.Module):
    """Everything that a block reads as flat numbers (n, m)."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.width = sum(shape.flat for shape in shapes)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        return torch.cat([x.flatten(1) for x in found], dim=1) if len(found) > 1 else found[0].flatten(1)


class Tokens(nn.Module):
    """Everything that a block reads as tokens (n, tokens, width); what is not of that width is mapped to it."""

    def __init__(self, shapes: Sequence[Shape], width: int, manner: Manner) -> None:
        super().__init__()
        self.width = width
        self.count = sum(shape.tokens or _TOKENS_OF_FLAT for shape in shapes)
        self.maps = nn.ModuleList(
            nn.Identity()
            if shape.tokens and shape.width == width
            else manner.linear(shape.width, width if shape.tokens else _TOKENS_OF_FLAT * width)
            for shape in shapes
        )

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        tokens = [own(x) for own, x in zip(self.maps, found, strict=True)]
        return torch.cat([x if x.dim() == 3 else x.unflatten(1, (-1, self.width)) for x in tokens], dim=1)


class Mlp(nn.Module):
    """Layers of one width with normalisation, activation and dropout after each."""

    def __init__(self, shapes: Sequence[Shape], depth: int, size: int, width: int, manner: Manner) -> None:
        super().__init__()
        self._read, self._manner = Flat(shapes), manner
        self.layers = nn.ModuleList(manner.linear(self._read.width if k == 0 else size, size) for k in range(depth))
        self.norms = nn.ModuleList(manner.normaliser(size) or nn.Identity() for _ in range(depth))
        self.shape = Shape(0, size)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        x: Tensor = self._read(found)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._manner.after(layer(x), norm, self.training)
        return x


class Cross(nn.Module):
    """A cross network, version 2 (Wang et al. 2021, equations 1 and 2): x + x0 * (U V x + b) in every layer.

    Of full rank where a product of rank `size` would be no smaller.
    """

    def __init__(self, shapes: Sequence[Shape], depth: int, size: int, width: int, manner: Manner) -> None:
        super().__init__()
        self._read = Flat(shapes)
        m = self._read.width
        self.layers = nn.ModuleList()
        for _ in range(depth):
            low = [manner.linear(m, size, bias=False), manner.linear(size, m)]
            self.layers.append(manner.linear(m, m) if 2 * size >= m else nn.Sequential(*low))
        self.shape = Shape(0, m)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        start: Tensor = self._read(found)
        x = start
        for layer in self.layers:
            x = x + start * layer(x)
        return x


class Attention(nn.Module):
    """Self-attention over fields (AutoInt; Song et al. 2019, equations 5 to 8): heads of 8 numbers, with a residual."""

    def __init__(self, shapes: Sequence[Shape], depth: int, size: int, width: int, manner: Manner) -> None:
        super().__init__()
        self._heads = size // 32
        self._read = Tokens(shapes, width, manner)
        inner = self._heads * _HEAD_WIDTH
        self.layers = nn.ModuleList(manner.linear(width if k == 0 else inner, 4 * inner) for k in range(depth))
        self.shape = Shape(self._read.count, inner)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        x: Tensor = self._read(found)
        for layer in self.layers:
            *parts, residual = layer(x).chunk(4, dim=2)
            query, key, value = (part.unflatten(2, (self._heads, _HEAD_WIDTH)).transpose(1, 2) for part in parts)
            weight = torch.softmax(query @ key.transpose(2, 3) / _HEAD_WIDTH**0.5, dim=3)
            x = functional.relu((weight @ value).transpose(1, 2).flatten(2) + residual)
        return x


class Cin(nn.Module):
    """A compressed interaction network (xDeepFM; Lian et al. 2018, equation 6): layers of maps, summed over width."""

    def __init__(self, shapes: Sequence[Shape], depth: int, size: int, width: int, manner: Manner) -> None:
        super().__init__()
        self._read = Tokens(shapes, width, manner)
        maps, tokens = size // 4, self._read.count
        self.layers = nn.ModuleList(
            manner.linear(tokens * (tokens if k == 0 else maps), maps, bias=False) for k in range(depth)
        )
        self.shape = Shape(0, maps * depth)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        # (n, width, tokens): a layer's maps are then one matrix product.
        x = start = self._read(found).transpose(1, 2)
        sums = []
        for layer in self.layers:
            x = layer((x[:, :, :, None] * start[:, :, None, :]).flatten(2))
            sums.append(x.sum(dim=1))
        return torch.cat(sums, dim=1)


BLOCKS: Mapping[str, type[Mlp] | type[Cross] | type[Attention] | type[Cin]] = {
    "mlp": Mlp,
    "cross": Cross,
    "attention": Attention,
    "cin": Cin,
}


def sources(config: Config) -> list[list[int]]:
    """For each block (from 1), the values that it reads: 0 the embeddings, k block k."""
    names = [str(config.get(f"from_{k}", "embeddings")) for k in range(1, int(config["blocks"]) + 1)]
    meaning: Mapping[str, Callable[[int], list[int]]] = {
        "embeddings": lambda k: [0],
        "previous": lambda k: [k - 1],
        "before": lambda k: [k - 2],
        "both": lambda k: [0, k - 1],
        "all": lambda k: list(range(k)),
    }
    return [meaning[name](k) for k, name in enumerate(names, 1)]


def takes_scalars(config: Config) -> bool:
    """Whether any block reads interactions beside the embeddings."""
    return any(_reads_scalars(read, str(config[f"kind_{k}"])) for k, read in enumerate(sources(config), 1))


def _reads_scalars(read: Sequence[int], kind: str) -> bool:
    return 0 in read and BLOCKS[kind] in (Mlp, Cross)


class Graph(nn.Module):
    """Blocks as the configuration connects them, and one output: a weighted sum of all that no other block reads.

    Args:
        tokens, width: of the embeddings.
        scalars: interactions (n, scalars) that blocks reading the embeddings as flat numbers read too; may be 0.
    """

    def __init__(self, config: Config, tokens: int, width: int, scalars: int, manner: Manner) -> None:
        super().__init__()
        self._sources = sources(config)
        shapes = [[Shape(tokens, width)]]
        self.blocks = nn.ModuleList()
        self._scalars = scalars
        for k, read in enumerate(self._sources, 1):
            kind = str(config[f"kind_{k}"])
            own = [shape for source in read for shape in shapes[source]]
            if scalars and _reads_scalars(read, kind):
                own.append(Shape(0, scalars))
            block = BLOCKS[kind](own, int(config[f"depth_{k}"]), int(config[f"size_{k}"]), width, manner)
            self.blocks.append(block)
            shapes.append([block.shape])
        used = {source for read in self._sources for source in read}
        self._leaves = [k for k in range(1, len(shapes)) if k not in used]
        self.output = manner.linear(sum(shapes[k][0].flat for k in self._leaves), 1)
        with torch.no_grad():
            # The network's say begins small, so that the base rate is learned by the bias alone.
            self.output.weight.mul_(0.1)

    def forward(self, tokens: Tensor, scalars: Tensor | None) -> Tensor:
        """Log-odds (n,) that the blocks add."""
        values = [tokens]
        for read, block in zip(self._sources, self.blocks, strict=True):
            found = [values[source] for source in read]
            if self._scalars and scalars is not None and 0 in read and isinstance(block, (Mlp, Cross)):
                found.append(scalars)
            values.append(block(found))
        leaves = torch.cat([values[k].flatten(1) for k in self._leaves], dim=1)
        odds: Tensor = self.output(leaves)[:, 0]
        return odds

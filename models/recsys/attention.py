"""Multi-level attention that is guided by what a request is about (ZOOMER, section on the multi-level attention).

Three levels, each of which can be switched off and is then a plain mean: which of a node's features count, which of
its neighbours of one type, and which of the types.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

TYPES = 3
# Scores beyond this are cut, so that their exponential cannot overflow.
_MAX_SCORE = 15.0


@dataclass(frozen=True)
class Levels:
    """Which levels attend; `focal`: whether the request's focal vector guides them."""

    feature: bool = True
    edge: bool = True
    semantic: bool = True
    focal: bool = True


@dataclass(frozen=True)
class Edges:
    """Edges from rows of one level of a neighbourhood to all rows of the next.

    Attributes:
        parent, kind: (e,) int64 row that each next row is a neighbour of, and its own type.
        weight: (e,) float32 weight of the edge, for means without attention.
    """

    parent: Tensor
    kind: Tensor
    weight: Tensor


class FeatureAttention(nn.Module):
    """A node's vector from the vectors of its features: weighted by what the request is about, for each node type.

    Args:
        fields: features of a node, its own number included.
    """

    def __init__(self, dimensions: int, fields: int, random: torch.Generator) -> None:
        super().__init__()
        self.score = linear(dimensions, TYPES * fields, random)
        nn.init.zeros_(self.score.weight)
        self._fields = fields

    def weights(self, focal: Tensor) -> Tensor:
        """(b, TYPES, fields) positive weights with mean 1, for focal vectors (b, d)."""
        scores = self.score(focal).view(-1, TYPES, self._fields)
        return functional.softmax(scores, dim=-1) * self._fields

    def forward(self, table: Tensor, codes: Tensor, weights: Tensor | None) -> Tensor:
        """(m, d) sums of feature vectors over the root of their number.

        Args:
            table: (u, d); codes: (m, fields) its rows; weights: (m, fields), or None for equal ones.
        """
        return functional.embedding_bag(codes, table, mode="sum", per_sample_weights=weights) / math.sqrt(self._fields)


class FocalLayer(nn.Module):
    """One round: nodes take in their neighbours.

    Neighbours are scored by a scaled dot product with the focally shifted node. (An additive score as in GAT would
    rank the neighbours of a node the same whatever the request is about.)
    """

    def __init__(self, dimensions: int, levels: Levels, random: torch.Generator) -> None:
        super().__init__()
        self._levels = levels
        self.own = linear(dimensions, dimensions, random)
        self.taken = linear(dimensions, dimensions, random)
        self.message = linear(dimensions, dimensions, random)
        self.kinds = nn.Parameter(torch.zeros(TYPES, dimensions))
        self.asks = linear(dimensions, dimensions, random)
        self.answers = linear(dimensions, dimensions, random)
        self.sharpness = nn.Parameter(torch.ones(()))

    def forward(self, nodes: Tensor, neighbours: Tensor, edges: Edges, focal: Tensor) -> Tensor:
        """(m, d) new vectors of nodes.

        Args:
            nodes: (m, d); neighbours: (e, d) vectors of the edges' ends; focal: (m, d) focal vector of each node's
                request.
        """
        segment = edges.parent * TYPES + edges.kind
        guided = nodes + focal if self._levels.focal else nodes
        share = self._shares(guided, neighbours, edges, segment)
        sums = nodes.new_zeros(len(nodes) * TYPES, nodes.shape[1]).index_add(0, segment, neighbours * share[:, None])
        present = nodes.new_zeros(len(nodes) * TYPES).index_fill(0, segment, 1.0).view(-1, TYPES)
        by_kind = self.message(sums).view(-1, TYPES, nodes.shape[1]) + self.kinds
        if self._levels.semantic:
            alike = functional.cosine_similarity(guided[:, None, :], by_kind, dim=-1)
            chance = present * torch.exp(self.sharpness * alike)
        else:
            chance = present
        chance = chance / chance.sum(dim=1, keepdim=True).clamp_min(1e-9)
        taken = (chance[:, :, None] * by_kind).sum(dim=1)
        return nodes + functional.relu(self.own(nodes) + self.taken(taken))

    def _shares(self, guided: Tensor, neighbours: Tensor, edges: Edges, segment: Tensor) -> Tensor:
        """(e,) share of each neighbour among those of the same node and type; they sum to 1."""
        weight = edges.weight
        if self._levels.edge:
            asked = self.asks(guided)[edges.parent]
            score = (asked * self.answers(neighbours)).sum(dim=1) / math.sqrt(guided.shape[1])
            weight = torch.exp(score.clamp(-_MAX_SCORE, _MAX_SCORE))
        total = weight.new_zeros(len(guided) * TYPES).index_add(0, segment, weight)
        return weight / total[segment].clamp_min(1e-9)


def linear(inputs: int, outputs: int, random: torch.Generator) -> nn.Linear:
    """A linear layer with initial weights from a generator of one's own, and no bias to begin with."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    nn.init.xavier_uniform_(layer.weight, generator=random)
    nn.init.zeros_(layer.bias)
    return layer

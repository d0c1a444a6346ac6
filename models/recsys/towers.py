"""Twin towers: a vector for a request from its neighbourhood, a vector for an item from its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.recsys.attention import Edges, FeatureAttention, FocalLayer, Levels, linear
from models.recsys.features import EmbeddingTable, Features
from models.recsys.sampler import Level

USER, QUERY, ITEM = 0, 1, 2


@dataclass(frozen=True)
class Request:
    """A batch of requests, ready for the towers.

    Attributes:
        codes: for each level (m, fields) rows of features; types: (m,) node types; request: (m,) requests.
        edges: hops edges, from each level to the next.
    """

    codes: list[NDArray[np.int64]]
    types: list[NDArray[np.int64]]
    request: list[Tensor]
    edges: list[Edges]


def read_request(levels: list[Level], features: Features) -> Request:
    """A drawn neighbourhood as features and edges; focal nodes with number -1 are unknown ones."""
    half = len(levels[0].nodes) // 2
    types = [np.repeat([USER, QUERY], half), *(level.kind for level in levels[1:])]
    rows = [level.nodes.astype(np.int64) for level in levels]
    rows[0] = np.where(
        rows[0] < 0, np.where(types[0] == USER, features.unknown(USER), features.unknown(QUERY)), rows[0]
    )
    return Request(
        [features.codes[row] for row in rows],
        types,
        [torch.from_numpy(level.request) for level in levels],
        [
            Edges(torch.from_numpy(level.parent), torch.from_numpy(level.kind), torch.from_numpy(level.weight))
            for level in levels[1:]
        ],
    )


class Towers(nn.Module):
    """Scores of requests and items: inner products of (d + 2)-dimensional vectors, which include a bias of each side.

    Args:
        hops: rounds of attention, one for each hop of the neighbourhood.
        levels: which levels of attention are on.
    """

    def __init__(self, dimensions: int, hops: int, fields: int, levels: Levels, random: torch.Generator) -> None:
        super().__init__()
        self._levels = levels
        self.focus = nn.ModuleList(linear(dimensions, dimensions, random) for _ in (USER, QUERY))
        self.features = FeatureAttention(dimensions, fields, random)
        self.layers = nn.ModuleList(FocalLayer(dimensions, levels, random) for _ in range(hops))
        self.ask = linear(3 * dimensions, dimensions, random)
        self.asked = linear(dimensions, dimensions + 1, random)
        self.item = linear(dimensions, dimensions, random)
        self.offered = linear(dimensions, dimensions + 1, random)

    def request(self, table: Tensor, codes: list[Tensor], given: Request) -> Tensor:
        """(b, d + 2) vectors of requests, ending in 1 and the request's bias.

        Args:
            table: (u, d) embeddings; codes: as `given.codes`, but as rows of `table`.
        """
        plain = self.features(table, codes[0], None)
        user, query = plain.chunk(2)
        focal = self.focus[USER](user) + self.focus[QUERY](query)
        vectors = self._nodes(table, codes, given, focal)
        for layer in self.layers:
            vectors = [
                layer(vectors[hop], vectors[hop + 1], given.edges[hop], focal[given.request[hop]])
                for hop in range(len(vectors) - 1)
            ]
        user, query = vectors[0].chunk(2)
        hidden = functional.relu(self.ask(torch.cat([user, query, focal], dim=1)))
        out = self.asked(hidden)
        return torch.cat([out[:, :-1] + user + query, torch.ones_like(out[:, :1]), out[:, -1:]], dim=1)

    def items(self, table: Tensor, codes: Tensor) -> Tensor:
        """(n, d + 2) vectors of items, ending in the item's bias and 1."""
        own = self.features(table, codes, None)
        out = self.offered(functional.relu(self.item(own)))
        return torch.cat([out[:, :-1] + own, out[:, -1:], torch.ones_like(out[:, :1])], dim=1)

    def _nodes(self, table: Tensor, codes: list[Tensor], given: Request, focal: Tensor) -> list[Tensor]:
        if not (self._levels.feature and self._levels.focal):
            return [self.features(table, code, None) for code in codes]
        weights = self.features.weights(focal)
        return [
            self.features(table, code, weights[request, torch.from_numpy(kind)])
            for code, request, kind in zip(codes, given.request, given.types, strict=True)
        ]


def vectors_of_items(towers: Towers, embeddings: EmbeddingTable, codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, d + 2) float32 vectors of items with feature rows (n, fields), as they are now."""
    with torch.no_grad():
        table, (places,) = embeddings.look_up([codes], learn=False)
        found: NDArray[np.float32] = towers.items(table, places).numpy()
    return found

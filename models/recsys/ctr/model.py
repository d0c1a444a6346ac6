"""A click-through model as a configuration describes it: a base rate, a linear part, interactions and blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.data._click_table import Clicks
from models.recsys.ctr.blocks import Graph, Manner, takes_scalars
from models.recsys.ctr.embeddings import Embeddings, Table, field_widths, lay_out
from models.recsys.ctr.pairs import Pair, Pairs, ranked_pairs
from tunewright.space import Config


class Relaxation(Protocol):
    """A choice that is learned by gradients while the model trains, in place of being tried (`gradient`)."""

    def tokens(self, x: Tensor) -> Tensor:
        """What stands for the tokens (n, fields, width)."""

    def scalars(self, x: Tensor) -> Tensor:
        """What stands for the interactions (n, pairs)."""

    def step(self, held_out: Callable[[], Tensor]) -> None:
        """Learn, after each batch of the model's: from that batch's gradients, or from a loss on held-out rows."""


class ClickModel(nn.Module):
    """Log-odds of a click.

    A configuration without interactions and blocks has the linear part in any case: else nothing would be learned.

    Args:
        config: of `ctr_space(table.fields)`.
        pairs: pairs of fields, those that matter most first; None ranks them by `ranked_pairs`.
        random: gives the initial weights now, and the units to drop in training.
    Raises:
        WorkloadError: the configuration's widths do not fit the table.
    """

    def __init__(
        self, config: Config, table: Clicks, random: torch.Generator, pairs: Sequence[Pair] | None = None
    ) -> None:
        super().__init__()
        widths = field_widths(config, table.fields, table.sizes)
        columns = lay_out(widths, table.sizes, float(config["hash_share"]))
        chosen, rest = _chosen(config, columns.fields, table, pairs)
        deep = bool(config["blocks"])
        linear = bool(config["linear"]) or not (deep or chosen or rest)
        tokens = deep or bool(chosen or rest)
        deviation = float(config["init"])
        self.embeddings = Embeddings(columns, linear=linear, tokens=tokens, deviation=deviation, random=random)
        width = self.embeddings.width
        self.interactions = nn.ModuleList()
        for function, some in ((config.get("pair_function"), chosen), (config.get("rest_function"), rest)):
            if some:
                self.interactions.append(Pairs(str(function), some, width, random))
        scalars = len(chosen) + len(rest)
        # Interactions that are to feed blocks go to the output where no block takes them.
        self._to_blocks = config.get("pair_output") == "blocks" and takes_scalars(config)
        self.graph: Graph | None = None
        if deep:
            manner = Manner(str(config["activation"]), str(config["norm"]), float(config["dropout"]), random)
            self.graph = Graph(config, len(columns.fields), width, scalars * self._to_blocks, manner)
        clicks = float(table.labels[table.rows("train")].mean())
        self.bias = nn.Parameter(torch.tensor([math.log(clicks / (1 - clicks))]))

    @property
    def tables(self) -> list[Table]:
        return [table for table in self.embeddings.tables if isinstance(table, Table)]

    @property
    def size(self) -> int:
        """Numbers that are learned."""
        return self.embeddings.size + sum(parameter.numel() for parameter in self.parameters())

    def index(self, codes: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Tensor:
        """What `forward` takes, for codes (n, fields)."""
        return self.embeddings.columns.index(codes)

    def forward(self, index: Tensor, relaxation: Relaxation | None = None) -> Tensor:
        """Log-odds (n,) for an index (n, kept)."""
        tokens, linear = self.embeddings(index)
        odds: Tensor = linear + self.bias
        if tokens is None:
            return odds
        if relaxation is not None:
            tokens = relaxation.tokens(tokens)
        scalars = torch.cat([part(tokens) for part in self.interactions], dim=1) if self.interactions else None
        if relaxation is not None and scalars is not None:
            scalars = relaxation.scalars(scalars)
        if scalars is not None and not self._to_blocks:
            odds = odds + scalars.sum(dim=1)
        if self.graph is not None:
            odds = odds + self.graph(tokens, scalars)
        return odds


def _chosen(
    config: Config, kept: Sequence[int], table: Clicks, pairs: Sequence[Pair] | None
) -> tuple[list[Pair], list[Pair]]:
    """Positions of the pairs that meet by the first function, and of those that meet by the second."""
    if config["pairs"] == "none":
        return [], []
    place = {field: position for position, field in enumerate(kept)}
    if pairs is None and config["pairs"] == "all":
        pairs = [(a, b) for a in range(len(table.fields)) for b in range(a + 1, len(table.fields))]
    ordered = ranked_pairs(table) if pairs is None else pairs
    present = [(place[a], place[b]) for a, b in ordered if a in place and b in place]
    if config["pairs"] != "top":
        return present, []
    count = int(config["pair_count"])
    return present[:count], present[count:] if config["rest_function"] != "none" else []

"""Layers whose random numbers come from a given generator: linear, dropout, a residual perceptron."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear(fan_in: int, fan_out: int, random: torch.Generator) -> nn.Linear:
    """A linear layer with Glorot's initial weights (2010) and no shift."""
    # skip_init: the layer's own initialisation would draw from torch's global generator.
    made: nn.Linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
    nn.init.xavier_uniform_(made.weight, generator=random)
    nn.init.zeros_(made.bias)
    return made


class Dropout(nn.Module):
    """Leaves entries out while training, and scales the others so that sums stay; a no-op otherwise."""

    def __init__(self, share: float, random: torch.Generator) -> None:
        super().__init__()
        self._share, self._random = share, random

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if not self.training or self._share == 0:
            return x
        kept = torch.rand(x.shape, generator=self._random) >= self._share
        return x * kept / (1 - self._share)


class ResidualPerceptron(nn.Module):
    """Linear layers with rectifiers; each hidden layer after the first adds to what came before (PaSca, section 4.2).

    Args:
        depth: linear layers; 1 is logistic regression.
    """

    def __init__(
        self, features: int, width: int, classes: int, depth: int, dropout: float, random: torch.Generator
    ) -> None:
        super().__init__()
        sizes = [features, *[width] * (depth - 1), classes]
        self.linears = nn.ModuleList(linear(a, b, random) for a, b in pairwise(sizes))
        self.drop = Dropout(dropout, random)

    def forward(self, x: Tensor) -> Tensor:
        """(n, classes) logits for (n, features)."""
        for index, layer in enumerate(self.linears[:-1]):
            made = functional.relu(layer(self.drop(x)))
            x = made + x if index else made
        logits: Tensor = self.linears[-1](self.drop(x))
        return logits

"""Message aggregators: features under 0 to K steps become one vector for each node (PaSca, section 4.1).

The fixed ones are computed once, before training; of the learned ones, "simple" weighs steps alike for all nodes,
"gate" and "adaptive" weigh them for each node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.gnn.designs import LEARNED
from tunewright.errors import WorkloadError

# Each step weighs so much of the step before it: alpha (1 - alpha)^k of GBP and personalised PageRank, alpha 0.15.
GEOMETRIC = 0.85


def aggregate(steps: Sequence[NDArray[np.float32]], message: str) -> NDArray[np.float32]:
    """What a fixed aggregator makes of X_0 to X_K.

    Args:
        steps: K + 1 arrays (n, d).
        message: one of `designs.MESSAGES` that is not learned.
    Returns:
        (n, d) float32, or (n, (K + 1) d) for "concat".
    """
    if message == "last":
        return np.asarray(steps[-1])
    if message == "concat":
        return np.concatenate(steps, axis=1)
    if message in ("max", "min"):
        pick = np.maximum if message == "max" else np.minimum
        made = np.array(steps[0])
        for step in steps[1:]:
            pick(made, step, out=made)
        return made
    weights = _weights(message, len(steps))
    made = steps[0] * weights[0]
    for step, weight in zip(steps[1:], weights[1:], strict=True):
        made += step * weight
    return np.asarray(made)


def _weights(message: str, count: int) -> NDArray[np.float32]:
    if message == "sum":
        return np.ones(count, dtype=np.float32)
    if message == "mean":
        return np.full(count, 1 / count, dtype=np.float32)
    if message == "geometric":
        falling = GEOMETRIC ** np.arange(count, dtype=np.float64)
        return np.asarray(falling / falling.sum(), dtype=np.float32)
    raise WorkloadError(f"message: {message!r} is unknown")


class LearnedMessage(nn.Module):
    """Mixes a node's features over the steps by weights that sum to 1: the softmax of a score's sigmoid for each step.

    simple    one score for each step
    gate      w . X_k(v)
    adaptive  w . [X_k(v), mean over the steps of X(v)]: a step is judged against the node's whole history
    """

    def __init__(self, message: str, steps: int, features: int, random: torch.Generator) -> None:
        super().__init__()
        if message not in LEARNED:
            raise WorkloadError(f"message: {message!r} has nothing to learn")
        self._message = message
        shape = {"simple": (steps + 1,), "gate": (features,), "adaptive": (2 * features,)}[message]
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.weight, std=shape[0] ** -0.5, generator=random)

    def forward(self, steps: Tensor) -> Tensor:
        """(n, d) mixed features for (K + 1, n, d) of all steps."""
        if self._message == "simple":
            shares = torch.softmax(torch.sigmoid(self.weight), dim=0)
            return torch.einsum("k,knd->nd", shares, steps)
        shares = torch.softmax(torch.sigmoid(self._scores(steps)), dim=0)
        return torch.einsum("kn,knd->nd", shares, steps)

    def _scores(self, steps: Tensor) -> Tensor:
        if self._message == "gate":
            return steps @ self.weight
        own, history = self.weight.chunk(2)
        return steps @ own + steps.mean(dim=0) @ history

"""What the towers learn by: clicks against exposures, clicked items against other items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def focal_loss(logits: Tensor, clicked: Tensor, gamma: float) -> Tensor:
    """Mean focal cross-entropy, -(1 - p)^gamma log p with p the probability of what happened (Lin et al. 2017).

    Args:
        logits, clicked: (b,) float32; clicked is 0 or 1. gamma 0 is the plain cross-entropy.
    """
    signed = torch.where(clicked > 0, logits, -logits)
    loss = -functional.logsigmoid(signed)
    return (loss * torch.sigmoid(-signed).pow(gamma)).mean() if gamma else loss.mean()


def sampled_softmax(requests: Tensor, items: Tensor, ids: Tensor, log_frequency: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each request's item among the batch's items (Yi et al. 2019).

    Popular items are met as negatives more often; subtracting the log of their frequency puts that right. Another
    row's item that is the same item is no negative.

    Args:
        requests, items: (b, d) vectors of clicked pairs; ids: (b,) int64; log_frequency: (b,) of each item.
    """
    logits = requests @ items.T / temperature - log_frequency
    same = (ids[:, None] == ids[None, :]) & ~torch.eye(len(ids), dtype=torch.bool)
    return functional.cross_entropy(logits.masked_fill(same, -1e9), torch.arange(len(ids)))

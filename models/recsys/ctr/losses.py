"""What a click-through model minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tunewright.space import Config


def loss(config: Config, odds: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of a batch.

    - `bce`: binary cross-entropy;
    - `focal`: rows that are right already count less, by (1 - p)^focal_gamma (Lin et al. 2017);
    - `pairwise`: cross-entropy, and for `pairwise_share` of it the logistic loss of clicks against rows without one.

    Args:
        odds: (n,) log-odds of what is shown in this batch.
        labels: (n,) 0 or 1.
    """
    plain = functional.binary_cross_entropy_with_logits(odds, labels, reduction="none")
    if config["loss"] == "focal":
        # exp(-plain) is the probability given to what happened.
        missed = (1.0 - torch.exp(-plain)).clamp(min=1e-6)
        return torch.mean(missed ** float(config["focal_gamma"]) * plain)
    if config["loss"] == "pairwise":
        share = float(config["pairwise_share"])
        return (1 - share) * plain.mean() + share * _pairwise(odds, labels)
    return plain.mean()


def _pairwise(odds: Tensor, labels: Tensor) -> Tensor:
    """Logistic loss of click i against row j without one: each click of the batch meets one, in the batch's order."""
    clicked = labels > 0.5
    clicks, others = odds[clicked], odds[~clicked]
    if not len(clicks) or not len(others):
        return odds.sum() * 0.0
    n = max(len(clicks), len(others))
    turn = torch.arange(n)
    return functional.softplus(others[turn % len(others)] - clicks[turn % len(clicks)]).mean()

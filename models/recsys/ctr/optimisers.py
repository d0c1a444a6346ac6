"""Optimizers that spend time on the rows of a table that a batch has touched, whatever the table's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from models.recsys.ctr.embeddings import Table
from tunewright.space import Config

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_MOMENTUM = 0.9


def dense_optimizer(config: Config, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of everything but the tables; weight decay is for the tables, which are what overfits."""
    rate = float(config["learning_rate"])
    if config["optimizer"] == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=(_BETA_1, _BETA_2), eps=_EPSILON, fused=True)
    if config["optimizer"] == "adagrad":
        return torch.optim.Adagrad(parameters, lr=rate, eps=_EPSILON, fused=True)
    return torch.optim.SGD(parameters, lr=rate, momentum=_MOMENTUM, fused=True)


class RowOptimizer:
    """Adam, Adagrad or SGD on the touched rows of tables.

    A row that no batch touches keeps its value, its moments and its decay (lazy Adam): frequent categories are
    regularised more often than rare ones. Adam's bias is corrected by a table's number of steps.

    Args:
        config: gives the kind, its rate and the decay, an L2 penalty on touched rows.
    """

    def __init__(self, config: Config, tables: Sequence[Table]) -> None:
        self._kind = str(config["optimizer"])
        self._rate, self._decay = float(config["learning_rate"]), float(config["weight_decay"])
        self._tables = tables
        moments = {"adam": 2, "adagrad": 1, "sgd": 0}[self._kind]
        self._moments = [[torch.zeros_like(table.weight) for _ in range(moments)] for table in tables]
        self._steps = 0

    def step(self) -> None:
        """Update from the gradients of the last batch."""
        self._steps += 1
        for table, moments in zip(self._tables, self._moments, strict=True):
            if table.leaf.grad is None:
                continue
            values, rows = table.leaf.detach(), table.touched
            gradient = table.leaf.grad.add_(values, alpha=self._decay)
            table.weight[rows] = values - self._rate * self._direction(gradient, rows, moments)

    def _direction(self, gradient: Tensor, rows: Tensor, moments: Sequence[Tensor]) -> Tensor:
        if self._kind == "sgd":
            return gradient
        if self._kind == "adagrad":
            total = moments[0][rows].addcmul_(gradient, gradient)
            moments[0][rows] = total
            return gradient / total.sqrt_().add_(_EPSILON)
        mean = moments[0][rows].lerp_(gradient, 1 - _BETA_1)
        square = moments[1][rows].mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        moments[0][rows], moments[1][rows] = mean, square
        scale = (square / (1 - _BETA_2**self._steps)).sqrt_().add_(_EPSILON)
        return mean / (1 - _BETA_1**self._steps) / scale

    def state(self) -> dict[str, object]:
        """What `restore` takes."""
        return {"steps": self._steps, "moments": self._moments}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from a saved state."""
        steps, moments = state["steps"], state["moments"]
        assert isinstance(steps, int)
        assert isinstance(moments, list)
        self._steps = steps
        for own, saved in zip(self._moments, moments, strict=True):
            for tensor, value in zip(own, saved, strict=True):
                tensor.copy_(value)

"""Experts spread over ranks: tokens travel to their experts' ranks and back (capacity-free, counts first)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from models.moe.exchange import Exchange, Topology
from models.moe.execution import sorted_experts
from models.moe.link_model import SIZES, WAYS, LinkModel, Way, measure
from models.moe.pulse import Pulse
from models.moe.routing import Routing
from tunewright.errors import WorkloadError


class ParallelExperts:
    """An execution (as `sorted_experts`) whose weights are this rank's share: expert e lives on rank e // (E / R).

    Args:
        exchange: between the ranks.
        n_experts: on all ranks together.
    Raises:
        WorkloadError: experts do not divide evenly between ranks.
    """

    def __init__(self, exchange: Exchange, n_experts: int) -> None:
        ranks = exchange.topology.ranks
        if n_experts % ranks:
            raise WorkloadError(
                f"experts: {n_experts} cannot be spread evenly over {ranks} ranks; take a multiple of {ranks}"
            )
        self._exchange, self.local = exchange, n_experts // ranks

    def __call__(self, x: Tensor, routing: Routing, up: Tensor, down: Tensor, activation: str) -> Tensor:
        """(T, d) for this rank's tokens (T, d).

        Args:
            routing: to all experts.
            up, down: of this rank's experts.
        Raises:
            ExchangeError: a rank is gone.
        """
        counts = routing.counts.view(-1, self.local)
        plan, came = self._exchange.plan(counts.sum(1), counts)
        rows = self._exchange.rows(x.index_select(0, routing.tokens), plan)
        experts = torch.arange(self.local).repeat(len(came)).repeat_interleave(came.flatten())
        here = Routing(
            tokens=torch.argsort(experts, stable=True),
            weights=rows.new_ones(len(rows)),
            counts=came.sum(0),
            dropped=0,
            auxiliary=rows.new_zeros(()),
        )
        outputs = sorted_experts(rows, here, up, down, activation)
        back = self._exchange.rows(outputs, plan.reversed())
        return torch.zeros_like(x).index_add(0, routing.tokens, back * routing.weights[:, None])


def calibrate(
    topology: Topology, *, timeout: timedelta, pulse: Pulse | None = None, sizes: Sequence[int] = SIZES
) -> LinkModel:
    """Measure both ways on these links; all ranks get the same model. Takes one or two hundred exchanges."""
    exchanges = {way: Exchange(topology, way=way, timeout=timeout, pulse=pulse) for way in WAYS}

    def call(way: Way, size: int) -> float:
        seconds, _ = timed_exchange(exchanges[way], size)
        return seconds

    def slowest(figures: list[float]) -> list[float]:
        table = torch.tensor(figures, dtype=torch.float64)
        dist.all_reduce(table, op=dist.ReduceOp.MAX)
        return [float(value) for value in table]

    return measure(call, slowest, sizes)


def timed_exchange(exchange: Exchange, size: int) -> tuple[float, Way]:
    """Seconds of one exchange, counts included, of `size` bytes from each rank to each; and the way its rows went."""
    n_rows = max(1, size // 64)
    sent = torch.full((exchange.topology.ranks,), n_rows)
    rows = torch.zeros(n_rows * exchange.topology.ranks, min(size, 64) // 4)
    dist.barrier()
    began = time.perf_counter()
    plan, _ = exchange.plan(sent)
    exchange.move(rows, plan)
    return time.perf_counter() - began, exchange.chosen(plan, rows.shape[1] * rows.element_size())

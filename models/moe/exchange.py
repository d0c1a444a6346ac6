"""AllToAll of rows between ranks, flat or by way of a leader on each host (HetuMoE, section 3.2).

Flat, every rank sends to every other: G * G messages between each two hosts of G ranks. Hierarchical, ranks hand their
rows to their host's leader, leaders exchange one message for each two hosts, and hand out what came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

from models.moe.errors import ExchangeError
from models.moe.link_model import LinkModel, Way
from models.moe.pulse import Pulse
from tunewright.errors import WorkloadError

# What came for this rank; for a leader also all that its host sent, and all that came for its host.
_Moved: TypeAlias = tuple[Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Topology:
    """Hosts of equally many ranks; rank = host * per_host + place on the host; the first place leads."""

    hosts: int
    per_host: int

    @property
    def ranks(self) -> int:
        return self.hosts * self.per_host

    def members(self, host: int) -> range:
        """A host's ranks, its leader first."""
        return range(host * self.per_host, (host + 1) * self.per_host)


@dataclass(frozen=True, eq=False)
class Plan:
    """Who sends how many rows to whom, as far as this rank has to know.

    Attributes:
        sent, received: (R,) rows to and from each rank.
        going: (G, R) rows from each rank of this host to each rank; None where it is not the leader.
        coming: (R, G) rows from each rank to each rank of this host; as `going`.
        total: rows of all ranks, the same on all.
        led: whether leaders know their `going` and `coming`: counts that went flat passed them by.
    """

    sent: Tensor
    received: Tensor
    going: Tensor | None
    coming: Tensor | None
    total: int
    led: bool

    def reversed(self) -> Plan:
        """The way back."""
        going = None if self.coming is None else self.coming.T
        coming = None if self.going is None else self.going.T
        return Plan(self.received, self.sent, going, coming, self.total, self.led)


class Exchange:
    """AllToAll among the ranks of the default process group (gloo), all of which must call the same in turn.

    Args:
        way: "flat", "hierarchical", or a model of both, measured by `calibrate`, that chooses for each exchange.
        timeout: within which an exchange fails if a rank does not take part.
        pulse: knows which ranks still live, to name those that do not; None: none is named.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        way: Way | LinkModel,
        timeout: timedelta,
        pulse: Pulse | None = None,
    ) -> None:
        if dist.get_world_size() != topology.ranks:
            raise WorkloadError(
                f"topology: {topology.hosts} hosts of {topology.per_host} ranks, but {dist.get_world_size()} ranks run"
            )
        self.topology, self.way, self.step = topology, way, 0
        self.rank = dist.get_rank()
        self._host, self._place = divmod(self.rank, topology.per_host)
        self._pulse, self._timeout = pulse, timeout
        # Every rank makes every group, in the same order, as torch asks.
        self._world = dist.new_group(timeout=timeout, backend="gloo")
        leaders = [topology.members(host)[0] for host in range(topology.hosts)]
        self._leaders = dist.new_group(leaders, timeout=timeout, backend="gloo")

    def plan(self, sent: Tensor, details: Tensor | None = None) -> tuple[Plan, Tensor]:
        """Tell all ranks how many rows come, and learn the same.

        Args:
            sent: (R,) int64, rows to each rank.
            details: (R, m) int64, more to tell each rank.
        Returns:
            The plan, and (R, m) of what the ranks told this one.
        """
        told = [sent[:, None], sent.sum().expand(len(sent), 1)] + ([] if details is None else [details])
        ones = torch.ones(self.topology.ranks, dtype=torch.int64)
        square = torch.ones(self.topology.per_host, self.topology.ranks, dtype=torch.int64)
        uniform = Plan(ones, ones, square, square.T, self.topology.ranks**2, led=True)
        table = torch.cat(told, dim=1)
        led = self.chosen(uniform, 8 * table.shape[1]) == "hierarchical"
        came, gathered, arrived = self._guarded("the exchange of counts", lambda: self._move(table, uniform))
        going = None if gathered is None else gathered[:, 0].view(self.topology.per_host, -1)
        coming = None if arrived is None else arrived[:, 0].view(-1, self.topology.per_host)
        return Plan(sent, came[:, 0], going, coming, int(came[:, 1].sum()), led), came[:, 2:]

    def rows(self, rows: Tensor, plan: Plan) -> Tensor:
        """Send rows (sum of sent, m), in order of their ranks; gives (sum of received, m), likewise. Differentiable.

        Raises:
            ExchangeError: it failed or did not end in time; names the step and the ranks that are gone.
        """
        moved: Tensor = _Rows.apply(rows, plan, self)  # type: ignore[no-untyped-call]
        return moved

    def move(self, rows: Tensor, plan: Plan) -> Tensor:
        """As `rows`, without a gradient."""
        came, *_ = self._guarded("AllToAll", lambda: self._move(rows, plan))
        return came

    def chosen(self, plan: Plan, row_bytes: int) -> Way:
        """The way an exchange goes: the same on all ranks."""
        if not plan.led:
            return "flat"
        if isinstance(self.way, LinkModel):
            return self.way.faster(plan.total * row_bytes / self.topology.ranks**2)
        return self.way

    def _move(self, rows: Tensor, plan: Plan) -> _Moved:
        rows = rows.contiguous()
        if self.chosen(plan, rows.shape[1] * rows.element_size()) == "hierarchical":
            return self._by_leaders(rows, plan)
        return self._flat(rows, plan), None, None

    def _flat(self, rows: Tensor, plan: Plan) -> Tensor:
        return _all_to_all(rows, plan.sent.tolist(), plan.received.tolist(), self._world)

    def _by_leaders(self, rows: Tensor, plan: Plan) -> _Moved:
        members = self.topology.members(self._host)
        if self._place:
            came = rows.new_empty(int(plan.received.sum()), rows.shape[1])
            _send(rows, members[0], self._world)
            _receive(came, members[0], self._world)
            return came, None, None
        assert plan.going is not None
        assert plan.coming is not None
        per_host, hosts = self.topology.per_host, self.topology.hosts
        parts = [rows, *(rows.new_empty(n, rows.shape[1]) for n in plan.going.sum(1).tolist()[1:])]
        _all_of([dist.irecv(p, r, group=self._world) for p, r in zip(parts[1:], members[1:], strict=True) if len(p)])
        gathered = torch.cat(parts)
        # From (member, host, place) to (host, member, place): what goes to one host lies together.
        by_host = plan.going.view(per_host, hosts, per_host).sum(2)
        ordered = _transposed(gathered, by_host)
        came_by_host = plan.coming.view(hosts, per_host, per_host).sum((1, 2))
        arrived = _all_to_all(ordered, by_host.sum(0).tolist(), came_by_host.tolist(), self._leaders)
        # From (rank, place) to (place, rank): what is for one member lies together, by the rank it came from.
        outgoing = torch.split(_transposed(arrived, plan.coming), plan.coming.sum(0).tolist())
        _all_of([dist.isend(o, r, group=self._world) for o, r in zip(outgoing[1:], members[1:], strict=True) if len(o)])
        return outgoing[0], gathered, arrived

    def _guarded(self, what: str, call: Callable[[], _Moved]) -> _Moved:
        try:
            return call()
        except RuntimeError as error:
            missing = self._pulse.missing() if self._pulse is not None else ()
            lost = (
                f"rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} no longer answer"
                if missing
                else ("every rank still answers" if self._pulse is not None else "which rank is gone is not known")
            )
            raise ExchangeError(
                f"{what} failed at step {self.step} on rank {self.rank} of {self.topology.ranks} "
                f"(time-out {self._timeout.total_seconds():g} s): {lost}; start again from the last checkpoint",
                self.step,
                missing,
            ) from error


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, plan: Plan, exchange: Exchange) -> Tensor:
        ctx.plan, ctx.exchange = plan, exchange
        return exchange.move(rows, plan)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.exchange.move(gradients[0], ctx.plan.reversed()), None, None


def _transposed(rows: Tensor, counts: Tensor) -> Tensor:
    """Groups of rows that lie as counts (a, b), row by row, laid column by column."""
    pieces = torch.split(rows, counts.flatten().tolist())
    n_rows, n_columns = counts.shape
    return torch.cat([pieces[row * n_columns + column] for column in range(n_columns) for row in range(n_rows)])


def _all_to_all(rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
    came = rows.new_empty(sum(received), rows.shape[1])
    dist.all_to_all_single(came, rows, received, sent, group=group)
    return came


def _send(rows: Tensor, rank: int, group: Any) -> None:
    if len(rows):
        _all_of([dist.isend(rows, rank, group=group)])


def _receive(rows: Tensor, rank: int, group: Any) -> None:
    if len(rows):
        _all_of([dist.irecv(rows, rank, group=group)])


def _all_of(works: Sequence[Any]) -> None:
    for work in works:
        work.wait()

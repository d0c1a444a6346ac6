"""One host of `benchmarks.alltoall`: forks its ranks, which exchange rows and tell how long it took.

    python -m benchmarks._alltoall_host ORDER

ORDER is JSON: host, hosts, per_host, store (a file that all hosts see), sizes, repeats, result (a file for rank 0).
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from models.moe.exchange import Exchange, Topology
from models.moe.link_model import Way
from models.moe.parallel import calibrate, timed_exchange

TIMEOUT = timedelta(seconds=30)
WAYS = ("flat", "hierarchical", "chosen")


def main() -> None:
    """Fork the ranks and wait for them; ends with 1 if one failed."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    # One import of PyTorch for all ranks of the host; no thread has been started yet.
    children = []
    for place in range(order["per_host"]):
        child = os.fork()
        if not child:
            _child(order, order["host"] * order["per_host"] + place)
        children.append(child)
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    sys.exit(bool(failed))


def _child(order: Mapping[str, Any], rank: int) -> None:
    code = 1
    try:
        _rank(order, rank)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _rank(order: Mapping[str, Any], rank: int) -> None:
    torch.set_num_threads(1)
    topology = Topology(order["hosts"], order["per_host"])
    store = dist.FileStore(order["store"], topology.ranks)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=topology.ranks, timeout=TIMEOUT)
    model = calibrate(topology, timeout=TIMEOUT)
    exchanges = {
        "flat": Exchange(topology, way="flat", timeout=TIMEOUT),
        "hierarchical": Exchange(topology, way="hierarchical", timeout=TIMEOUT),
        "chosen": Exchange(topology, way=model, timeout=TIMEOUT),
    }
    table = torch.zeros(len(order["sizes"]), len(WAYS), order["repeats"], dtype=torch.float64)
    for exchange in exchanges.values():
        timed_exchange(exchange, 64)
    # What the model holds for faster is not always what runs: counts that went flat leave no other way to their rows.
    chosen: list[Way] = ["flat"] * len(order["sizes"])
    for turn in range(order["repeats"]):
        for at, size in enumerate(order["sizes"]):
            for index, way in enumerate(WAYS):
                table[at, index, turn], went = timed_exchange(exchanges[way], size)
                if way == "chosen":
                    chosen[at] = went
    # An exchange has ended when its last rank has.
    dist.all_reduce(table, op=dist.ReduceOp.MAX)
    if rank == 0:
        Path(order["result"]).write_text(json.dumps({"model": str(model), **_found(order, chosen, table)}))
    dist.barrier()


def _found(order: Mapping[str, Any], chosen: Sequence[Way], table: torch.Tensor) -> dict[str, Any]:
    medians = table.median(dim=2).values
    low, high = table.quantile(0.25, dim=2), table.quantile(0.75, dim=2)
    return {
        "sizes": [
            {
                "size": size,
                "chosen way": chosen[at],
                **{way: float(medians[at, index]) for index, way in enumerate(WAYS)},
                **{
                    f"{way} quartiles": [float(low[at, index]), float(high[at, index])]
                    for index, way in enumerate(WAYS)
                },
            }
            for at, size in enumerate(order["sizes"])
        ]
    }


if __name__ == "__main__":
    main()

"""When does the hierarchical AllToAll pay? Flat, hierarchical, and the automatic choice, over shaped links.

    python -m benchmarks.alltoall [--quick] [--json FILE]

Hosts are network namespaces on a bridge, each behind a link that `tc tbf` holds to a rate in both directions; their
ranks are processes that exchange rows by gloo, counts first, as expert parallelism does. That takes root; where
namespaces are not allowed it says so, and all ranks talk over the loopback device, unshaped. Each size is exchanged by
the three ways in rotation; a time is that of the slowest rank, the median of all turns. Links have no delay beyond
their rate (this kernel may lack netem), so what the hierarchy saves is messages: their headers and their handling.

speedup_hier_max   flat over hierarchical, largest over sizes and layouts
auto_behind_max    by how much the automatic choice is slower than the better way, at worst, as a share
auto_regret_max    the same of the way that it chose, by the times of that way: what is left is no noise between turns
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._harness import Cell, Result, arguments, publish
from benchmarks._namespaces import LINK, hosts

NAME = "alltoall"
# For a layout: links of 20 Mbit/s take minutes for what the fastest do in seconds.
TIMEOUT = 900


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        layouts: hosts, ranks of each, and the links' rate.
        sizes: bytes from each rank to each other.
    """

    layouts: Sequence[tuple[int, int, str]]
    sizes: Sequence[int]
    repeats: int


QUICK = Scale([(2, 4, "200mbit"), (4, 4, "200mbit")], (64, 512, 4_096, 32_768), 11)
FULL = Scale(
    [(n, ranks, rate) for rate in ("1gbit", "200mbit", "20mbit") for n, ranks in ((2, 2), (2, 4), (3, 3), (4, 4))],
    (64, 512, 2_048, 8_192, 32_768),
    21,
)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    asked = arguments(NAME, "When does the hierarchical AllToAll pay?", argv)
    scale = scale or (QUICK if asked.quick else FULL)
    result = Result(NAME, asked.command)
    shaped = True
    for n_hosts, per_host, rate in scale.layouts:
        with hosts(n_hosts, rate) as namespaces:
            if namespaces is None:
                if shaped:
                    print("Network namespaces are not allowed here: links are unshaped, over the loopback device.")
                shaped, rate = False, "unshaped"
            prefixes = [host.words for host in namespaces or ()] or [[]] * n_hosts
            found = _run(prefixes, per_host, scale, shaped)
        print(f"{n_hosts} hosts of {per_host} ranks, {rate}: {found['model']}")
        result.rows += [_row(n_hosts, per_host, rate, times) for times in found["sizes"]]
    result.headline["speedup_hier_max"] = max(float(row["speed-up"] or 0) for row in result.rows)
    result.headline["auto_behind_max"] = max(float(row["choice behind"] or 0) for row in result.rows)
    result.headline["auto_regret_max"] = max(float(row["regret"] or 0) for row in result.rows)
    result.headline["shaped"] = float(shaped)
    publish(result, asked.json)


def _run(prefixes: Sequence[Sequence[str]], per_host: int, scale: Scale, shaped: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        order = {
            "hosts": len(prefixes),
            "per_host": per_host,
            "store": f"{directory}/store",
            "sizes": list(scale.sizes),
            "repeats": scale.repeats,
            "result": f"{directory}/result",
        }
        environment = [f"GLOO_SOCKET_IFNAME={LINK if shaped else 'lo'}", "OMP_NUM_THREADS=1"]
        processes = []
        for host, prefix in enumerate(prefixes):
            command = [*prefix, "env", *environment, sys.executable, "-m", "benchmarks._alltoall_host"]
            process = subprocess.Popen([*command, json.dumps({**order, "host": host})])
            running.callback(process.wait)
            running.callback(process.terminate)
            processes.append(process)
        codes = [process.wait(TIMEOUT) for process in processes]
        if any(codes):
            raise RuntimeError(f"hosts ended with {codes}; their errors stand above")
        found: dict[str, Any] = json.loads(Path(directory, "result").read_text())
        return found


def _row(n_hosts: int, per_host: int, rate: str, times: dict[str, Any]) -> dict[str, Cell]:
    flat, hierarchical, chosen = times["flat"], times["hierarchical"], times["chosen"]
    better = min(flat, hierarchical)
    return {
        "hosts": n_hosts,
        "ranks": per_host,
        "link": rate,
        "bytes": times["size"],
        "flat ms": 1e3 * flat,
        "hierarchical ms": 1e3 * hierarchical,
        "chosen ms": 1e3 * chosen,
        "choice": times["chosen way"],
        "speed-up": flat / hierarchical,
        "choice behind": max(0.0, chosen / better - 1),
        "regret": times[times["chosen way"]] / better - 1,
    }


if __name__ == "__main__":
    main()

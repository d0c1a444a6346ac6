"""Second-order walks: against other disk-based engines, against PecanPy in memory, and how time grows.

    python -m benchmarks.walks [--part memory|disk|growth] [--quick] [--json FILE]

disk     an RMAT graph at least ten times the memory budget, one walk per vertex, p 0.5, q 2; every engine reads past
         the page cache. sogw, sgsc and mmap are stopped after some seconds, and their time is scaled by the share of
         steps done (a column says which); their first steps are their cheapest, so that favours them.
memory   an RMAT graph of 2^17 ids and 1.45 million edges drawn, length 80, two threads, beside PecanPy's fastest mode
         that fits; and the disk part's graph, which no cache holds, beside the limit that memory sets: two dependent
         random reads a step, one walk at a time on each thread
growth   seconds against edges at a tenth of the graph, and against the budget; 10 steps from each vertex

speedup_vs_sogw, speedup_vs_best_disk_baseline  wall time of the other over ours
bytes_read_ratio, block_loads_ratio             the best baseline that ran to its end over ours (of those that were
                                                stopped, scaled up, where none did); a load is one read of a contiguous
                                                part: a block, or our span
steps_per_second_vs_pecanpy                     ours over PecanPy's best, same graph and parameters
steps_per_second_share_of_limit                 ours over the limit, on the graph that no cache holds
peak_rss_over_budget_mb                         peak memory of a walking process above one that only opened the graph,
                                                minus the budget
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import _walks_baselines as baselines
from benchmarks import _walks_peers as peers
from benchmarks._harness import Cell, Result, arguments, publish
from benchmarks._walks_limit import steps_per_second_limit
from models.data.edges import rmat
from models.walks.build import build_graph
from models.walks.engine import Outcome, walk
from models.walks.format import NO_VERTEX, Graph
from models.walks.memory import LoadedGraph
from models.walks.rule import Rule

NAME = "walks"
P, Q = 0.5, 2.0
MB = 1 << 20
# Small, so that small budgets still hold several.
SEGMENT_BYTES = 1 << 14


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        disk_edges, disk_length, patience: edges drawn and steps of the disk part; seconds for engines that are stopped.
        ratio: graph over budget.
        memory_length: steps of a walk in memory; peer_length: of PecanPy's, whose rate does not depend on it.
        peer_modes: of PecanPy; repeats: runs whose median is taken.
        growth: edges drawn; budgets: graph over budget, all of the graph of `growth_budgets`' edges, the first of each.
    """

    disk_scale: int
    disk_edges: int
    disk_length: int
    patience: float
    memory_length: int
    peer_length: int
    peer_modes: Sequence[str]
    repeats: int
    growth: Sequence[int]
    growth_budgets: int
    budgets: Sequence[int]
    ratio: float = 10.5


QUICK = Scale(18, 6_000_000, 10, 6.0, 80, 10, peers.QUICK_MODES, 3, (250_000, 1_000_000), 1_000_000, (10, 2))
GROWTH = (1_000_000, 10_000_000, 30_000_000, 100_000_000)
FULL = Scale(19, 16_000_000, 20, 60.0, 80, 80, peers.MODES, 5, GROWTH, 10_000_000, (10, 2, 5, 20, 50))


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parts = {"memory": _in_memory, "disk": _on_disk, "growth": _growth}
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--part", choices=parts)
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, "How fast are second-order walks?", rest)
    scale = scale or (QUICK if found.quick else FULL)
    result = Result(NAME, found.command + (f" --part {own.part}" if own.part else ""))
    with tempfile.TemporaryDirectory(prefix="walks-", dir=Path.cwd()) as directory:
        for name, part in parts.items():
            if own.part in (None, name):
                part(result, scale, Path(directory))
    publish(result, found.json)


def _in_memory(result: Result, scale: Scale, work: Path) -> None:
    """Against PecanPy on a graph that caches hold, as the larger ones it is good for would take it very long."""
    graph = build_graph(rmat(17, 1_450_000, seed=1), work / "small", ids="relabel")
    loaded = LoadedGraph.of(graph)
    ours = [_rate(result, "small", loaded, scale.memory_length, threads, scale.repeats)[0] for threads in (1, 2)]
    best = 0.0
    found = peers.pecanpy(loaded, P, Q, scale.peer_length, threads=2, work=work, modes=scale.peer_modes)
    for mode, rate in found.items():
        row: dict[str, Cell] = {
            "in memory": f"pecanpy {mode}",
            "graph": "small",
            "threads": 2,
            "steps per second": rate,
        }
        result.keep({**row, "slowest": None, "fastest": None, "limit": None, "share of limit": None})
        best = max(best, rate or 0.0)
    result.headline["steps_per_second_2_threads"] = ours[1]
    if best:
        result.headline["steps_per_second_vs_pecanpy"] = ours[1] / best
    shutil.rmtree(graph.path)


def _rate(
    result: Result, name: str, loaded: LoadedGraph, length: int, threads: int, repeats: int
) -> tuple[float, float]:
    """Median steps per second, and the limit's."""
    rule, rates = Rule(P, Q, length, seed=1), []
    loaded.rows(rule, 0, 100)
    for turn in range(repeats):
        began = time.perf_counter()
        rows = loaded.rows(rule, turn * loaded.vertices, (turn + 1) * loaded.vertices, threads=threads)
        seconds = time.perf_counter() - began
        rates.append(int(np.count_nonzero(rows[:, 1:] != NO_VERTEX)) / seconds)
    ours, limit = statistics.median(rates), steps_per_second_limit(loaded, length, threads, repeats)
    row: dict[str, Cell] = {"in memory": "tunewright", "graph": name, "threads": threads, "steps per second": ours}
    more = {"slowest": min(rates), "fastest": max(rates), "limit": limit, "share of limit": ours / limit}
    result.keep({**row, **more})
    return ours, limit


def _on_disk(result: Result, scale: Scale, work: Path) -> None:
    graph = build_graph(rmat(scale.disk_scale, scale.disk_edges, seed=2), work / "large", segment_bytes=SEGMENT_BYTES)
    rates = [_rate(result, "large", LoadedGraph.of(graph), scale.disk_length, threads, 3) for threads in (1, 2)]
    result.headline["steps_per_second_share_of_limit"] = rates[1][0] / rates[1][1]
    rule, budget = Rule(P, Q, scale.disk_length, seed=3), int(graph.size / scale.ratio)
    ours, peak = _own_process(graph, rule, budget, work)
    loads = int(ours["loads"])
    rows = {"tunewright": baselines.Measured(ours["seconds"], 1.0, int(ours["bytes_read"]), loads, 0, ours["reading"])}
    result.keep(_disk_row("tunewright", rows["tunewright"], graph, budget, ours["steps"]))
    for name, engine in (
        ("buckets", baselines.buckets),
        ("sogw", baselines.sogw),
        ("sgsc", baselines.sgsc),
        ("mmap", baselines.mapped),
    ):
        task = baselines.Task(graph, rule, budget, work / name, scale.patience, int(ours["steps"]))
        rows[name] = engine(task)
        shutil.rmtree(task.work)
        result.keep(_disk_row(name, rows[name], graph, budget, ours["steps"]))
    others = {name: measured for name, measured in rows.items() if name != "tunewright"}
    best = min(others.values(), key=lambda each: each.seconds)
    result.headline["speedup_vs_sogw"] = others["sogw"].seconds / ours["seconds"]
    result.headline["speedup_vs_best_disk_baseline"] = best.seconds / ours["seconds"]
    whole = _best_whole(list(others.values()))
    result.headline["bytes_read_ratio"] = whole.bytes_read / whole.share / ours["bytes_read"]
    result.headline["block_loads_ratio"] = whole.loads / whole.share / loads
    result.headline["peak_rss_over_budget_mb"] = peak - budget / MB
    shutil.rmtree(graph.path)


def _best_whole(others: Sequence[baselines.Measured]) -> baselines.Measured:
    """The fastest of those that ran to their end; of all, where none did."""
    return min([each for each in others if each.share == 1] or others, key=lambda each: each.seconds)


def _disk_row(name: str, measured: baselines.Measured, graph: Graph, budget: int, steps: float) -> dict[str, Cell]:
    return {
        "on disk": name,
        "graph MB": graph.size / MB,
        "budget MB": budget / MB,
        "seconds": measured.seconds,
        "of it reading": measured.read_seconds,
        "share run": measured.share,
        "GB read": measured.bytes_read / 1e9 / measured.share,
        "loads": measured.loads / measured.share,
        "us per step": 1e6 * measured.seconds / steps,
    }


PROGRAM = """
import json, sys
from benchmarks._memory import from_here
from models.walks.engine import walk
from models.walks.format import Graph
from models.walks.rule import Rule
path, tiny, target, p, q, length, seed, budget = sys.argv[1:]
walk(Graph.open(tiny), target + "-warm", Rule(float(p), float(q), 3), memory_budget=1 << 20)
risen = from_here()
outcome = walk(Graph.open(path), target, Rule(float(p), float(q), int(length), int(seed)), memory_budget=int(budget))
print(json.dumps({**outcome.traffic, "wall": outcome.seconds, "rise": risen(), "steps": outcome.steps}))
"""


def _own_process(graph: Graph, rule: Rule, budget: int, work: Path) -> tuple[dict[str, float], float]:
    """Ours in a process of its own: figures, and by how many MB its peak memory rose above that of a tiny walk."""
    tiny = build_graph(np.array([[0, 1], [1, 2], [2, 0]]), work / "tiny")
    command = [sys.executable, "-c", PROGRAM, str(graph.path), str(tiny.path), str(work / "ours")]
    command += [str(each) for each in (rule.p, rule.q, rule.length, rule.seed, budget)]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    shutil.rmtree(work / "ours")
    figures = {
        "seconds": told["wall"],
        "bytes_read": told["bytes_read"],
        "loads": told["loads"],
        "steps": told["steps"],
    }
    return {**figures, "reading": told["seconds"]}, told["rise"]


def _growth(result: Result, scale: Scale, work: Path) -> None:
    for edges in scale.growth:
        began = time.perf_counter()
        graph = build_graph(
            rmat(int(np.log2(edges / 16)), edges, seed=4),
            work / f"g{edges}",
            memory_budget=64 * MB,
            segment_bytes=SEGMENT_BYTES,
        )
        built = time.perf_counter() - began
        budgets = scale.budgets if edges == scale.growth_budgets else scale.budgets[:1]
        for ratio in budgets:
            outcome = walk(graph, work / "grown", Rule(P, Q, 10, seed=5), memory_budget=int(graph.size / ratio))
            result.keep(_growth_row(graph, ratio, built, outcome))
            shutil.rmtree(work / "grown")
        shutil.rmtree(graph.path)


def _growth_row(graph: Graph, ratio: int, built: float, outcome: Outcome) -> dict[str, str | int | float | None]:
    return {
        "edges": graph.edges,
        "graph over budget": ratio,
        "build seconds": built,
        "walk seconds": outcome.seconds,
        "us per step": 1e6 * outcome.seconds / outcome.steps,
        "bytes read per step": outcome.traffic["bytes_read"] / outcome.steps,
        "rounds": outcome.rounds,
        "spans": outcome.plan["spans"],
        "blocks": outcome.plan["blocks"],
    }


if __name__ == "__main__":
    main()

"""PecanPy on the same graph, in the environment that holds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.peers import environment
from models.walks.memory import LoadedGraph

PYTHON_VARIABLE = "TUNEWRIGHT_PECANPY_PYTHON"
# PecanPy's own modes; PreComp keeps a table per edge and neighbour, for which hubs leave no room.
MODES = ("SparseOTF", "PreComp")
QUICK_MODES = ("SparseOTF",)
SECONDS = 150
MEMORY_BYTES = 8 << 30

PROGRAM = """
import json, resource, sys, time
import numpy as np
folder, mode, p, q, length, threads, memory = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
import numba
numba.set_num_threads(int(threads))
from pecanpy import pecanpy
indptr, indices = np.load(folder + "/indptr.npy"), np.load(folder + "/indices.npy")
graph = getattr(pecanpy, mode)(float(p), float(q), int(threads), False)
graph.indptr, graph.indices = indptr, indices
graph.data = np.ones(len(indices), np.float32)
graph.set_node_ids([str(i) for i in range(len(indptr) - 1)])
graph.preprocess_transition_probs()
graph.simulate_walks(num_walks=1, walk_length=2)
began = time.perf_counter()
walks = graph.simulate_walks(num_walks=1, walk_length=int(length))
seconds = time.perf_counter() - began
print(json.dumps(sum(len(walk) - 1 for walk in walks) / seconds))
"""


def python() -> Path | None:
    """The interpreter that has PecanPy; None where there is none."""
    chosen = os.environ.get(PYTHON_VARIABLE)
    found = Path(chosen) if chosen else environment.PYTHON
    if not found.exists():
        return None
    asked = subprocess.run([str(found), "-c", "import pecanpy"], capture_output=True, check=False)
    return found if asked.returncode == 0 else None


def pecanpy(
    graph: LoadedGraph, p: float, q: float, length: int, *, threads: int, work: Path, modes: Sequence[str] = MODES
) -> dict[str, float | None]:
    """Steps per second of each mode; None where it did not fit into memory or time. Empty without PecanPy."""
    interpreter = python()
    if interpreter is None:
        print(
            f"PecanPy is missing, so steps_per_second_vs_pecanpy is too: install pecanpy==2.0.9 into "
            f"{environment.ENVIRONMENT}, or name another interpreter that has it in {PYTHON_VARIABLE}",
            file=sys.stderr,
        )
        return {}
    np.save(work / "indptr.npy", graph.offsets.astype(np.uint32))
    np.save(work / "indices.npy", graph.neighbours)
    found: dict[str, float | None] = {}
    for mode in modes:
        command = [str(interpreter), "-c", PROGRAM, str(work), mode, str(p), str(q), str(length), str(threads)]
        try:
            done = subprocess.run(
                [*command, str(MEMORY_BYTES)], capture_output=True, text=True, timeout=SECONDS, check=False
            )
            found[mode] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
            if done.returncode:
                print(f"PecanPy {mode}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}", file=sys.stderr)
        except subprocess.TimeoutExpired:
            found[mode] = None
            print(f"PecanPy {mode}: not done after {SECONDS} s", file=sys.stderr)
    return found

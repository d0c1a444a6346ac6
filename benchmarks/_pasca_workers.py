"""Propagating on Ray workers that share the operator, beside one thread of one process: what exchanging halos costs."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import ray

from benchmarks._harness import Cell
from benchmarks._pasca_propagation import bare_rmat
from models.gnn._kernels import threads_at_most
from models.gnn.operators import normalised, propagate
from models.gnn.partition import split
from workers.propagation import Workers

_FEATURES, _STEPS = 64, 4
# Bytes of each worker's features, and of the cluster's shared memory.
_MEMORY, _SHARED = 4 << 30, 2 << 30


def compare(nodes: int, edges: int, counts: Sequence[int], repeats: int) -> list[dict[str, Cell]]:
    """Rows by number of workers, each with one thread on this machine; 0 workers: this process.

    Seconds are of the clock, medians of repeats that go round. A step's are what a further step adds, its result's way
    back and into a file included; what the first step takes beyond that is the start: workers come up, and are sent
    their parts and features. Results are compared bit for bit.
    """
    threads_at_most(1)
    x = np.random.default_rng(0).standard_normal((nodes, _FEATURES), dtype=np.float32)
    csr = normalised(bare_rmat(nodes, edges, x), "symmetric")
    wanted = propagate(csr, x, _STEPS)
    times: dict[int, list[tuple[float, float]]] = {count: [] for count in (0, *counts)}
    with tempfile.TemporaryDirectory(prefix="pasca-") as directory, _cluster(max(counts), Path(directory)):
        files = [Path(directory) / f"{step}.npy" for step in range(1, _STEPS + 1)]

        def shared_out(count: int, steps: int) -> None:
            list(Workers(count, 1, _MEMORY)(csr, x, files[:steps]))

        for _ in range(repeats):
            times[0].append(_step_seconds(lambda steps: propagate(csr, x, steps)))
            for count in counts:
                times[count].append(_step_seconds(partial(shared_out, count)))
                for made, file in zip(wanted[1:], files, strict=True):
                    assert np.array_equal(np.load(file, mmap_mode="r"), made)
    medians = {count: np.median(found, axis=0) for count, found in times.items()}
    return [
        {
            "workers": count,
            "entries": len(csr.indices),
            "step s": float(step),
            "start s": float(start),
            "speed-up of a step": float(medians[0][0] / step),
            # Rows that are sent in a step.
            "halo rows / nodes": sum(len(part.halo) for part in split(csr, max(1, count))) / nodes,
        }
        for count, (step, start) in medians.items()
    ]


def _step_seconds(run: Callable[[int], object]) -> tuple[float, float]:
    """Seconds of a further step, and of the start."""
    seconds = []
    for steps in (1, _STEPS):
        began = time.perf_counter()
        run(steps)
        seconds.append(time.perf_counter() - began)
    step = (seconds[1] - seconds[0]) / (_STEPS - 1)
    return step, seconds[0] - step


@contextmanager
def _cluster(cpus: int, directory: Path) -> Iterator[None]:
    """A local one, with room for features in its shared memory; it may offer more processors than there are."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=_SHARED,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(directory / "ray"),
    )
    try:
        yield
    finally:
        ray.shutdown()

"""How fast features are propagated: ours, scipy's, torch's, beside copying memory; and out of core."""

from __future__ import annotations

import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from benchmarks._harness import Cell
from models.data.graph import Graph, from_edges
from models.data.random_graphs import rmat_edges
from models.gnn._kernels import threads_at_most
from models.gnn.operators import CSR, apply, normalised, propagate_out_of_core

_CORNERS = (0.57, 0.19, 0.19)
_WIDTHS = (16, 64, 128)
_REPEATS = 3
# Bytes that the three blocks of an out-of-core run may take.
_BLOCKS = 256 << 20


def bare_rmat(nodes: int, edges: int, features: NDArray[np.float32], seed: int = 0) -> Graph:
    """An RMAT graph with given features and labels that mean nothing."""
    rng = np.random.default_rng(seed)
    source, target = rmat_edges(nodes, edges, _CORNERS, rng)
    train, valid, test = np.split(np.arange(6), 3)
    labels = np.arange(nodes) % 2
    return from_edges(source, target, features, labels, name="rmat", train=train, valid=valid, test=test)


def speeds(nodes: int, edges: int, threads: int) -> list[dict[str, Cell]]:
    """GB/s of one step on an RMAT graph, by whose product and number of features; the fastest of some repeats.

    Seconds are the processor's, of all threads together, and those of the result's memory, which each makes anew, are
    within. Repeats go round: each begins with another product, so that none always follows the same one.
    Bytes are those that the product has to touch: each entry's value (4), column (4; 8 of torch, which counts as 4) and
    row of features (4 d), and each row of the result (4 d). What caches save shows as speed above the copy's.
    """
    threads_at_most(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    graph = bare_rmat(nodes, edges, np.zeros((nodes, 1), dtype=np.float32))
    csr = normalised(graph, "symmetric")
    rows: list[dict[str, Cell]] = []
    copied = _copy_speed(threads)
    for width in _WIDTHS:
        x = rng.standard_normal((nodes, width), dtype=np.float32)
        touched = len(csr.indices) * (8 + 4 * width) + x.nbytes
        row: dict[str, Cell] = {"edges": graph.edges, "features": width}
        for name, seconds in _shortest(_products(csr, x)).items():
            row[f"{name} GB/s"] = touched / seconds / 1e9
        row["copy GB/s"] = copied
        rows.append(row)
    return rows


def out_of_core(nodes: int, edges: int, features: int, steps: int) -> dict[str, Cell]:
    """Propagating features that lie on disk: seconds, and what memory was held beside graph and operator."""
    with tempfile.TemporaryDirectory(prefix="pasca-") as directory:
        home = Path(directory)
        x = np.lib.format.open_memmap(home / "x.npy", "w+", np.float32, (nodes, features))
        rng = np.random.default_rng(0)
        for start in range(0, nodes, 1 << 16):
            x[start : start + (1 << 16)] = rng.standard_normal(x[start : start + (1 << 16)].shape, dtype=np.float32)
        x.flush()
        began = time.process_time()
        graph = bare_rmat(nodes, edges, x)
        csr = normalised(graph, "symmetric")
        built = time.process_time() - began
        began = time.process_time()
        files = [home / f"{step}.npy" for step in range(1, steps + 1)]
        made = propagate_out_of_core(csr, x, files, memory=_BLOCKS)
        seconds = time.process_time() - began
        # A sample of rows of the last step, from the step before it.
        rows = rng.integers(nodes, size=50)
        for row in rows:
            part = slice(csr.indptr[row], csr.indptr[row + 1])
            wanted = csr.values[part] @ made[-2][csr.indices[part]]
            np.testing.assert_allclose(made[-1][row], wanted, rtol=1e-3, atol=1e-4)
    operator = csr.indptr.nbytes + csr.indices.nbytes + csr.values.nbytes
    return {
        "edges": graph.edges,
        "nodes": nodes,
        "features": features,
        "steps": steps,
        "build s": built,
        "propagate s": seconds,
        "features MB": (steps + 1) * x.nbytes / 1e6,
        "blocks MB": _BLOCKS / 1e6,
        "operator MB": operator / 1e6,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def _products(csr: CSR, x: NDArray[np.float32]) -> dict[str, Callable[[], object]]:
    theirs = sparse.csr_array((csr.values, csr.indices, csr.indptr), shape=(csr.n, csr.n))
    with warnings.catch_warnings():
        # Beta state, and invariants that are not checked: both known.
        warnings.simplefilter("ignore")
        tensor = torch.sparse_csr_tensor(
            torch.from_numpy(csr.indptr),
            torch.from_numpy(csr.indices.astype(np.int64)),
            torch.from_numpy(csr.values),
            size=(csr.n, csr.n),
        )
    dense = torch.from_numpy(x)
    return {"ours": lambda: apply(csr, x), "scipy": lambda: theirs @ x, "torch": lambda: tensor @ dense}


def _copy_speed(threads: int) -> float:
    """GB/s of copying 512 MB, read and written bytes counted, with so many threads."""
    source = torch.ones(1 << 27)
    target = torch.empty_like(source)
    assert torch.get_num_threads() == threads
    return 2 * source.numel() * 4 / _shortest({"copy": lambda: target.copy_(source)})["copy"] / 1e9


def _shortest(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Least processor seconds of each call, after one that does not count; each repeat begins with the next one."""
    names = list(calls)
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(_REPEATS):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            began = time.process_time()
            calls[name]()
            times[name].append(time.process_time() - began)
    return {name: min(seconds) for name, seconds in times.items()}

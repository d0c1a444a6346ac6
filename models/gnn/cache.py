"""Propagated features on disk, shared by all trials that need them: by (graph, operator, step)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.data.graph import Graph
from models.data.packages import cache_dir, remove_abandoned
from models.gnn.operators import CSR, DEFAULT_ALPHA, apply, normalised, propagate_out_of_core

# Features that take more than this are propagated some columns at a time.
MEMORY = 4 << 30
_UNFINISHED = "propagating-"

# Makes X_1 to X_k of an operator and X_0 in files, as `.npy`, in their order; yields those that are done.
Maker = Callable[[CSR, NDArray[np.float32], Sequence[Path]], Iterator[Path]]


@dataclass(frozen=True)
class Operator:
    """Which operator: the arguments of `normalised`. Two that are equal give the same features."""

    kind: str
    r: float = 0.5
    alpha: float = DEFAULT_ALPHA

    @property
    def label(self) -> str:
        return f"{self.kind}-r{self.r:g}" + (f"-a{self.alpha:g}" if self.kind == "ppr" else "")


def propagated(
    graph: Graph,
    operator: Operator,
    k: int,
    *,
    root: Path | None = None,
    memory: int = MEMORY,
    make: Maker | None = None,
) -> list[NDArray[np.float32]]:
    """X_0 to X_k of the graph's features, from the cache as far as it goes, computed and kept from there on.

    A step's file comes to be as a whole or not at all, and is never changed: trials may run side by side, and at worst
    two compute the same step. X_1 to X_k are memory-mapped, so that trials on one machine share their pages. What a
    killed process has left behind in the cache is removed after a day.

    Args:
        root: directory of the cache; `propagated` in the user's cache by default.
        memory: bytes that computing may take beside operator and features.
        make: what computes; this process by default.
    Raises:
        WorkloadError: the operator is wrong, or the memory too small for one block.
    """
    root = root or _own_root()
    remove_abandoned(root.glob(f"*/*/{_UNFINISHED}*"))
    home = directory(graph, operator, root)
    files = [home / f"{step}.npy" for step in range(1, k + 1)]
    have = next((index for index, file in enumerate(files) if not file.exists()), k)
    if have < k:
        home.mkdir(parents=True, exist_ok=True)
        last = graph.features if have == 0 else np.load(files[have - 1], mmap_mode="r")
        csr = normalised(graph, operator.kind, operator.r, operator.alpha)
        if make is None:
            make = _out_of_core(memory) if 3 * last.nbytes > memory else _in_memory
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=home) as draft:
            for done in make(csr, last, [Path(draft) / file.name for file in files[have:]]):
                os.replace(done, home / done.name)
    return [graph.features, *(np.load(file, mmap_mode="r") for file in files)]


def directory(graph: Graph, operator: Operator, root: Path | None = None) -> Path:
    """Where a graph's features under an operator are kept, whether or not there are any yet."""
    return (root or _own_root()) / graph.key / operator.label


def _own_root() -> Path:
    return cache_dir() / "propagated"


def _in_memory(csr: CSR, x: NDArray[np.float32], files: Sequence[Path]) -> Iterator[Path]:
    for file in files:
        x = apply(csr, x)
        np.save(file, x)
        yield file


def _out_of_core(memory: int) -> Maker:
    def make(csr: CSR, x: NDArray[np.float32], files: Sequence[Path]) -> Iterator[Path]:
        propagate_out_of_core(csr, x, files, memory=memory)
        yield from files

    return make

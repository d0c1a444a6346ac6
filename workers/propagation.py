"""Propagating features on the workers of a Ray cluster: each has a part of the operator, and they exchange halos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from models.gnn.operators import CSR, reserved
from models.gnn.partition import Part, PartialFeatures, split
from tunewright.errors import WorkloadError
from workers.cluster import Cluster, ClusterError, ClusterSettings

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Workers:
    """How a graph is shared out; calling it propagates (a `models.gnn.cache.Maker`).

    Attributes:
        parts: how many workers there are.
        threads: processors of each.
        memory: bytes that features may take in each, beside its part of the operator.
        progress: told how many steps are done, each for some of the columns, of how many.
    """

    parts: int
    threads: int
    memory: int
    progress: Callable[[int, int], None] = lambda done, total: None

    def __call__(self, csr: CSR, x: Rows, files: Sequence[Path]) -> Iterator[Path]:
        """Write X_1 to X_k; none is yielded before all of its columns are done.

        Raises:
            WorkloadError: memory or disk are too small, or there are more parts than nodes.
            ClusterError: the cluster has too few processors, or a worker was lost.
        """
        parts = split(csr, self.parts)
        columns = self._columns(parts)
        _check(self.parts * self.threads)
        made = [reserved(file, x.shape) for file in files]
        starts = range(0, x.shape[1], columns)
        total = len(starts) * len(files)
        with _actors(parts, self.threads) as actors:
            for block, start in enumerate(starts):
                chosen = slice(start, start + columns)
                for step, rows in enumerate(_steps(parts, actors, x[:, chosen], len(files))):
                    for part, own in zip(parts, rows, strict=True):
                        made[step][part.nodes, chosen] = own
                    self.progress(block * len(files) + step + 1, total)
        for step in made:
            step.flush()
        yield from files

    def _columns(self, parts: Sequence[Part]) -> int:
        """How many columns fit into every worker."""
        least = max(part.column_bytes for part in parts)
        if self.memory < least:
            raise WorkloadError(
                f"propagation: a memory of {self.memory} bytes is smaller than one column in the largest of "
                f"{len(parts)} parts; give at least {least}, or more parts"
            )
        return self.memory // least


@contextmanager
def joined(address: str) -> Iterator[int]:
    """Join a cluster that runs already, and leave it; gives its number of nodes.

    Raises:
        ClusterError: it cannot be reached.
    """
    cluster = Cluster(ClusterSettings.running(address))
    cluster.connect()
    try:
        yield sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
    finally:
        cluster.disconnect()


class _PartWorker:
    """One part, on a worker."""

    def __init__(self, part: Part, threads: int) -> None:
        from models.gnn._kernels import threads_at_most

        threads_at_most(threads)
        # What Ray hands over cannot be written to, for which kernels would be compiled once more.
        arrays = {name: getattr(part, name).copy() for name in ("indptr", "indices", "values")}
        self._part = replace(part, **arrays)

    def begin(self, own: Rows) -> None:
        self._features = PartialFeatures(self._part, own)

    def rows(self, other: int) -> Rows:
        return self._features.rows(other)

    def step(self, *halo: Rows) -> Rows:
        return self._features.step(halo)


def _check(needed: int) -> None:
    api: Any = ray
    there = api.cluster_resources().get("CPU", 0.0)
    if needed > there:
        raise ClusterError(
            f"parts: they need {needed} processors together, the cluster has {there:g}; "
            "give fewer parts or threads, or add nodes"
        )


@contextmanager
def _actors(parts: Sequence[Part], threads: int) -> Iterator[list[Any]]:
    worker: Any = ray.remote(_PartWorker)
    options = {"num_cpus": threads, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
    actors: list[Any] = []
    try:
        for part in parts:
            actors.append(worker.options(**options).remote(part, threads))
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)


def _steps(parts: Sequence[Part], actors: Sequence[Any], x: Rows, k: int) -> Iterator[Iterator[Rows]]:
    """For each step, each part's rows, in order; a step is under way while the one before it is taken."""
    for part, actor in zip(parts, actors, strict=True):
        actor.begin.remote(np.ascontiguousarray(x[part.nodes], dtype=np.float32))
    before: list[Any] = []
    for step in range(k):
        # A worker does what it is told in order: all rows are taken before any part goes on.
        halos = [
            [actor.rows.remote(index) for actor, other in zip(actors, parts, strict=True) if len(other.sent[index])]
            for index in range(len(parts))
        ]
        under_way = [actor.step.remote(*halo) for actor, halo in zip(actors, halos, strict=True)]
        if before:
            yield _taken(before, step)
        before = under_way
    yield _taken(before, k)


def _taken(rows: list[Any], step: int) -> Iterator[Rows]:
    count = len(rows)
    for index in range(count):
        # Forgotten as soon as they are here: the cluster's shared memory holds a step or two.
        waited = rows.pop(0)
        try:
            own: Rows = ray.get(waited)
        except RayError as error:
            cause = str(getattr(error, "cause", None) or error).strip().splitlines()[0]
            raise ClusterError(
                f"propagation: part {index + 1} of {count} was lost in step {step}: {cause}; "
                "run it again, with more parts if memory was short"
            ) from error
        yield own

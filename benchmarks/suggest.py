"""How long does the next decision take, as a study grows? Ours and the peers', on one core.

    python -m benchmarks.suggest [--quick] [--json FILE]

20 parameters (real, integer, categorical; half of the numbers on a log scale), 100 trials running, and 100, 1,000 or
10,000 legs finished. Studies are brought to their size by replaying a journal of random configurations, as after a
restart; then the clock runs: each time one running leg ends, a new one is decided. Legs of whole trials count for
`bayes`, which knows no others. Peers run in their own environment (`benchmarks.peers`), are left out where that is
not installed, and are timed inside their process, so that no pipe is counted.

cpu             processor time of the same decisions: what is left of the wall time on a machine that is otherwise idle
new trial       decisions that start a new configuration; a promotion is only a look-up, and would flatter the figure
p95_ms_at_10000 95th percentile of the wall time of Hyper-Tune's new trials at 10,000 finished legs
"""

from __future__ import annotations

import gc
import json
import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks._harness import Cell, Result, arguments, percentile, publish
from benchmarks.peers import environment
from optimizers import registry
from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report
from tunewright.space import Categorical, Config, Float, Int, SearchSpace
from tunewright.study import Fidelity, Objective

NAME = "suggest"
PENDING = 100
SPACE = SearchSpace(
    [Float(f"rate{i}", 1e-4, 1.0, log=True) for i in range(4)]
    + [Float(f"share{i}", 0.0, 1.0) for i in range(4)]
    + [Int(f"width{i}", 1, 256, log=True) for i in range(3)]
    + [Int(f"depth{i}", 1, 12) for i in range(3)]
    + [Categorical(f"kind{i}", ["a", "b", "c", "d"]) for i in range(6)]
)
# Ours, and the optimizer that writes the journal which is replayed into it.
LADDER: Mapping[str, Any] = {"promotion": "delayed", "brackets": "round_robin"}
OURS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "hypertune": ("asha", LADDER),
    "asha": ("asha", LADDER),
    "mobster": ("asha", LADDER),
    "bayes": ("random", {}),
}
# Peers, and the largest size that ends within minutes. Optuna's GP needs PyTorch, which their environment lacks.
PEERS: Mapping[str, int] = {"optuna_tpe": 10_000, "syne_tune_bohb": 10_000, "syne_tune_hypertune": 100}


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        decisions: of new trials, at each size.
        seconds: after so many no further decision of the same size is made.
    """

    sizes: Sequence[int]
    decisions: int
    seconds: float
    peers: bool = True


FULL = Scale((100, 1_000, 10_000), 200, 60.0)
QUICK = Scale((100, 1_000, 10_000), 60, 8.0, peers=False)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    found = arguments(NAME, "How long does the next decision take, as a study grows?", argv)
    scale = scale or (QUICK if found.quick else FULL)
    result = Result(NAME, found.command)
    for size in scale.sizes:
        for name, (source, settings) in OURS.items():
            result.rows.append(_row(name, size, _ours(name, source, settings, size, scale)))
    if scale.peers and environment.exists():
        for name, largest in PEERS.items():
            for size in scale.sizes:
                if size <= largest and (row := _peer(name, size, scale)) is not None:
                    result.rows.append(row)
    for row in result.rows:
        if row["method"] == "hypertune" and row["finished"] in scale.sizes:
            for figure in ("p50", "p95"):
                value = row[f"new trial {figure} ms"]
                assert isinstance(value, float)
                result.headline[f"{figure}_ms_at_{row['finished']}"] = value
    publish(result, found.json)


@dataclass
class _Timed:
    """Milliseconds of decisions.

    Attributes:
        wall, cpu: of those that started trials.
        every: wall time of all.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    every: list[float] = field(default_factory=list)


def _ours(name: str, source: str, settings: Mapping[str, Any], size: int, scale: Scale) -> _Timed:
    problem = Problem(SPACE, [Objective(metric="loss")], Fidelity(name="epochs", max=81), seed=1)
    writer, timed = registry.create(source, settings, problem), registry.create(name, {}, problem)
    rng = np.random.default_rng(size)
    for _ in range(size):
        while len(writer.running) <= PENDING:
            job = writer.next_job()
            assert job is not None
            timed.replay(job)
        job = _any(writer, rng)
        for optimizer in (writer, timed):
            _end(optimizer, job)
    found = _Timed()
    gc.collect()
    began = time.perf_counter()
    # The first decision after a restart fits every model; it is no part of the percentiles.
    timed.next_job()
    while len(found.wall) < scale.decisions and time.perf_counter() - began < scale.seconds:
        _end(timed, _any(timed, rng))
        wall, cpu = time.perf_counter(), time.process_time()
        made = timed.next_job()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found.every.append(1e3 * wall)
        if made is not None and not made.start:
            found.wall.append(1e3 * wall)
            found.cpu.append(1e3 * cpu)
    return found


def _any(optimizer: Optimizer, rng: np.random.Generator) -> Job:
    running = list(optimizer.running.values())
    return running[int(rng.integers(len(running)))]


def _end(optimizer: Optimizer, job: Job) -> None:
    optimizer.observe(Report(job.id, job.trial, job.end, {"loss": loss(job.config, job.end)}))
    optimizer.finish(job.id, JobEnd.COMPLETED)


def loss(config: Config, resource: float) -> float:
    """A bowl in the unit cube with a ripple that fades as the resource grows."""
    point = SPACE.encode(config)
    return float(np.square(point - 0.3).sum() + np.sin(9 * point.sum()) / math.sqrt(resource))


def _peer(name: str, size: int, scale: Scale) -> dict[str, Cell] | None:
    """The same of a peer; None where it got nothing done in time."""
    rng = np.random.default_rng(size)
    configs = [SPACE.decode(rng.random(SPACE.dimension)) for _ in range(size + PENDING)]
    order = {
        "peer": name,
        "space": SPACE.model_dump(mode="json"),
        "finished": [{"config": config, "loss": loss(config, 81)} for config in configs[:size]],
        "running": configs[size:],
        "decisions": min(scale.decisions, 50),
        "seconds": scale.seconds,
    }
    command = [str(environment.PYTHON), "-m", "benchmarks.peers.suggest"]
    done = subprocess.run(
        command, cwd=environment.ROOT, input=json.dumps(order), capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{name}: {' '.join(command)} failed: {last}")
    found = _Timed(**json.loads(done.stdout.splitlines()[-1]))
    return _row(name, size, found) if found.wall else None


def _row(name: str, size: int, found: _Timed) -> dict[str, Cell]:
    return {
        "method": name,
        "finished": size,
        "new trials": len(found.wall),
        "new trial p50 ms": percentile(found.wall, 0.5),
        "new trial p95 ms": percentile(found.wall, 0.95),
        "cpu p95 ms": percentile(found.cpu, 0.95),
        "all p50 ms": percentile(found.every, 0.5),
        "all p95 ms": percentile(found.every, 0.95),
    }


if __name__ == "__main__":
    main()

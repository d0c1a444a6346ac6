"""Several objectives: how much of the losses' space is dominated after few trials, against Optuna's samplers.

    python -m benchmarks.pareto [--peers none] [--quick] [--json FILE]

One trial after the other; every method begins with ten trials of its own design, and knows nothing of the problem.
ZDT1, ZDT2 (Zitzler, Deb and Thiele, 2000; two losses of six numbers) and DTLZ2 (Deb and others, 2002; three losses of
six numbers) are the field's. `mixed` are three noisy losses of numbers on both scales, whole numbers and choices: an
error that has an optimum of its own and falls as more is spent, and two costs. Peers run in their own environment
(`benchmarks.peers`); Optuna's NSGA-II has our population.

volume                      that is dominated, exactly, between the losses and a fixed reference, as a share of the box
hypervolume_ratio_vs_RIVAL  volume of `bayes` by the rival's: geometric mean over problems and seeds, with its 95%
                            interval by bootstrap over problems and their seeds
seconds                     of processor time for all decisions of a study; of peers, wall time with the pipe's
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Result, arguments, publish
from benchmarks._speedups import interval
from benchmarks.peers import environment
from benchmarks.peers.optimizer import PeerProcess
from optimizers import registry
from optimizers.pareto import hypervolume
from optimizers.protocol import JobEnd, Optimizer, Problem, Report
from tunewright.space import Categorical, Config, Float, Int, SearchSpace
from tunewright.study import Fidelity, Objective

NAME = "pareto"
FIRST = 10
OURS = "bayes"
METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    OURS: ("bayes", {"initial_trials": FIRST}),
    "bayes, forests": ("bayes", {"initial_trials": FIRST, "surrogate": "forest"}),
    "nsga2": ("nsga2", {"initial_trials": FIRST, "population": 2 * FIRST}),
    "random": ("random", {"design_size": FIRST}),
}
PEERS = {"optuna tpe": "tpe", "optuna nsga2": "nsga2"}
# (d,) point of the unit cube, and a generator of noise -> (m,) losses.
Losses: TypeAlias = Callable[[NDArray[np.float64], np.random.Generator], Sequence[float]]


@dataclass(frozen=True)
class Task:
    """A problem.

    Attributes:
        reference: (m,) losses that a point must beat to count.
        ideal: (m,) below all losses.
    """

    name: str
    space: SearchSpace
    losses: Losses
    reference: Sequence[float]
    ideal: Sequence[float]

    def volume(self, points: Sequence[Sequence[float]]) -> float:
        """Share of the box between ideal and reference that (n, m) losses dominate."""
        box = np.prod(np.subtract(self.reference, self.ideal))
        return hypervolume(np.array(points), np.array(self.reference, dtype=np.float64)) / float(box)


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    mixed: int
    trials: int
    seeds: int


FULL = Scale(mixed=4, trials=40, seeds=10)
QUICK = Scale(mixed=1, trials=25, seeds=2)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--peers", choices=["all", "none"], default="all")
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, (__doc__ or "").split("\n\n")[0], rest)
    scale = scale or (QUICK if found.quick else FULL)
    with_peers = own.peers != "none"
    if with_peers and not found.quick:
        environment.ensure()
    result = Result(NAME, found.command + ("" if with_peers else " --peers none"))
    volumes: dict[str, dict[str, list[float]]] = {}
    for task in tasks(scale.mixed):
        _race(task, scale, with_peers and environment.exists(), volumes, result)
    for rival in (name for name in volumes if name != OURS):
        ratios = {
            task: [ours / theirs for ours, theirs in zip(volumes[OURS][task], found_there, strict=True)]
            for task, found_there in volumes[rival].items()
        }
        low, high = interval(ratios)
        mean = math.exp(float(np.mean([np.log(values).mean() for values in ratios.values()])))
        figure = f"hypervolume_ratio_vs_{rival.replace(', ', '_').replace(' ', '_')}"
        result.headline |= {figure: mean, f"{figure}_low": low, f"{figure}_high": high}
    publish(result, found.json)


def tasks(mixed: int) -> list[Task]:
    """The field's three and so many of our own."""
    cube = SearchSpace([Float(f"x{i}", 0.0, 1.0) for i in range(6)])
    field = [
        Task("zdt1", cube, _zdt1, (1.1, 6.0), (0.0, 0.0)),
        Task("zdt2", cube, _zdt2, (1.1, 6.0), (0.0, 0.0)),
        Task("dtlz2", cube, _dtlz2, (1.5, 1.5, 1.5), (0.0, 0.0, 0.0)),
    ]
    return field + [_mixed(number) for number in range(mixed)]


def _race(
    task: Task, scale: Scale, with_peers: bool, volumes: dict[str, dict[str, list[float]]], result: Result
) -> None:
    """All methods on one problem; adds their volumes, and a row for each."""
    for method in [*METHODS, *(PEERS if with_peers else ())]:
        studies = [
            _peer(PEERS[method], task, scale.trials, seed)
            if method in PEERS
            else _ours(method, task, scale.trials, seed)
            for seed in range(scale.seeds)
        ]
        found = [task.volume(points) for points, _ in studies]
        volumes.setdefault(method, {})[task.name] = found
        result.keep(
            {
                "problem": task.name,
                "method": method,
                "volume": float(np.mean(found)),
                "seconds": float(np.mean([seconds for _, seconds in studies])),
            }
        )


def _ours(method: str, task: Task, trials: int, seed: int) -> tuple[list[Sequence[float]], float]:
    """Losses of all trials, and processor seconds of deciding."""
    name, settings = METHODS[method]
    goals = [Objective(metric=f"loss{i}") for i in range(len(task.reference))]
    problem = Problem(task.space, goals, Fidelity(name="epochs", max=1), max_trials=trials, seed=seed)
    optimizer, noise = registry.create(name, settings, problem), _noise(seed)
    points: list[Sequence[float]] = []
    began, elsewhere = time.process_time(), 0.0
    while (job := optimizer.next_job()) is not None:
        busy = time.process_time()
        points.append(task.losses(task.space.encode(job.config), noise))
        elsewhere += time.process_time() - busy
        _told(optimizer, job.id, job.trial, goals, points[-1])
    return points, time.process_time() - began - elsewhere


def _told(optimizer: Optimizer, job: int, trial: int, goals: Sequence[Objective], losses: Sequence[float]) -> None:
    metrics = {goal.metric: float(loss) for goal, loss in zip(goals, losses, strict=True)}
    optimizer.observe(Report(job, trial, 1.0, metrics))
    optimizer.finish(job, JobEnd.COMPLETED)


def _peer(sampler: str, task: Task, trials: int, seed: int) -> tuple[list[Sequence[float]], float]:
    """As `_ours`, with wall seconds that the pipe is in."""
    noise, points = _noise(seed), list[Sequence[float]]()
    order = {
        "sampler": sampler,
        "space": task.space.model_dump(mode="json"),
        "objectives": len(task.reference),
        "seed": seed,
        "first": FIRST,
    }
    with PeerProcess("benchmarks.peers.pareto") as process:
        process.ask(order)
        began = time.perf_counter()
        for _ in range(trials):
            config: Config = process.ask({"verb": "ask"})["config"]
            points.append(task.losses(task.space.encode(config), noise))
            process.ask({"verb": "tell", "losses": [float(loss) for loss in points[-1]]})
        return points, time.perf_counter() - began


def _noise(seed: int) -> np.random.Generator:
    """The same draws for every method, in the order of its trials."""
    return np.random.default_rng([seed, 0x7A5E])


def _zdt1(u: NDArray[np.float64], _: np.random.Generator) -> Sequence[float]:
    g = 1 + 9 * float(u[1:].mean())
    return [float(u[0]), g * (1 - math.sqrt(u[0] / g))]


def _zdt2(u: NDArray[np.float64], _: np.random.Generator) -> Sequence[float]:
    g = 1 + 9 * float(u[1:].mean())
    return [float(u[0]), g * (1 - (u[0] / g) ** 2)]


def _dtlz2(u: NDArray[np.float64], _: np.random.Generator) -> Sequence[float]:
    far = 1 + float(np.square(u[2:] - 0.5).sum())
    a, b = 0.5 * math.pi * u[:2]
    return [
        far * math.cos(a) * math.cos(b),
        far * math.cos(a) * math.sin(b),
        far * math.sin(a),
    ]


def _mixed(number: int) -> Task:
    """An error that grows with the distance to an optimum and falls with what is spent, and two costs."""
    space = SearchSpace(
        [
            *(Categorical(f"kind{i}", ["a", "b", "c", "d"]) for i in range(3)),
            *(Int(f"depth{i}", 1, 12) for i in range(3)),
            Int("width", 16, 512, log=True),
            *(Float(f"rate{i}", 1e-4, 1e-1, log=True) for i in range(2)),
            *(Float(f"share{i}", 0.0, 0.9) for i in range(2)),
        ]
    )
    d, rng = space.dimension, np.random.default_rng([number, 0x313D])
    optimum, weight = rng.random(d), np.abs(rng.standard_normal(d))
    # Choices have no order: each costs, and errs, by a place of its own.
    places = {j: rng.permutation(4) / 3 for j, each in enumerate(space.parameters) if isinstance(each, Categorical)}
    costs = np.abs(rng.standard_normal((2, d))) * (rng.random((2, d)) < 0.4)
    costs[:, d // 2] += 0.5
    costs /= costs.sum(axis=1, keepdims=True)

    def losses(u: NDArray[np.float64], noise: np.random.Generator) -> Sequence[float]:
        v = u.copy()
        for column, place in places.items():
            v[column] = place[min(int(4 * u[column]), 3)]
        spent = costs @ v
        error = float(weight @ np.abs(v - optimum) ** 1.5 / weight.sum() - 0.15 * spent.sum())
        return [error + 0.01 * float(noise.standard_normal()), *(float(cost) for cost in spent)]

    return Task(f"mixed {number}", space, losses, (0.6, 1.0, 1.0), (-0.3, 0.0, 0.0))


if __name__ == "__main__":
    try:
        main()
    except environment.PeersMissingError as missing:
        sys.exit(str(missing))

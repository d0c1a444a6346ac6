"""Searching PaSca's space: how much of error, time and memory the found front dominates, against random and NSGA-II.

All methods get the same trials, seeds and start designs, on the same graph, one trial after the other. Objectives are
the validation error, and the logarithms of inference time and memory: their ranges span orders of magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import Cell, interval
from models.data.graphs import Graph
from models.gnn.designs import V1, V2, V3, Design, Training
from models.gnn.sgap import SgapLearner
from models.gnn.workload import SgapWorkload, design, training
from optimizers import registry
from optimizers.pareto import hypervolume
from optimizers.protocol import JobEnd, Problem, Report
from tunewright.space import Config
from tunewright.study import Fidelity, Objective

OURS, RIVALS = "bayes", ("random", "nsga2")
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "bayes": {"initial_trials": 10},
    "nsga2": {"initial_trials": 10, "population": 20},
    "random": {"design_size": 10},
}
# Whose shortest is told: what else a machine does makes any one of them longer.
_PREDICTIONS = 10
NAMES = ("error", "log_ms", "log_mb")
# What a point must beat to count: half the nodes wrong, a second, a gigabyte. Milliseconds and megabytes count from
# a hundredth and a tenth on.
_REFERENCE = np.array([0.5, 3.0, 3.0])
_IDEAL = np.array([0.0, -2.0, -1.0])
_NAMED: Mapping[str, Design] = {"v1": V1, "v2": V2, "v3": V3}
_DEFAULT_TRAINING = Training()


@dataclass
class Search:
    """One study: its points (trials, 3) in the order in which they came, and the configurations."""

    points: NDArray[np.float64]
    configs: list[Config]

    @property
    def volume(self) -> float:
        """Share of the box between ideal and reference that the points dominate."""
        return hypervolume(self.points, _REFERENCE) / float(np.prod(_REFERENCE - _IDEAL))

    def dominates(self, point: NDArray[np.float64]) -> bool:
        """Whether a point of the study is at least as good everywhere, and better somewhere."""
        return bool(((self.points <= point).all(axis=1) & (self.points < point).any(axis=1)).any())


def measure(what: Design, how: Training, graph: Graph, epochs: int, seed: int) -> NDArray[np.float64]:
    """(3,) error, log10 milliseconds and log10 megabytes after so many epochs; the shortest of ten predictions."""
    learner = SgapLearner(what, how, graph, seed=seed)
    predicted = min(_PREDICTIONS, epochs)
    for _ in range(epochs - predicted):
        learner.fit()
    metrics = [learner.step(epochs - left) for left in reversed(range(predicted))][-1]
    return np.array([metrics["error"], math.log10(metrics["inference_ms"]), math.log10(metrics["memory_mb"])])


def search(name: str, graph: Graph, trials: int, epochs: int, seed: int) -> Search:
    """Run one study."""
    problem = Problem(
        SgapWorkload.space,
        [Objective(metric=metric) for metric in NAMES],
        Fidelity(name="epochs", max=epochs),
        max_trials=trials,
        seed=seed,
    )
    optimizer = registry.create(name, _SETTINGS[name], problem)
    points, configs = [], []
    while (job := optimizer.next_job()) is not None:
        point = measure(design(job.config), training(job.config), graph, epochs, seed)
        optimizer.observe(Report(job.id, job.trial, job.end, dict(zip(NAMES, point.tolist(), strict=True))))
        optimizer.finish(job.id, JobEnd.COMPLETED)
        points.append(point)
        configs.append(job.config)
    return Search(np.array(points), configs)


def compare(graph: Graph, trials: int, epochs: int, seeds: int) -> tuple[list[dict[str, Cell]], dict[str, float]]:
    """Rows of (seed, method), and the headline: ratios of volumes, and the named designs that our front dominates."""
    # The first prediction of a process compiles kernels; no method should pay for it.
    measure(V3, _DEFAULT_TRAINING, graph, 3, 0)
    rows: list[dict[str, Cell]] = []
    volumes: dict[str, list[float]] = {name: [] for name in (OURS, *RIVALS)}
    dominated, tests = [], []
    for seed in range(seeds):
        marks = {name: measure(what, _DEFAULT_TRAINING, graph, epochs, seed) for name, what in _NAMED.items()}
        for name in volumes:
            found = search(name, graph, trials, epochs, seed)
            volumes[name].append(found.volume)
            beaten = [mark for mark, point in marks.items() if found.dominates(point)]
            best = int(np.lexsort((found.points[:, 1], found.points[:, 0]))[0])
            rows.append(
                {
                    "seed": seed,
                    "method": name,
                    "trials": len(found.points),
                    "volume": found.volume,
                    "best valid %": 100 * (1 - float(found.points[best, 0])),
                    "dominates": ", ".join(beaten) or "none",
                }
            )
            if name == OURS:
                dominated.append(len(beaten))
                tests.append(_test(found.configs[best], graph, epochs, seed))
    headline = {"search_test_percent": float(np.mean(tests)), "front_dominates_named": float(np.median(dominated))}
    for rival in RIVALS:
        ratios = np.array(volumes[OURS]) / np.array(volumes[rival])
        headline |= _ratio(f"hypervolume_ratio_vs_{rival}", ratios)
    return rows, headline


def _test(config: Config, graph: Graph, epochs: int, seed: int) -> float:
    """Test accuracy in percent of what validation chose, trained anew; looked at once."""
    learner = SgapLearner(design(config), training(config), graph, seed=seed + 1000)
    for _ in range(epochs):
        learner.fit()
    return 100 * learner.accuracy(graph.test)


def _ratio(name: str, ratios: NDArray[np.float64]) -> dict[str, float]:
    """Geometric mean over the seeds, and its 95% interval by Student's t."""
    figures = np.exp(interval(np.log(ratios).tolist())).tolist()
    return dict(zip((name, f"{name}_low", f"{name}_high"), figures, strict=True))

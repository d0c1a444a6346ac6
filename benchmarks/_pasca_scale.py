"""Training on a large graph: how long V3 and JK-Net take to one accuracy.

The graph is RMAT with labels that neighbours share. Both see the same labelled nodes and are three steps deep. JK-Net
passes messages over the whole graph in every epoch; V3 propagates once, which counts. Nothing comes from the cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._harness import Cell
from models.data.graphs import Graph, rmat, sbm
from models.gnn.designs import V3, Design, Training
from models.gnn.full_batch import Architecture, FullBatchLearner
from models.gnn.learner import NodeLearner
from models.gnn.sgap import SgapLearner

_DEPTH, _WIDTH = 3, 32
_TRAINING = Training(0.02, 1e-5)
# Percentage points that a method may stay below the other's best and count as equal.
_EQUAL = 0.5
# Validation nodes that are looked at, so that looking takes no longer than learning.
_LOOK = 20_000


@dataclass(frozen=True)
class Curve:
    """A training: (processor seconds, validation accuracy in percent) at each look, and all of it."""

    looks: Sequence[tuple[float, float]]
    epochs: int
    prepared: float

    @property
    def best(self) -> float:
        return max(accuracy for _, accuracy in self.looks)

    def seconds(self, target: float) -> float:
        """Until the accuracy was first seen."""
        return next(seconds for seconds, accuracy in self.looks if accuracy >= target)


def compare(nodes: int, edges: int, budget: float) -> tuple[list[dict[str, Cell]], dict[str, float]]:
    """One row for each method, and the headline: how many times faster V3 is at an accuracy that both reach.

    Args:
        budget: processor seconds that JK-Net may take.
    """
    graph = rmat(nodes, edges, features=_WIDTH)
    graph = replace(graph, valid=graph.valid[:_LOOK])
    design = replace(V3, steps=_DEPTH, post_steps=2, width=_WIDTH, dropout=0.5)
    how = Architecture("jknet", _DEPTH, _WIDTH)
    _warm_up(design, how)
    with tempfile.TemporaryDirectory(prefix="pasca-") as directory:
        v3 = _curve(
            lambda: SgapLearner(design, _TRAINING, graph, cache=Path(directory)), graph, budget / 4, 10, epochs=200
        )
    jknet = _curve(lambda: FullBatchLearner(how, _TRAINING, graph), graph, budget, 4, epochs=400)
    target = min(v3.best, jknet.best) - _EQUAL
    rows: list[dict[str, Cell]] = [
        {
            "method": name,
            "nodes": graph.n,
            "edges": graph.edges,
            "prepare cpu s": curve.prepared,
            "epochs": curve.epochs,
            "all cpu s": curve.looks[-1][0],
            "best valid %": curve.best,
            "target %": target,
            "to target cpu s": curve.seconds(target),
        }
        for name, curve in (("v3", v3), ("jknet", jknet))
    ]
    per_epoch = (jknet.looks[-1][0] - jknet.prepared) / jknet.epochs
    ours = (v3.looks[-1][0] - v3.prepared) / v3.epochs
    return rows, {
        "speedup_v3_vs_jknet": jknet.seconds(target) / v3.seconds(target),
        "speedup_of_an_epoch": per_epoch / ours,
    }


def _warm_up(design: Design, how: Architecture) -> None:
    """Compile kernels, which a process does once: whoever came first would pay for both."""
    small = sbm(200, 3)
    with tempfile.TemporaryDirectory(prefix="pasca-") as directory:
        for learner in (
            SgapLearner(design, _TRAINING, small, cache=Path(directory)),
            FullBatchLearner(how, _TRAINING, small),
        ):
            learner.fit()
            learner.accuracy(small.valid)


def _curve(make: Callable[[], NodeLearner], graph: Graph, budget: float, every: int, epochs: int) -> Curve:
    """Train, look at the validation nodes now and then; looking does not count."""
    began = time.process_time()
    learner = make()
    spent = prepared = time.process_time() - began
    looks: list[tuple[float, float]] = []
    done = 0
    while done < epochs and spent < budget:
        began = time.process_time()
        for _ in range(every):
            learner.fit()
        done += every
        spent += time.process_time() - began
        looks.append((spent, 100 * learner.accuracy(graph.valid)))
    return Curve(looks, done, prepared)

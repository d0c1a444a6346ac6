"""Does node2vec tuned by Hyper-Tune predict edges better than its default, p = q = 1, for the same compute?

    python -m benchmarks.walks_study [--quick] [--json FILE]

A fifth of a graph's edges is put aside before anything is trained. A real service with two Ray workers is given the
rest: first Hyper-Tune searches all of `walks.node2vec`'s space for a budget of cluster seconds; then the default
configuration is trained whole with one seed after another for as long or longer; then Hyper-Tune searches for as long
again with p = q = 1, which tells how much of the gain is that of second-order walks. Each of the three chooses the
configuration and the walks per vertex of its best report, by edges that the workload itself hides of the rest. The
choice is trained anew, with one seed for all, and judged by the edges that were put aside.

GRAPH_tuned_minus_default_points      AUC of the study's choice minus the default's, times 100: mean over the draws of
                                      a graph; `_low` and `_high` are Student's 95% interval
GRAPH_tuned_minus_first_order_points  the same against the study with p = q = 1
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._equal_compute import WORKERS, Spending, held
from benchmarks._harness import Cell, Result, arguments, interval, publish
from benchmarks._service import Service, running_service
from models.data import edges
from models.data.edges import EdgeList
from models.walks.evaluation import Links
from models.walks.node2vec import Node2vecLearner
from models.walks.workload import Node2vecWorkload
from tunewright.space import Config

NAME = "walks_study"


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        draws: of edges put aside, for each graph.
        budget: cluster seconds of a study.
    """

    datasets: Sequence[str]
    draws: int
    budget: float


# Eight to ten whole trainings of the default, seen on two busy processors.
FULL = Scale(("blogcatalog", "ca-astroph"), draws=4, budget=900.0)
QUICK = Scale(("communities",), draws=1, budget=15.0)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    asked = arguments(NAME, (__doc__ or "").split("\n\n")[0], argv)
    scale = scale or (QUICK if asked.quick else FULL)
    result = Result(NAME, asked.command)
    with running_service(WORKERS) as service:
        for draw in range(scale.draws):
            for dataset in scale.datasets:
                result.keep(compare(service, dataset, draw, scale.budget))
    for dataset in scale.datasets:
        result.headline |= _gains(dataset, [row for row in result.rows if row["graph"] == dataset])
    publish(result, asked.json)


def _gains(dataset: str, rows: Sequence[Mapping[str, Cell]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, other in (("default", "default AUC %"), ("first_order", "p = q = 1 AUC %")):
        headline = f"{dataset}_tuned_minus_{name}_points"
        gains = [float(row["tuned AUC %"] or 0) - float(row[other] or 0) for row in rows]
        found |= dict(zip((headline, f"{headline}_low", f"{headline}_high"), interval(gains), strict=True))
    return found


def compare(service: Service, dataset: str, draw: int, budget: float) -> dict[str, Cell]:
    """One row: three ways to spend the same compute on one graph."""
    known, judged = put_aside(edges.load(dataset), draw)
    space = Node2vecWorkload.space
    with tempfile.TemporaryDirectory(prefix="tw-walks-") as name:
        path = Path(name) / "edges.npy"
        np.save(path, known)
        data = {"path": str(path), "task": "links"}
        spending = Spending(service, {"name": "walks", "workload": "walks.node2vec", "data": data}, "loss")
        tuned = spending.search(draw, budget)
        used = float(tuned["cluster_seconds"])
        plain = spending.repeat(space.default(), used)
        first_order = spending.search(draw, used, held(space, {"p": 1.0, "q": 1.0}))
        graph = edges.read(path)
    config, walks = spending.best_report([tuned])
    return {
        "graph": dataset,
        "draw": draw,
        "tuned AUC %": _auc(config, walks, graph, judged, draw),
        "default AUC %": _auc(*spending.best_report(plain), graph, judged, draw),
        "p = q = 1 AUC %": _auc(*spending.best_report([first_order]), graph, judged, draw),
        "p": float(config["p"]),
        "q": float(config["q"]),
        "walks": walks,
        "trials": sum(tuned["counts"].values()),
        "defaults": len(plain),
        "study s": used,
        "defaults s": sum(float(each["cluster_seconds"]) for each in plain),
    }


def put_aside(graph: EdgeList, draw: int) -> tuple[np.ndarray[Any, Any], Links]:
    """Edges (m, 2) to be tuned on, and how vectors of their vertices, numbered in order, are judged."""
    split = Links.split(graph, seed=1000 + draw)
    ids = np.unique(split.seen)
    number = np.full(graph.vertices, -1)
    number[ids] = np.arange(len(ids))
    known, hidden = number[split.known], number[split.hidden]
    fitted, tested = (known >= 0).all(axis=1), (hidden >= 0).all(axis=1)
    return split.seen, replace(
        split,
        seen=number[split.seen],
        known=known[fitted],
        known_labels=split.known_labels[fitted],
        hidden=hidden[tested],
        hidden_labels=split.hidden_labels[tested],
    )


def _auc(config: Config, walks: int, graph: EdgeList, judged: Links, seed: int) -> float:
    """AUC in percent, on the edges that nothing was chosen by, of a configuration trained anew."""
    learner = Node2vecLearner(config, graph, "links", seed=seed, threads=WORKERS)
    for step in range(1, walks + 1):
        learner.step(step)
    return 100 * judged.auc(learner.vectors)


if __name__ == "__main__":
    main()

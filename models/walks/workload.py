"""node2vec as a workload; the fidelity is walks per vertex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.options import THREADS_OPTION, threads, whole
from models.training import train
from tunewright.errors import WorkloadError
from tunewright.space import Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload

TASKS = ("links", "groups")
DEFAULT_DATASET = "blogcatalog"
MAX_VERTICES = 10_000_000


class Node2vecWorkload(Workload):
    """Learns vertex vectors from second-order walks; a trial continues from its vectors."""

    name = "walks.node2vec"
    description = (
        "node2vec: vertex vectors from second-order random walks. The loss is 1 - AUC of predicting hidden edges, or "
        "1 - micro F1 of predicting groups."
    )
    space = SearchSpace(
        Float("p", 0.25, 4.0, log=True, default=1.0),
        Float("q", 0.25, 4.0, log=True, default=1.0),
        Int("length", 10, 80, log=True, default=40),
        Int("window", 2, 10, default=5),
        Ordinal("dimensions", [16, 32, 64, 128], default=64),
        Int("negatives", 1, 10, default=5),
        Float("rate", 0.005, 0.2, log=True, default=0.025),
    )
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="walks", min=1, max=27)
    data_options = {
        "dataset": f"blogcatalog (links or groups), ca-astroph (links) or communities (default {DEFAULT_DATASET})",
        "vertices": "size of communities, a whole number (default 400)",
        "path": "a file of your own, in place of a dataset, as `tunewright graph build` reads it; links",
        "task": "what is predicted: links, or groups where the graph has them (default links)",
        "threads": THREADS_OPTION,
    }

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` walks per vertex; reports `loss`, and `link_auc`, or `micro_f1` and `macro_f1`.

        Raises:
            WorkloadError: a data option is wrong.
        """
        processors = threads(data)
        task = data.get("task", "links")
        if task not in TASKS:
            raise WorkloadError(f"data.task: {task!r} must be one of {', '.join(TASKS)}")
        graph = _graph(data)
        from models.walks.node2vec import Node2vecLearner

        learner = Node2vecLearner(config, graph, task, seed=leg.seed, threads=processors)
        train(learner, leg, checkpoint=checkpoint, report=report)


def _graph(data: Mapping[str, Any]) -> Any:
    from models.data import edges

    if "path" in data:
        if "dataset" in data:
            raise WorkloadError("data.path: give a path or a dataset, not both")
        if not isinstance(data["path"], str):
            raise WorkloadError(f"data.path: {data['path']!r} must be the path of a file of edges")
        return edges.read(data["path"])
    name = data.get("dataset", DEFAULT_DATASET)
    if "vertices" in data and name in tuple(edges.GRAPHS):
        if name != "communities":
            raise WorkloadError(f"data.vertices: is for communities; {name!r} has a size of its own")
        return edges.communities(whole(data, "vertices", 400, 20, MAX_VERTICES))
    return edges.load(name)

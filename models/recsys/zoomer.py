"""ZOOMER: recommends from the part of a click graph that a request is about; the fidelity is interactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from models.recsys.options import DATA_OPTIONS, read_options
from models.training import train
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload

if TYPE_CHECKING:
    from models.recsys.learner import Recipe
    from models.recsys.sampler import Method


class ZoomerWorkload(Workload):
    """Learns clicks from regions of a graph; a trial continues from its weights and its place in the rows."""

    name = "recsys.zoomer"
    description = (
        "Focal graph recommender (ZOOMER): samples the neighbours of a user and a query that matter to both, attends "
        "on three levels, and scores items by twin towers. The AUC is that of held-out exposures."
    )
    space = SearchSpace(
        Categorical("sampler", ["roi", "uniform", "importance"]),
        Ordinal("hops", [1, 2], default=1),
        Int("near", 1, 30, log=True, default=5),
        Int("far", 1, 10, log=True, default=3, when={"hops": 2}),
        Ordinal("dimensions", [8, 16, 32, 64], default=32),
        Categorical("feature_level", [True, False]),
        Categorical("edge_level", [True, False]),
        Categorical("semantic_level", [True, False]),
        Categorical("loss", ["both", "focal", "softmax"]),
        Float("gamma", 0.0, 3.0, default=0.0),
        Float("temperature", 0.05, 2.0, log=True, default=0.5),
        Float("learning_rate", 1e-4, 2e-2, log=True, default=2e-3),
        Float("embedding_rate", 1e-3, 0.5, log=True, default=0.05),
        Float("decay", 1e-6, 1e-2, log=True, default=1e-4),
        Ordinal("batch_size", [128, 256, 512, 1024], default=512),
    )
    objectives = (Objective(metric="auc", direction="maximize"),)
    fidelity = Fidelity(name="units", unit="of interactions, as many as the data option `unit` says", min=1, max=81)
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` units; reports `auc`, `hit_rate_at_10`, `hit_rate_at_50`, `ndcg_at_10`, `serve_ms` (for
        each request) and `train_seconds` (of the unit).

        Raises:
            WorkloadError: a data option is wrong.
        """
        options = read_options(data)
        from models.recsys.learner import ZoomerLearner, judged

        split = options.split()
        judge = judged(split.valid, options.judged, options.ranked)
        learner = ZoomerLearner(
            recipe(config),
            split.train,
            judge,
            unit=options.unit,
            seed=leg.seed,
            threads=options.threads,
            graph=options.graph(),
        )
        train(learner, leg, checkpoint=checkpoint, report=report)


def recipe(config: Config) -> Recipe:
    """What a configuration of the workload's space means."""
    from models.recsys.attention import Levels
    from models.recsys.learner import Recipe

    return Recipe(
        method=cast("Method", config["sampler"]),
        scale=(int(config["near"]), int(config["far"])) if config["hops"] == 2 else (int(config["near"]),),
        dimensions=int(config["dimensions"]),
        levels=Levels(bool(config["feature_level"]), bool(config["edge_level"]), bool(config["semantic_level"])),
        loss=str(config["loss"]),
        gamma=float(config["gamma"]),
        temperature=float(config["temperature"]),
        learning_rate=float(config["learning_rate"]),
        embedding_rate=float(config["embedding_rate"]),
        decay=float(config["decay"]),
        batch=int(config["batch_size"]),
    )

"""Active learning on a graph: what to ask about, as a workload; the fidelity is rounds of income."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.training import train
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload


class ActiveWorkload(Workload):
    """Buys answers about nodes and learns from them; a trial continues with the answers that it has paid for."""

    name = "gnn.active"
    description = (
        "Active learning on a graph: information gain propagation (IGP) or another criterion chooses nodes, a "
        "simulated oracle answers. Every round brings as many questions' worth as there are classes, whatever is asked."
    )
    space = SearchSpace(
        Categorical("criterion", ["igp", "random", "degree", "pagerank", "entropy", "age", "featprop", "grain"]),
        Categorical("query", ["relaxed", "exact", "either"]),
        Ordinal("batch", [1, 2, 4], default=1),
        Int("k", 1, 3, default=2),
        Float("penalty", 0.01, 2.0, log=True, default=0.2),
        Float("soft_weight", 0.05, 1.0, log=True, default=1.0),
    )
    objectives = (Objective(metric="error"),)
    fidelity = Fidelity(name="rounds", min=1, max=60)
    data_options = {
        "dataset": "which graph: cora, citeseer, pubmed, sbm or file:/path/graph.npz (default cora)",
        "account": "what an exact label costs where a yes or no costs 1: questions (C - 1) or bits (log2 C) "
        "(default questions)",
        "noise": "share of the oracle's answers that are wrong, 0 to 1 (default 0)",
        "silence": "share of nodes about which the oracle never answers, 0 to 1 (default 0)",
    }

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Buy and learn until `leg.end` rounds; reports `error` and `accuracy` on the validation nodes, and `spent`,
        `answers`, `labels` (classes known) and `contradictions`.

        Nodes that validate and test are never asked about, nor nodes whose class nobody knows.

        Raises:
            WorkloadError: a data option is wrong, or the oracle never answers.
        """
        from models.active.learner import ActiveLearner, read_options

        learner = ActiveLearner(config, read_options(data, leg.seed), seed=leg.seed)
        train(learner, leg, checkpoint=checkpoint, report=report)

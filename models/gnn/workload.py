"""Graph learning as workloads: PaSca's design space, and the models that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.gnn.designs import MESSAGES, OPERATORS, POST_MESSAGES, V3, Design, Training
from models.gnn.options import DATA_OPTIONS, read_options
from models.training import train
from tunewright.errors import WorkloadError
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload

EPOCHS = Fidelity(name="epochs", min=1, max=81)
MAX_STEPS = 10


def _training_space(dropout: float, learning_rate: float, weight_decay: float) -> tuple[Float, ...]:
    """How models are trained, with these defaults."""
    return (
        Float("dropout", 0.0, 0.9, default=dropout),
        Float("learning_rate", 1e-3, 0.3, log=True, default=learning_rate),
        Float("weight_decay", 1e-6, 1e-2, log=True, default=weight_decay),
    )


class SgapWorkload(Workload):
    """Searches what a scalable graph model is made of: operators, steps, aggregators, depth, and how it is trained."""

    name = "gnn.sgap"
    description = (
        "Graph learning over PaSca's design space: features are propagated before training, predictions after it. "
        "Objectives are the validation error, the time to predict all nodes, and the memory that takes."
    )
    space = SearchSpace(
        Categorical("pre_operator", list(OPERATORS)),
        Int("pre_steps", 1, MAX_STEPS, default=V3.steps),
        Categorical("message", list(MESSAGES), default=V3.message),
        Int("depth", 1, 10, default=V3.depth),
        Ordinal("width", [16, 32, 64, 128, 256], default=V3.width),
        *_training_space(V3.dropout, Training().learning_rate, Training().weight_decay),
        Int("post_steps", 0, MAX_STEPS, default=V3.post_steps),
        Categorical("post_operator", list(OPERATORS), default="ppr_0.3"),
        Categorical("post_message", list(POST_MESSAGES)),
    )
    objectives = (
        Objective(metric="error"),
        Objective(metric="inference_ms", unit="ms"),
        Objective(metric="memory_mb", unit="MB"),
    )
    fidelity = EPOCHS
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` epochs; reports `error`, `loss`, `inference_ms` and `memory_mb`.

        Raises:
            WorkloadError: a data option or a setting is wrong.
        """
        options = read_options(data)
        from models.gnn.sgap import SgapLearner

        learner = SgapLearner(design(config), training(config), options.graph, seed=leg.seed, threads=options.threads)
        train(learner, leg, checkpoint=checkpoint, report=report)


class BaselineWorkload(Workload):
    """The models that PaSca's designs are compared with, under one name."""

    name = "gnn.gcn"
    description = (
        "Graph learning with GCN and its kin: JK-Net, APPNP and GraphSAGE pass messages while they train; SGC, SIGN, "
        "S2GC and GBP do so before. Objectives are the validation error, the time to predict all nodes, and memory."
    )
    space = SearchSpace(
        Categorical("model", ["gcn", "jknet", "appnp", "sage", "sgc", "sign", "s2gc", "gbp"]),
        Int("layers", 1, MAX_STEPS, default=2),
        Ordinal("width", [16, 32, 64, 128, 256], default=16),
        *_training_space(0.5, 0.01, 5e-4),
        Float("alpha", 0.05, 0.5, default=0.1, when={"model": "appnp"}),
    )
    objectives = SgapWorkload.objectives
    fidelity = EPOCHS
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` epochs; reports `error`, `loss`, `inference_ms` and `memory_mb`.

        Raises:
            WorkloadError: a data option or a setting is wrong.
        """
        options = read_options(data)
        from models.gnn.baselines import baseline

        learner = baseline(
            str(config["model"]),
            options.graph,
            training(config),
            layers=int(config["layers"]),
            width=int(config["width"]),
            dropout=float(config["dropout"]),
            alpha=float(config.get("alpha", 0.1)),
            seed=leg.seed,
            threads=options.threads,
        )
        train(learner, leg, checkpoint=checkpoint, report=report)


def design(config: Config) -> Design:
    """The design that a configuration of `SgapWorkload.space` names.

    Raises:
        WorkloadError: there is no such design; names the parameter.
    """
    for field in ("pre_operator", "post_operator"):
        if config[field] not in OPERATORS:
            raise WorkloadError(f"{field}: {config[field]!r} is unknown; known: {', '.join(OPERATORS)}")
    return Design(
        operator=OPERATORS[str(config["pre_operator"])],
        steps=int(config["pre_steps"]),
        message=str(config["message"]),
        depth=int(config["depth"]),
        width=int(config["width"]),
        dropout=float(config["dropout"]),
        post_operator=OPERATORS[str(config["post_operator"])],
        post_steps=int(config["post_steps"]),
        post_message=str(config["post_message"]),
    )


def training(config: Config) -> Training:
    """How a configuration trains."""
    return Training(float(config["learning_rate"]), float(config["weight_decay"]))

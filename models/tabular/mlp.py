"""A multilayer perceptron with PyTorch; the fidelity is epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.tabular.options import DATA_OPTIONS, read_options
from models.training import train
from tunewright.space import Categorical, Config, Float, Int, Ordinal, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload


class MLPWorkload(Workload):
    """Learns a table; a trial continues from its weights, its optimizer's state and its random generator's."""

    name = "mlp"
    description = (
        "Multilayer perceptron on a table. The loss is the validation log loss of a classification, "
        "the validation RMSE of a regression."
    )
    space = SearchSpace(
        Int("layers", 1, 4, default=2),
        Int("width", 8, 256, log=True, default=64),
        Categorical("activation", ["relu", "gelu", "silu", "tanh"]),
        Float("dropout", 0.0, 0.6, default=0.1),
        Categorical("optimizer", ["adamw", "sgd"]),
        Float("momentum", 0.0, 0.99, default=0.9, when={"optimizer": "sgd"}),
        Float("learning_rate", 1e-4, 0.1, log=True, default=3e-3),
        Float("weight_decay", 1e-6, 0.1, log=True, default=1e-4),
        Ordinal("batch_size", [16, 32, 64, 128, 256], default=64),
    )
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="epochs", min=1, max=27)
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Train until `leg.end` epochs; reports `loss`, and `error` and `accuracy`, or `r2`.

        Raises:
            WorkloadError: a data option is wrong.
        """
        options = read_options(data)
        from models.tabular.perceptron import PerceptronLearner

        learner = PerceptronLearner(config, options.dataset, seed=leg.seed, threads=options.threads)
        train(learner, leg, checkpoint=checkpoint, report=report)

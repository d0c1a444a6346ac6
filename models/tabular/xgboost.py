"""Gradient-boosted trees with XGBoost; the fidelity is boosting rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.tabular.options import DATA_OPTIONS, read_options
from models.training import train
from tunewright.space import Categorical, Config, Float, Int, SearchSpace
from tunewright.study import Fidelity, Objective
from tunewright.workload import Checkpoint, Leg, Report, Workload


class XGBoostWorkload(Workload):
    """Learns a table; a trial continues from its saved booster, also with sub-sampling and dropped trees."""

    name = "xgboost"
    description = (
        "Gradient-boosted trees on a table. The loss is the validation log loss of a classification, "
        "the validation RMSE of a regression."
    )
    space = SearchSpace(
        Float("learning_rate", 0.01, 1.0, log=True, default=0.3),
        Int("max_depth", 1, 12, default=6),
        Float("min_child_weight", 0.1, 30.0, log=True, default=1.0),
        Float("gamma", 0.0, 5.0, default=0.0),
        Float("subsample", 0.3, 1.0, default=1.0),
        Float("colsample_bytree", 0.2, 1.0, default=1.0),
        Float("reg_lambda", 1e-3, 100.0, log=True, default=1.0),
        Float("reg_alpha", 1e-4, 10.0, log=True, default=1e-3),
        Categorical("booster", ["gbtree", "dart"]),
        Float("rate_drop", 0.0, 0.5, default=0.1, when={"booster": "dart"}),
        Float("skip_drop", 0.0, 0.9, default=0.5, when={"booster": "dart"}),
    )
    objectives = (Objective(metric="loss"),)
    fidelity = Fidelity(name="rounds", min=1, max=81)
    data_options = DATA_OPTIONS

    def run(self, config: Config, leg: Leg, *, data: Mapping[str, Any], checkpoint: Checkpoint, report: Report) -> None:
        """Boost until `leg.end` rounds; reports `loss`, and `error` and `accuracy`, or `r2`.

        Raises:
            WorkloadError: a data option is wrong.
        """
        options = read_options(data)
        from models.tabular.boosting import BoostingLearner

        learner = BoostingLearner(config, options.dataset, seed=leg.seed, threads=options.threads)
        train(learner, leg, checkpoint=checkpoint, report=report)

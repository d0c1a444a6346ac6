"""Boosting round by round, so that a round's trees depend on nothing but the rounds before and the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from models.data.catalog import Dataset
from models.metrics import classification_metrics, regression_metrics
from tunewright.space import Config

MODEL_FILE = "booster.ubj"


class BoostingLearner:
    """An XGBoost booster in training (a `Learner`; one step is one boosting round).

    Args:
        config: XGBoost's own parameters by their own names.
        seed: of row and column samples and of dropped trees.
        threads: processor threads; reports are equal for equal numbers of threads.
    """

    def __init__(self, config: Config, dataset: Dataset, *, seed: int, threads: int) -> None:
        self._dataset = dataset
        self._params: dict[str, Any] = {
            **config,
            **_task(dataset.n_classes),
            "tree_method": "hist",
            "nthread": threads,
            "verbosity": 0,
            "seed": seed % 2**31,
            # Samples of rows and dropped trees then follow from the seed and the round alone.
            "seed_per_iteration": True,
        }
        self._train = xgboost.DMatrix(dataset.x_train, label=dataset.y_train, nthread=threads)
        self._valid = xgboost.DMatrix(dataset.x_valid, nthread=threads)
        self._booster = self._boost_from(None)

    def step(self, resource: int) -> dict[str, float]:
        """Add the trees of round `resource` (counted from 1) and measure on the validation rows."""
        self._forget_column_sampler()
        self._booster.update(self._train, resource - 1)
        margins = self._booster.predict(self._valid, output_margin=True)
        if self._dataset.n_classes == 0:
            return regression_metrics(margins, self._dataset.y_valid)
        if self._dataset.n_classes == 2:
            margins = np.stack([np.zeros_like(margins), margins], axis=1)
        return classification_metrics(margins, self._dataset.y_valid)

    def save(self, directory: Path) -> None:
        """Write the booster; trees, leaf values and weights of dropped trees survive exactly."""
        self._booster.save_model(directory / MODEL_FILE)

    def restore(self, directory: Path) -> None:
        """Continue boosting from the saved trees."""
        self._booster = self._boost_from(directory / MODEL_FILE)

    def _boost_from(self, file: Path | None) -> Any:
        return xgboost.Booster(self._params, [self._train, self._valid], model_file=file)

    def _forget_column_sampler(self) -> None:
        """Make the next round choose columns as a booster just restored would.

        The tree updater keeps its column sampler, and that one's random state, for its own lifetime, whatever
        seeds are set; it is not in a saved model either. Changing the tree method and back creates a new updater,
        whose sampler is then seeded with the round. Saving the configuration makes the first change take effect.
        """
        self._booster.set_param({"tree_method": "approx"})
        self._booster.save_config()
        self._booster.set_param(self._params)


def _task(n_classes: int) -> dict[str, Any]:
    if n_classes == 0:
        return {"objective": "reg:squarederror"}
    if n_classes == 2:
        return {"objective": "binary:logistic"}
    return {"objective": "multi:softprob", "num_class": n_classes}

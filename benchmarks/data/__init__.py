"""Recorded learning curves: the tables that `benchmarks.record_curves` made, and how they answer any configuration.

`manifest.json` says for every table what was trained on what, with which versions and by which command. `TABLE.npz` has

    loss     (n, R) float32   validation loss at resources 1 to R; not finite once a training had diverged
    seconds  (n, R) float32   processor time from the start of the training until then, increasing
    configs  (n,)   str       configurations as JSON; row 0 is the space's default

An optimizer proposes any point of the space, and a table knows n of them. It answers with the mean of the curves of the
five nearest recorded configurations, weighted by their inverse squared distances: a recorded configuration has its own
curve, and between them the landscape is continuous. All methods and peers meet the same table.

Why so? Let each row be predicted from the others, in log loss at full resource (300 rows of a table or fewer): the
nearest row alone errs as much as the mean of the table does (0.75 to 1.3 of its variance), five rows err less (0.54 to
0.96), ten no less than five. On the steps of a nearest-row landscape, moreover, close neighbours of a configuration
repeat its loss to the last digit, which punishes local search as no training would. A fitted regression would predict
better still, but its author chooses whom it suits: forests look good on forests. The price of averages: noise and
crossings of curves are milder than measured, except near recorded configurations, and the best recorded loss can be
approached only where it was recorded.

A table's space declares no defaults: with a good one, the first trial would end the search for whoever tries it.

Distance is Euclidean in the unit cube. Two different choices of a categorical are 1 apart wherever they stand in its
list, and a parameter that is inactive in both configurations is not looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.protocol import Problem
from optimizers.simulate import Curve
from tunewright.space import Categorical, Config, SearchSpace
from tunewright.study import Fidelity, Objective

DIRECTORY = Path(__file__).parent
MANIFEST = "manifest.json"
METRIC = "loss"
NEIGHBOURS = 5
# A smaller squared distance is rounding.
SAME = 1e-18


@dataclass(frozen=True, eq=False)
class RecordedTable:
    """Recorded curves as a `CurveTable`.

    Attributes:
        configs: (n,) recorded configurations.
        loss: (n, R) float64, finite: what diverged has the largest loss of the table from there on.
        seconds: (n, R) float64.
    """

    name: str
    space: SearchSpace
    fidelity: Fidelity
    configs: list[Config]
    loss: NDArray[np.float64]
    seconds: NDArray[np.float64]
    _metric: _Metric = field(repr=False)
    _resources: NDArray[np.float64] = field(repr=False)

    def problem(self, *, max_trials: int | None = None, seed: int = 0) -> Problem:
        """The table as a problem for an optimizer."""
        return Problem(self.space, [Objective(metric=METRIC)], self.fidelity, max_trials, seed)

    def curve(self, config: Config) -> Curve:
        """See `CurveTable.curve`."""
        rows, weights = self._metric.neighbours(config)
        return Curve(self._resources, weights @ self.seconds[rows], {METRIC: weights @ self.loss[rows]})

    @property
    def best(self) -> float:
        """The smallest loss at full resource."""
        return float(self.loss[:, -1].min())

    @property
    def median(self) -> float:
        """The median loss at full resource: what one training of a random configuration gives."""
        return float(np.median(self.loss[:, -1]))

    @property
    def training_seconds(self) -> float:
        """Mean time of a whole training."""
        return float(self.seconds[:, -1].mean())


class _Metric:
    """Distances to the recorded configurations; see the module's docstring.

    Args:
        configs: (n,) configurations of the space.
    """

    def __init__(self, space: SearchSpace, configs: list[Config]) -> None:
        self._space = space
        self._categorical = np.array([isinstance(parameter, Categorical) for parameter in space.parameters])
        self._points, self._active = self._coordinates(configs)

    def neighbours(self, config: Config) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest rows and their weights, which sum to 1; one row alone where it is the configuration itself."""
        distance = self.squared_distance(config)
        rows = np.argsort(distance, kind="stable")[:NEIGHBOURS]
        if distance[rows[0]] < SAME:
            return rows[:1], np.ones(1)
        weights = 1 / distance[rows]
        return rows, weights / weights.sum()

    def squared_distance(self, config: Config) -> NDArray[np.float64]:
        """(n,) from the recorded configurations."""
        points, active = self._coordinates([config])
        apart = self._points - points
        apart[:, self._categorical] = apart[:, self._categorical] != 0
        apart[~self._active & ~active] = 0
        return np.asarray((apart**2).sum(axis=1))

    def _coordinates(self, configs: list[Config]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        points = np.array([self._space.encode(config) for config in configs])
        return points, np.array([[name in config for name in self._space.names] for config in configs])


@lru_cache
def manifest() -> list[dict[str, Any]]:
    """The tables' entries, in the order of the manifest."""
    found: list[dict[str, Any]] = json.loads((DIRECTORY / MANIFEST).read_text())["tables"]
    return found


def names() -> list[str]:
    """All tables."""
    return [entry["name"] for entry in manifest()]


@lru_cache
def load(name: str) -> RecordedTable:
    """Load a table.

    Raises:
        KeyError: no table has this name.
    """
    entries = {entry["name"]: entry for entry in manifest()}
    entry = entries[name]
    with np.load(DIRECTORY / f"{name}.npz") as arrays:
        loss = arrays["loss"].astype(np.float64)
        seconds = arrays["seconds"].astype(np.float64)
        configs: list[Config] = [json.loads(text) for text in arrays["configs"]]
    loss[~np.isfinite(loss)] = loss[np.isfinite(loss)].max()
    space = SearchSpace([{key: value for key, value in found.items() if key != "default"} for found in entry["space"]])
    fidelity = Fidelity(**entry["fidelity"])
    resources = np.arange(1, loss.shape[1] + 1, dtype=np.float64)
    return RecordedTable(name, space, fidelity, configs, loss, seconds, _Metric(space, configs), resources)

"""Recorded learning curves: the tables that `benchmarks.record_curves` made.

`manifest.json` says for every table what was trained on what, with which versions and by which command. `TABLE.npz` has

    loss     (n, 27) float32   validation loss at 27 equally spaced resources; not finite once a training had diverged
    seconds  (n, 27) float32   processor time from the start of the training until then, increasing

A table's space is a finite grid and row i is its i-th configuration in the order of `grid`, so every proposal has a
curve of its own that was measured, noise included.

Why a grid? Tables of random configurations must answer for all points between them. With 300 rows in nine dimensions a
row is predicted from the others hardly better than by the mean of the table: what an optimizer meets there is the
interpolation, not the workload.

A table's space declares no defaults: with a good one, the first trial would end the search for whoever tries it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizers.initial import configurations
from optimizers.protocol import Problem
from optimizers.simulate import Curve
from tunewright.space import Categorical, Config, Ordinal, Parameter, SearchSpace, Value, config_key
from tunewright.study import Fidelity, Objective

DIRECTORY = Path(__file__).parent
MANIFEST = "manifest.json"
METRIC = "loss"
# Of a curve.
POINTS = 27


@dataclass(frozen=True, eq=False)
class RecordedTable:
    """Recorded curves as a `CurveTable`.

    Attributes:
        loss: (n, 27) float64, finite: what diverged has the largest loss of the table from there on.
        seconds: (n, 27) float64.
    """

    name: str
    space: SearchSpace
    fidelity: Fidelity
    loss: NDArray[np.float64]
    seconds: NDArray[np.float64]
    _rows: dict[str, int] = field(repr=False)
    _resources: NDArray[np.float64] = field(repr=False)

    def problem(self, *, max_trials: int | None = None, seed: int = 0) -> Problem:
        """The table as a problem for an optimizer."""
        return Problem(self.space, [Objective(metric=METRIC)], self.fidelity, max_trials, seed)

    def curve(self, config: Config) -> Curve:
        """See `CurveTable.curve`."""
        row = self._rows[config_key(config)]
        return Curve(self._resources, self.seconds[row], {METRIC: self.loss[row]})

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


def grid(space: SearchSpace) -> list[Config]:
    """All configurations of a space of choices, in the order in which tables have them."""
    return list(configurations(space, _choices))


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
    loss[~np.isfinite(loss)] = loss[np.isfinite(loss)].max()
    space, fidelity = SearchSpace(entry["space"]), Fidelity(**entry["fidelity"])
    rows = {config_key(config): row for row, config in enumerate(grid(space))}
    resources = np.linspace(0.0, fidelity.max, POINTS + 1)[1:]
    return RecordedTable(name, space, fidelity, loss, seconds, rows, resources)


def _choices(parameter: Parameter) -> Iterable[Value]:
    assert isinstance(parameter, (Categorical, Ordinal)), "a grid has choices alone"
    return parameter.choices

"""The catalogue of data sets: real ones that an installed package ships, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import WorkloadError

Task: TypeAlias = Literal["classification", "regression"]
Rows: TypeAlias = tuple[NDArray[Any], NDArray[Any]]

VALID_SHARE = 0.3
SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split into rows to train on and rows to validate on. Shared between callers: arrays are read-only.

    Attributes:
        x_train, x_valid: (n, d) float32 features, as the source has them (not scaled).
        y_train, y_valid: (n,) int64 classes from 0, or (n,) float32 targets of a regression.
        n_classes: number of classes; 0 for a regression.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[Any]
    x_valid: NDArray[np.float32]
    y_valid: NDArray[Any]
    n_classes: int

    @property
    def task(self) -> Task:
        return "classification" if self.n_classes else "regression"


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of a data set without loading it.

    Attributes:
        rows, features: size before the split.
        source: where it comes from.
        fetch: gives features (rows, features) and targets (rows,).
    """

    name: str
    task: Task
    rows: int
    features: int
    source: str
    fetch: Callable[[], Rows]


def load(name: Any) -> Dataset:
    """Load a data set and split it, the same way every time; classification is split evenly per class.

    Raises:
        WorkloadError: no data set has this name.
    """
    if not isinstance(name, str) or name not in CATALOG:
        raise WorkloadError(f"data.dataset: {name!r} is unknown; known: {', '.join(CATALOG)}")
    return _split(name)


@lru_cache(maxsize=4)
def _split(name: str) -> Dataset:
    from sklearn.model_selection import train_test_split

    entry = CATALOG[name]
    x, y = entry.fetch()
    classes = entry.task == "classification"
    x_train, x_valid, y_train, y_valid = train_test_split(
        x.astype(np.float32),
        y.astype(np.int64 if classes else np.float32),
        test_size=VALID_SHARE,
        random_state=SPLIT_SEED,
        stratify=y if classes else None,
    )
    for array in (x_train, y_train, x_valid, y_valid):
        array.flags.writeable = False
    return Dataset(x_train, y_train, x_valid, y_valid, n_classes=int(y.max()) + 1 if classes else 0)


def _from_sklearn(function: str) -> Callable[[], Rows]:
    def fetch() -> Rows:
        from sklearn import datasets

        x, y = getattr(datasets, function)(return_X_y=True)
        return x, y

    return fetch


_ENTRIES = (
    Entry(
        "digits",
        "classification",
        1797,
        64,
        "handwritten digits of 8 x 8 pixels, UCI Optical Recognition of Handwritten Digits; in scikit-learn",
        _from_sklearn("load_digits"),
    ),
    Entry(
        "breast_cancer",
        "classification",
        569,
        30,
        "cell nuclei of benign and malignant tumours, UCI Breast Cancer Wisconsin (Diagnostic); in scikit-learn",
        _from_sklearn("load_breast_cancer"),
    ),
    Entry(
        "wine",
        "classification",
        178,
        13,
        "chemical analysis of wines from three cultivars, UCI Wine; in scikit-learn",
        _from_sklearn("load_wine"),
    ),
    Entry(
        "iris",
        "classification",
        150,
        4,
        "sepals and petals of three species, Fisher 1936; in scikit-learn",
        _from_sklearn("load_iris"),
    ),
    Entry(
        "diabetes",
        "regression",
        442,
        10,
        "disease progression after one year, Efron et al. 2004, Least Angle Regression; in scikit-learn",
        _from_sklearn("load_diabetes"),
    ),
)

CATALOG = {entry.name: entry for entry in _ENTRIES}

"""Click tables from files that a user has: Criteo's, Avazu's, and one's own as CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data._click_table import Clicks, encode
from tunewright.errors import WorkloadError

LABEL, TIME = "label", "timestamp"
CRITEO_NUMBERS = tuple(f"I{i}" for i in range(1, 14))
CRITEO_CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
MISSING = ""
_BINS = 20


def criteo(path: Path, rows: int | None = None) -> Clicks:
    """Criteo's `train.txt`: label, 13 counts, 26 hashed categories, tab-separated, in the order of time.

    Counts become categories: one each up to 2, from there on equal steps of the squared logarithm.
    """
    names = [LABEL, *CRITEO_NUMBERS, *CRITEO_CATEGORIES]
    table = _read_csv(path, rows, names, delimiter="\t", texts=CRITEO_CATEGORIES)
    columns = {name: _steps(table[name]) for name in CRITEO_NUMBERS}
    columns |= {name: _texts(table[name]) for name in CRITEO_CATEGORIES}
    return encode(columns, _labels(table[LABEL], LABEL, path))


def avazu(path: Path, rows: int | None = None) -> Clicks:
    """Avazu's `train.csv`, in the order of time; its hour (YYMMDDHH) becomes hour of day and weekday."""
    _there(path)
    with path.open() as file:
        names = file.readline().strip().split(",")
    _needs(dict.fromkeys(names, np.zeros(0)), ("click", "hour"), path)
    table = _read_csv(path, rows, texts=[name for name in names if name not in ("click", "hour")])
    hours = _numbers(table["hour"]).astype(np.int64)
    days = [np.datetime64(f"20{h // 10**6:02d}-{h // 10**4 % 100:02d}-{h // 100 % 100:02d}") for h in np.unique(hours)]
    day_of = np.array(days)[np.unique(hours, return_inverse=True)[1]]
    columns: dict[str, NDArray[Any]] = {
        "hour": hours % 100,
        "weekday": (day_of.astype("datetime64[D]").astype(np.int64) + 3) % 7,
    }
    columns |= {name: _texts(values) for name, values in table.items() if name not in ("id", "click", "hour")}
    return encode(columns, _labels(table["click"], "click", path))


def own_table(path: Path, rows: int | None = None) -> Clicks:
    """A CSV or Parquet file: `label` (0 or 1), `timestamp` (a number to sort rows by) if there is one, and fields.

    Texts and whole numbers are categories; other numbers are cut at the training rows' quantiles.
    """
    table = _read_parquet(path, rows) if path.suffix in (".parquet", ".pq") else _read_csv(path, rows)
    _needs(table, (LABEL,), path)
    labels = _labels(table.pop(LABEL), LABEL, path)
    order = np.arange(len(labels))
    if TIME in table:
        order = np.argsort(_numbers(table.pop(TIME)), kind="stable")
    n_train = int(0.8 * len(labels))
    columns = {name: _categories(values[order], n_train) for name, values in table.items()}
    return encode(columns, labels[order], n_train)


def _categories(values: NDArray[Any], n_train: int) -> NDArray[Any]:
    if values.dtype.kind != "f":
        return _texts(values)
    finite = np.isfinite(values)
    if (values[finite] == np.floor(values[finite])).all():
        return _texts(values)
    trained = values[:n_train][finite[:n_train]]
    edges = np.unique(np.quantile(trained, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(trained) else np.zeros(0)
    return np.where(finite, np.searchsorted(edges, values), -1)


def _steps(values: NDArray[Any]) -> NDArray[np.int64]:
    numbers = _numbers(values)
    large = np.floor(np.log(np.maximum(numbers, 2.0)) ** 2) + 3
    found = np.where(numbers > 2, large, numbers)
    return np.where(np.isfinite(found), found, -100).astype(np.int64)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iub":
        return values
    return np.array([MISSING if value is None or value != value else str(value) for value in values.tolist()])


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise WorkloadError(f"data.path: a column of numbers holds something else: {error}") from error


def _labels(values: NDArray[Any], name: str, path: Path) -> NDArray[np.float32]:
    try:
        labels = values.astype(np.float32)
    except (TypeError, ValueError):
        labels = np.full(len(values), np.nan, np.float32)
    if not np.isin(labels, (0, 1)).all():
        raise WorkloadError(f"data.path: {path}: column {name!r} must hold 0 (no click) or 1 (click) in every row")
    return labels


def _needs(table: dict[str, NDArray[Any]], names: tuple[str, ...], path: Path) -> None:
    for name in names:
        if name not in table:
            raise WorkloadError(
                f"data.path: {path} has no column {name!r} (it has {', '.join(table) or 'none'}): add or rename it"
            )


def _read_csv(
    path: Path,
    rows: int | None,
    names: list[str] | None = None,
    delimiter: str = ",",
    texts: Sequence[str] = (),
) -> dict[str, NDArray[Any]]:
    """Columns of a CSV file, at most so many rows; `texts` are columns whose hashes must not be read as numbers."""
    from pyarrow import ArrowInvalid, csv, string

    _there(path)
    read = csv.ReadOptions(column_names=names)
    convert = csv.ConvertOptions(strings_can_be_null=True, column_types={name: string() for name in texts})
    left, batches = rows, []
    try:
        with csv.open_csv(path, read, csv.ParseOptions(delimiter=delimiter), convert) as reader:
            for batch in reader:
                batches.append(batch if left is None else batch.slice(0, left))
                left = None if left is None else left - len(batches[-1])
                if left is not None and left <= 0:
                    break
    except ArrowInvalid as error:
        raise WorkloadError(f"data.path: {path} does not read as a table: {error}") from error
    return _arrays(batches)


def _read_parquet(path: Path, rows: int | None) -> dict[str, NDArray[Any]]:
    from pyarrow import ArrowInvalid, parquet

    _there(path)
    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        raise WorkloadError(f"data.path: {path} does not read as Parquet: {error}") from error
    return _arrays(table.slice(0, rows).to_batches())


def _arrays(batches: list[Any]) -> dict[str, NDArray[Any]]:
    if not batches:
        return {}
    return {
        name: np.concatenate([batch.column(name).to_numpy(zero_copy_only=False) for batch in batches])
        for name in batches[0].schema.names
    }


def _there(path: Path) -> None:
    if not path.is_file():
        raise WorkloadError(f"data.path: {path} is not there: name the file as published")

"""Click tables from files that a user has: Criteo's, Avazu's, and one's own as CSV or Parquet."""

from __future__ import annotations

import csv as text_csv
import io
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice
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
    types = {LABEL: "float64", **dict.fromkeys(CRITEO_NUMBERS, "float64"), **dict.fromkeys(CRITEO_CATEGORIES, "string")}
    table = _read_first(path, rows, types, names=list(types), delimiter="\t")
    columns = {name: _steps(table[name]) for name in CRITEO_NUMBERS}
    columns |= {name: _texts(table[name]) for name in CRITEO_CATEGORIES}
    return encode(columns, _labels(table[LABEL], LABEL, path))


def avazu(path: Path, rows: int | None = None) -> Clicks:
    """Avazu's `train.csv`, in the order of time; its hour (YYMMDDHH) becomes hour of day and weekday."""
    names = _header(path)
    _needs(names, ("click", "hour"), path)
    types = dict.fromkeys(names, "string") | {"click": "float64", "hour": "int64"}
    table = _read_first(path, rows, types)
    hours = table["hour"]
    if hours.dtype.kind != "i":
        raise WorkloadError(f"data.path: {path}: column 'hour' is empty in a row: fill it or drop the row")
    days, which = np.unique(hours // 100, return_inverse=True)
    day_of = np.array([_day(day, path) for day in days.tolist()], "datetime64[D]")[which]
    columns: dict[str, NDArray[Any]] = {"hour": hours % 100, "weekday": (day_of.astype(np.int64) + 3) % 7}
    columns |= {name: _texts(values) for name, values in table.items() if name not in ("id", "click", "hour")}
    return encode(columns, _labels(table["click"], "click", path))


def own_table(path: Path, rows: int | None = None) -> Clicks:
    """A CSV or Parquet file: `label` (0 or 1), `timestamp` (a number to sort rows by) if there is one, and fields.

    Texts and whole numbers are categories; other numbers are cut at the training rows' quantiles. `rows` are the
    earliest by timestamp, for which all of the file is read into memory; without one they are the file's first.
    """
    read = _read_parquet if path.suffix in (".parquet", ".pq") else _read_csv
    table = _arrays(_earliest(read(path, rows), rows, path))
    _needs(table, (LABEL,), path)
    labels = _labels(table.pop(LABEL), LABEL, path)
    order = np.arange(len(labels))
    if TIME in table:
        order = np.argsort(_numbers(table.pop(TIME), TIME, path), kind="stable")
    n_train = int(0.8 * len(labels))
    columns = {name: _categories(values[order], n_train) for name, values in table.items()}
    return encode(columns, labels[order], n_train)


def _day(day: int, path: Path) -> np.datetime64:
    """Of YYMMDD."""
    try:
        return np.datetime64(f"20{day // 10**4:02d}-{day // 100 % 100:02d}-{day % 100:02d}")
    except ValueError as error:
        raise WorkloadError(
            f"data.path: {path}: column 'hour' must hold YYMMDDHH, but {day:06d} is no day ({error}): correct the row"
        ) from error


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
    large = np.floor(np.log(np.maximum(values, 2.0)) ** 2) + 3
    found = np.where(values > 2, large, values)
    return np.where(np.isfinite(found), found, -100).astype(np.int64)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iub":
        return values
    return np.array([MISSING if value is None or value != value else str(value) for value in values.tolist()])


def _numbers(values: NDArray[Any], name: str, path: Path) -> NDArray[np.float64]:
    try:
        found = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise WorkloadError(f"data.path: {path}: column {name!r} must hold numbers: {error}") from error
    # A date that is missing is a number to numpy, and before all others.
    if (np.isnan(found) | (values != values)).any():
        raise WorkloadError(f"data.path: {path}: column {name!r} is empty in a row: fill it or drop the row")
    return found


def _labels(values: NDArray[Any], name: str, path: Path) -> NDArray[np.float32]:
    try:
        labels = values.astype(np.float32)
    except (TypeError, ValueError):
        labels = np.full(len(values), np.nan, np.float32)
    if not np.isin(labels, (0, 1)).all():
        raise WorkloadError(f"data.path: {path}: column {name!r} must hold 0 (no click) or 1 (click) in every row")
    return labels


def _needs(given: Collection[str], names: tuple[str, ...], path: Path) -> None:
    for name in names:
        if name not in given:
            raise WorkloadError(
                f"data.path: {path} has no column {name!r} (it has {', '.join(given) or 'none'}): add or rename it"
            )


def _read_first(
    path: Path,
    rows: int | None,
    types: Mapping[str, str],
    names: list[str] | None = None,
    delimiter: str = ",",
) -> dict[str, NDArray[Any]]:
    """Columns of a CSV file of known types, at most its first so many rows; no more of it is read.

    Args:
        types: a name of an Arrow type for every column: types that Arrow infers from a file's first rows may not fit
            the later ones, and hashes may look like numbers.
        names: the columns' names, where the file has no header.
    """
    from pyarrow import ArrowInvalid, Table, csv

    _there(path)
    read = csv.ReadOptions(column_names=names)
    convert = csv.ConvertOptions(strings_can_be_null=True, column_types=types)
    found, batches = 0, []
    try:
        with csv.open_csv(path, read, csv.ParseOptions(delimiter=delimiter), convert) as reader:
            for batch in reader:
                batches.append(batch)
                found += len(batch)
                if rows is not None and found >= rows:
                    break
            return _arrays(Table.from_batches(batches, reader.schema).slice(0, rows))
    except ArrowInvalid as error:
        raise _no_table(path, error) from error


def _read_csv(path: Path, rows: int | None) -> Any:
    """An Arrow table of types that fit all rows read; where there is no time to sort by, so many rows are enough."""
    from pyarrow import ArrowInvalid, csv

    convert = csv.ConvertOptions(strings_can_be_null=True)
    timed = TIME in _header(path)
    try:
        if rows is None or timed:
            return csv.read_csv(path, convert_options=convert)
        with path.open("rb") as file:
            # A row is a line: to Arrow, a line end within quotes is an error.
            return csv.read_csv(io.BytesIO(b"".join(islice(file, rows + 1))), convert_options=convert)
    except ArrowInvalid as error:
        raise _no_table(path, error) from error


def _header(path: Path) -> list[str]:
    """Names of a CSV file's columns, no two alike."""
    _there(path)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = next((line for line in file if line.strip()), "")
    return _distinct(next(text_csv.reader([first]), []), path)


def _no_table(path: Path, error: Exception) -> WorkloadError:
    return WorkloadError(f"data.path: {path} does not read as a table: {error}")


def _read_parquet(path: Path, rows: int | None) -> Any:
    from pyarrow import ArrowInvalid, parquet

    _there(path)
    try:
        _distinct(parquet.read_schema(path).names, path)
        return parquet.read_table(path)
    except (OSError, ArrowInvalid) as error:
        raise WorkloadError(f"data.path: {path} does not read as Parquet: {error}") from error


def _earliest(table: Any, rows: int | None, path: Path) -> Any:
    """The earliest rows of an Arrow table by its timestamps, in the table's order; without those the first ones."""
    if rows is None or TIME not in table.column_names:
        return table.slice(0, rows)
    times = _numbers(table.column(TIME).to_numpy(), TIME, path)
    kept = np.zeros(len(times), np.bool_)
    kept[np.argsort(times, kind="stable")[:rows]] = True
    return table.filter(kept)


def _distinct(names: list[str], path: Path) -> list[str]:
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise WorkloadError(f"data.path: {path} has two columns {double[0]!r}: rename or drop one")
    return names


def _arrays(table: Any) -> dict[str, NDArray[Any]]:
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _there(path: Path) -> None:
    if not path.is_file():
        raise WorkloadError(f"data.path: {path} is not there: name the file as published")

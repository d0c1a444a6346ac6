"""A user's own labelled texts: CSV, JSON lines or Parquet, with a column of texts and one of labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunewright.errors import WorkloadError

# A field of a CSV file may be a whole article.
_LONGEST_FIELD = 16 * 2**20


def read_texts(path: Path, text_column: str, label_column: str | None) -> tuple[list[str], list[str]]:
    """Texts and labels of a file; labels are empty where no label column is asked for.

    Raises:
        WorkloadError: unreadable, not UTF-8, no such column, an empty text or a missing label; names the row.
    """
    if not path.is_file():
        raise WorkloadError(f"data: there is no file {path}")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise WorkloadError(f"data: {path} must end in one of {', '.join(_READERS)}")
    try:
        rows = read(path)
    except UnicodeDecodeError as error:
        raise WorkloadError(f"data: {path} is not UTF-8 (byte {error.start}): convert it first") from error
    if not rows:
        raise WorkloadError(f"data: {path} holds no rows")
    texts = [_field(path, number, row, text_column, "text_column") for number, row in enumerate(rows, 1)]
    if label_column is None:
        return texts, []
    return texts, [_field(path, number, row, label_column, "label_column") for number, row in enumerate(rows, 1)]


def _field(path: Path, number: int, row: Mapping[str, Any], column: str, option: str) -> str:
    if column not in row:
        raise WorkloadError(
            f"data.{option}: row {number} of {path} has no {column!r}; it has {', '.join(map(str, row)) or 'nothing'}"
        )
    value = row[column]
    if isinstance(value, (dict, list, float)):
        raise WorkloadError(f"data.{option}: row {number} of {path} has {value!r}, which is no text")
    if value is None or not str(value).strip():
        raise WorkloadError(f"data.{option}: {column!r} is empty in row {number} of {path}; fill it or drop the row")
    return str(value)


def _csv(path: Path) -> list[dict[str, Any]]:
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            return [{key: value for key, value in row.items() if key is not None} for row in csv.DictReader(file)]
        except csv.Error as error:
            raise WorkloadError(f"data: {path} is no CSV: {error}") from error


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    # Not `splitlines`: a string of JSON may hold U+2028 and others that it takes for the end of a line.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise WorkloadError(f"data: line {number} of {path} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise WorkloadError(f"data: line {number} of {path} is no JSON object")
        rows.append(row)
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise WorkloadError(f"data: {path} needs pyarrow: pip install tunewright[parquet]") from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise WorkloadError(f"data: {path} is no Parquet: {error}") from error
    return rows


_READERS: Mapping[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}

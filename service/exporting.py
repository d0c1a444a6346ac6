"""Exports: a study's trials or reports as a table, or all of it as a document, piece by piece.

What users' programs and people have written may be read by a spreadsheet, which takes a cell that begins with `=` and
the like for a formula: such a text gets an apostrophe before it. Numbers stay numbers. What could be secret stays at
home: the variables of a command's environment.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from sqlalchemy import Engine, Row

from service.store import exports
from service.store.rows import utc
from service.store.tables import ReportRow, TrialRow
from tunewright import document
from tunewright.document import DocumentStudy
from tunewright.errors import SpecError
from tunewright.study import StudySpec
from tunewright.views import Study

# Rows that are written together; of a document, so many characters, and what goes beyond them by one trial.
GROUP = 1_000
GROUP_CHARACTERS = 1 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class What(StrEnum):
    """What a table has a row for."""

    TRIALS = "trials"
    REPORTS = "reports"


class Format(StrEnum):
    """How an export is written. `json` is the whole study, and can be imported again."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.PARQUET: "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class Column:
    """A column: its name, its type for formats that have types, and a row's value."""

    name: str
    type: str
    value: Callable[[Row[Any]], Any]


def export(engine: Engine, study: Study, format: Format, what: What) -> Iterator[bytes]:
    """The export in pieces; memory does not grow with the study.

    Raises:
        SpecError: Parquet is not installed here.
    """
    if format is Format.JSON:
        return _document(engine, study)
    rows, columns = _table(engine, study, what)
    return _csv(rows, columns) if format is Format.CSV else _parquet(rows, columns)


def _document(engine: Engine, study: Study) -> Iterator[bytes]:
    head = DocumentStudy(
        spec=_without_secrets(study.spec),
        state=study.state,
        reason=study.reason,
        source=f"study {study.id}",
        started_at=study.started_at,
        ended_at=study.ended_at,
        active_seconds=study.active_seconds,
        cluster_seconds=study.cluster_seconds,
    )
    horizon = exports.Horizon.of(engine, study.id)
    pieces = document.write(
        head,
        earlier=exports.document_earlier(engine, study.id),
        queue=exports.document_queue(engine, study.id, horizon),
        improvements=exports.document_improvements(engine, study.id, horizon),
        trials=exports.document_trials(engine, study.id, horizon),
    )
    group: list[str] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        # A trial with a long curve is a megabyte by itself.
        size += len(piece)
        if len(group) >= GROUP or size >= GROUP_CHARACTERS:
            yield "".join(group).encode()
            group, size = [], 0
    yield "".join(group).encode()


def _without_secrets(spec: StudySpec) -> StudySpec:
    if spec.command is None:
        return spec
    return spec.model_copy(update={"command": spec.command.model_copy(update={"environment": {}})})


def _table(engine: Engine, study: Study, what: What) -> tuple[Iterator[Row[Any]], list[Column]]:
    if what is What.TRIALS:
        configs = [] if study.spec.space is None else study.spec.space.names
        metrics = exports.metric_names(engine, TrialRow, study.id)
        columns = [
            Column("trial", "int", lambda row: row.number),
            Column("state", "text", lambda row: row.state),
            Column("resource", "float", lambda row: row.resource),
            *(_item("metrics", name, "float") for name in metrics),
            *(_item("config", name, _type(study, name)) for name in configs),
            Column("rung", "int", lambda row: row.rung),
            Column("bracket", "int", lambda row: row.bracket),
            Column("retry_of", "int", lambda row: row.retry_of),
            Column("started_at", "time", lambda row: row.started_at),
            Column("ended_at", "time", lambda row: row.ended_at),
            Column("seconds", "float", lambda row: row.seconds),
            Column("problem", "text", lambda row: row.problem),
        ]
        return exports.trials(engine, study.id), columns
    metrics = exports.metric_names(engine, ReportRow, study.id)
    columns = [
        Column("trial", "int", lambda row: row.trial),
        Column("resource", "float", lambda row: row.resource),
        *(_item("metrics", name, "float") for name in metrics),
        Column("job", "int", lambda row: row.job),
        Column("attempt", "int", lambda row: row.attempt),
        Column("at", "time", lambda row: row.at),
        Column("late", "bool", lambda row: row.late),
    ]
    return exports.reports(engine, study.id), columns


def _item(field: str, name: str, type: str) -> Column:
    return Column(f"{field}.{name}", type, lambda row: getattr(row, field).get(name))


def _type(study: Study, name: str) -> str:
    """Of a parameter; choices of several kinds are written as texts where a column has one type."""
    assert study.spec.space is not None
    parameter = study.spec.space[name]
    if parameter.type in ("float", "int"):
        return parameter.type
    kinds = {type(choice) for choice in getattr(parameter, "choices", ())}
    if len(kinds) > 1:
        return "text"
    return {bool: "bool", int: "int", float: "float"}.get(kinds.pop(), "text")


def _csv(rows: Iterator[Row[Any]], columns: Sequence[Column]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([cell(column.name) for column in columns])
    while group := list(islice(rows, GROUP)):
        writer.writerows([_csv_value(column, row) for column in columns] for row in group)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _csv_value(column: Column, row: Row[Any]) -> str:
    value = column.value(row)
    if value is None:
        return ""
    if column.type == "time":
        return utc(value).isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(value) if isinstance(value, str) else repr(value)


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _parquet(rows: Iterator[Row[Any]], columns: Sequence[Column]) -> Iterator[bytes]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SpecError(
            'format: parquet needs pyarrow, which the service does not have; pip install "tunewright[parquet]" there, '
            "or take csv"
        ) from None
    return _parquet_pieces(rows, columns, pyarrow)


def _parquet_pieces(rows: Iterator[Row[Any]], columns: Sequence[Column], arrow: Any) -> Iterator[bytes]:
    types: Mapping[str, Any] = {
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
        "text": arrow.string(),
        "time": arrow.timestamp("us", tz="UTC"),
    }
    schema = arrow.schema([(column.name, types[column.type]) for column in columns])
    sink = _Pieces()
    with arrow.parquet.ParquetWriter(arrow.PythonFile(sink, mode="w"), schema) as writer:
        while group := list(islice(rows, GROUP)):
            arrays = [
                arrow.array([_parquet_value(column, row) for row in group], types[column.type]) for column in columns
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            yield sink.take()
    yield sink.take()


def _parquet_value(column: Column, row: Row[Any]) -> Any:
    value = column.value(row)
    if value is None:
        return None
    if column.type == "time":
        return utc(value)
    if column.type == "text" and not isinstance(value, str):
        return repr(value)
    return float(value) if column.type == "float" else value


class _Pieces(io.RawIOBase):
    """A file that is only written, and taken away as it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

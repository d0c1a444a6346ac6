"""What every benchmark shares: its arguments, its table, its JSON, percentiles.

    {"name": ..., "command": ..., "headline": {metric: number}, "rows": [{column: value}, ...]}

`headline` holds the figures that a claim is made of, `rows` everything that was measured on the way.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Arguments:
    """What a benchmark was asked for.

    Attributes:
        quick: smaller, for a look or for CI; ends within two minutes.
        json: file to which the result goes, beside the table.
        command: how the run is repeated.
    """

    quick: bool
    json: Path | None
    command: str


@dataclass
class Result:
    """What a benchmark found."""

    name: str
    command: str
    headline: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Cell]] = field(default_factory=list)

    def keep(self, row: dict[str, Cell]) -> None:
        """Add a row, and tell of it on standard error: a long run shows where it is, and leaves what it had."""
        self.rows.append(row)
        print(", ".join(f"{name} {_text(value) or '-'}" for name, value in row.items()), file=sys.stderr, flush=True)


def arguments(name: str, text: str, argv: Sequence[str] | None = None) -> Arguments:
    """Parse the command line of `python -m benchmarks.<name>`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text)
    parser.add_argument("--quick", action="store_true", help="a smaller run, within two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE as well")
    found = parser.parse_args(argv)
    options = [*(["--quick"] if found.quick else []), *(["--json", str(found.json)] if found.json else [])]
    return Arguments(found.quick, found.json, shlex.join(["python", "-m", f"benchmarks.{name}", *options]))


def count(text: str) -> int:
    """A number of runs, clients, seeds on a command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number


def publish(result: Result, path: Path | None, console: Console | None = None) -> None:
    """Print a result, one table for each run of rows with the same columns; write it as JSON where a path is given."""
    console = console or Console()
    for columns, rows in groupby(result.rows, key=tuple):
        console.print(_table(columns, list(rows)))
    console.print(_table(("metric", "value"), [{"metric": k, "value": v} for k, v in result.headline.items()]))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(result), indent=2, allow_nan=False) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed: one that was measured.

    Raises:
        ValueError: no values, or a share outside 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"percentile: {len(values)} values, share {share}")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of paired differences and its 95% interval by Student's t; the ends are the mean for a single value."""
    from scipy import stats

    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, mean, mean
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _table(columns: Sequence[str], rows: Sequence[dict[str, Cell]]) -> Table:
    table = Table()
    for column in columns:
        number = any(isinstance(row[column], (int, float)) for row in rows)
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_text(row[column]) for column in columns))
    return table


def _text(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
    return str(value)

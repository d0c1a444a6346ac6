"""The data options of click-through models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.data._click_table import Clicks
from models.options import threads, whole
from models.recsys.ctr.learner import CHUNK_ROWS
from models.recsys.ctr.pairs import Pair
from tunewright.errors import WorkloadError

DEFAULT_DATASET = "movielens-100k"
MAX_CHUNK_ROWS = 100_000_000


@dataclass(frozen=True)
class CtrOptions:
    """A study's data options, read and checked.

    Attributes:
        pairs: pairs of fields by their numbers, those that matter most first; None: ranked by what they tell.
    """

    table: Clicks
    chunk_rows: int
    threads: int
    pairs: list[Pair] | None


def read_options(data: Mapping[str, Any]) -> CtrOptions:
    """Check the options and load the table.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    from models.data.clicks import load

    table = load(data.get("dataset", DEFAULT_DATASET), data.get("path"), data.get("rows"), data.get("seed", 0))
    return CtrOptions(
        table,
        whole(data, "chunk_rows", CHUNK_ROWS, 2, MAX_CHUNK_ROWS),
        threads(data),
        read_pairs(data["pairs"], table.fields) if "pairs" in data else None,
    )


def read_pairs(names: Any, fields: Sequence[str]) -> list[Pair]:
    """Pairs from names such as "user*item".

    Raises:
        WorkloadError: not a list, an unknown field, a field with itself, or a pair that stands twice.
    """
    if not isinstance(names, (list, tuple)):
        raise WorkloadError(f'data.pairs: {names!r} must be a list of pairs such as "{fields[0]}*{fields[-1]}"')
    found: list[Pair] = []
    for name in names:
        parts = str(name).split("*")
        if len(parts) != 2 or parts[0] == parts[1] or not set(parts) <= set(fields):
            raise WorkloadError(f"data.pairs: {name!r} must join two of the fields by *: {', '.join(fields)}")
        first, second = sorted(fields.index(part) for part in parts)
        if (first, second) in found:
            raise WorkloadError(f"data.pairs: {name!r} stands twice: remove one")
        found.append((first, second))
    return found

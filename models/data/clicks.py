"""Click tables: rows of categories with a label, in the order of time, as click-through models learn from them.

table = load("movielens-100k")
table = load("generated", rows=20_000, seed=1)
table = load("criteo", path="train.txt", rows=1_000_000)

Codes are made from the training rows alone. A category that those hold less than `MIN_COUNT` times, or never, shares
a code with other rare ones, by its hash: so every row can be scored, and what is never seen in training is scored by
what was learned from rare categories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.data._click_files import avazu, criteo, own_table
from models.data._click_planted import generate
from models.data._click_table import FIELDS, MIN_COUNT, Clicks, encode
from models.data.interactions import Interactions, split_per_user
from models.data.interactions import load as load_interactions
from models.options import checked
from tunewright.errors import WorkloadError

__all__ = ["DATASETS", "FIELDS", "MIN_COUNT", "Clicks", "encode", "from_interactions", "generate", "load"]

GENERATED, DEFAULT_ROWS, MAX_ROWS = "generated", 50_000, 100_000_000
_SECONDS_PER_HOUR, _HOURS_PER_DAY, _EPOCH_WEEKDAY = 3_600, 24, 3


@dataclass(frozen=True)
class Source:
    """A published or own click table that the user has a file of.

    Attributes:
        about: what it is.
        read: path, largest number of rows -> table.
    """

    about: str
    read: Callable[[Path, int | None], Clicks]


FILES = {
    "criteo": Source("Criteo Display Advertising Challenge; path: train.txt", criteo),
    "avazu": Source("Avazu Click-Through Rate Prediction; path: train.csv", avazu),
    "table": Source("your own CSV or Parquet file with columns label and, if rows are unordered, timestamp", own_table),
}
DATASETS = ("movielens-100k", GENERATED, *FILES)


def load(name: Any, path: Any = None, rows: Any = None, seed: Any = 0) -> Clicks:
    """A click table by name, the same every time.

    Args:
        path: the user's file, for those that no package carries.
        rows: at most so many, the earliest (of a `table` without timestamps, the file's first); for `generated`, how
            many to draw.
        seed: of `generated`.
    Raises:
        WorkloadError: unknown name, no or a wrong file, a wrong number.
    """
    if not isinstance(name, str) or name not in DATASETS:
        raise WorkloadError(f"data.dataset: {name!r} is unknown; known: {', '.join(DATASETS)}")
    rows = None if rows is None else checked("rows", rows, 30, MAX_ROWS)
    seed = checked("seed", seed, 0, 2**32 - 1)
    if name in FILES and not isinstance(path, (str, Path)):
        raise WorkloadError(f"data.path: {name} is not shipped with any package: name the file that you have of it")
    if name not in FILES and path is not None:
        raise WorkloadError(f"data.path: {name} is no file; give data.dataset, too: {', '.join(FILES)}")
    return _load(name, Path(path) if name in FILES else None, rows, seed)


def from_interactions(table: Interactions) -> Clicks:
    """Ratings as clicks (liked or not), each user's last tenths to validate and to test on.

    Fields: user, item, what is known of them, all genres (queries) of the item as one category, hour and weekday.
    """
    parts = split_per_user(table)
    counts = [len(part) for part in (parts.train, parts.valid, parts.test)]
    columns: dict[str, Any] = {"user": [], "item": []}
    for part in (parts.train, parts.valid, parts.test):
        hours = part.timestamp // _SECONDS_PER_HOUR
        found = {
            "user": part.user,
            "item": part.item,
            **{name: field.codes[part.user] for name, field in part.user_fields.items()},
            **{name: field.codes[part.item] for name, field in part.item_fields.items() if name != "genre"},
            "genres": _descriptions(part)[part.item],
            "hour": hours % _HOURS_PER_DAY,
            "weekday": (hours // _HOURS_PER_DAY + _EPOCH_WEEKDAY) % 7,
        }
        for field_name, values in found.items():
            columns.setdefault(field_name, []).append(values)
    labels = np.concatenate([part.clicked for part in (parts.train, parts.valid, parts.test)])
    whole = {field_name: np.concatenate(values) for field_name, values in columns.items()}
    return encode(whole, labels.astype(np.float32), counts[0], counts[1])


@lru_cache(maxsize=3)
def _load(name: str, path: Path | None, rows: int | None, seed: int) -> Clicks:
    if path is not None:
        return FILES[name].read(path, rows)
    if name == GENERATED:
        return generate(rows or DEFAULT_ROWS, seed)
    table = load_interactions(name)
    return from_interactions(table if rows is None else table.take(np.arange(min(rows, len(table))), "all"))


def _descriptions(table: Interactions) -> Any:
    """(items,) number of each item's set of queries, sets counted from 0."""
    if table.item_queries is None:
        return np.zeros(table.items, np.int64)
    pointers, queries = table.item_queries
    sets = [tuple(queries[a:b].tolist()) for a, b in pairwise(pointers.tolist())]
    numbers = {found: number for number, found in enumerate(sorted(set(sets)))}
    return np.array([numbers[found] for found in sets], np.int64)

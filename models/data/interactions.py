"""Interactions of users with items under queries: what recommenders learn from, by name.

table = load("movielens-100k")
split = split_per_user(table)          # or split_globally(table)
table = generate(users=1_000, items=500, queries=40, interactions=50_000, seed=1)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.data._interaction_files import movielens_1m, movielens_20m, movielens_100k, taobao
from models.data._interaction_planted import generate
from models.data._interaction_table import Field, Interactions, Split, in_time_order, split_globally, split_per_user
from tunewright.errors import WorkloadError

__all__ = [
    "CATALOG",
    "GENERATED",
    "Field",
    "Interactions",
    "Split",
    "generate",
    "in_time_order",
    "load",
    "split_globally",
    "split_per_user",
]

GENERATED = "generated"


@dataclass(frozen=True)
class Source:
    """A data set of interactions.

    Attributes:
        about: what it is and where it comes from.
        read: gives the table; takes the path that the user named.
        needs_path: whether there is nothing without a path.
    """

    about: str
    read: Callable[..., Interactions]
    needs_path: bool = True


CATALOG = {
    "movielens-100k": Source("MovieLens-100k, genres as queries, from the package recbole", movielens_100k, False),
    "movielens-1m": Source("MovieLens-1M as GroupLens ships it; path: its directory", movielens_1m),
    "movielens-20m": Source("MovieLens-20M, 25M or 32M as GroupLens ships it; path: its directory", movielens_20m),
    "taobao": Source("Taobao user behaviour; path: UserBehavior.csv", taobao),
}


def load(name: Any, path: Any = None) -> Interactions:
    """A data set of the catalogue, in the order of time.

    Args:
        path: where the user's own copy of it lies; only MovieLens-100k needs none.
    Raises:
        WorkloadError: no such data set, no path, or files that are not as published.
    """
    if not isinstance(name, str) or name not in CATALOG:
        raise WorkloadError(f"data.dataset: {name!r} is unknown; known: {', '.join((*CATALOG, GENERATED))}")
    if path is None and CATALOG[name].needs_path:
        raise WorkloadError(f"data.path: {name} is not shipped with any package: name the files that you have of it")
    if path is not None and not isinstance(path, (str, Path)):
        raise WorkloadError(f"data.path: {path!r} must be a path")
    return _read(name, None if path is None else Path(path))


@lru_cache(maxsize=2)
def _read(name: str, path: Path | None) -> Interactions:
    source = CATALOG[name]
    try:
        return source.read(path) if path is not None else source.read()
    except (ValueError, IndexError) as error:
        if isinstance(error, WorkloadError):
            raise
        raise WorkloadError(
            f"data.path: {path} does not read as {name}: {error}; give the files as published"
        ) from error

"""The data options of the focal graph recommender, in training and in serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from models.data.interactions import (
    CATALOG,
    GENERATED,
    Interactions,
    Split,
    generate,
    load,
    split_globally,
    split_per_user,
)
from models.options import MAX_THREADS, whole
from models.recsys.graph import Graph, build_graph
from tunewright.errors import WorkloadError

DEFAULT_DATASET = "movielens-100k"
SPLITS = {"user": split_per_user, "global": split_globally}
# Whole numbers: name -> default, least, largest, meaning.
_NUMBERS = {
    "users": (1_000, 1, 10_000_000, "of generated data: how many"),
    "items": (400, 8, 10_000_000, "of generated data: how many"),
    "queries": (80, 8, 10_000_000, "of generated data: how many"),
    "interactions": (100_000, 100, 1_000_000_000, "of generated data: how many"),
    "data_seed": (0, 0, 2**31 - 1, "of generated data"),
    "unit": (8_192, 1, 100_000_000, "interactions that one unit of the fidelity learns from"),
    "judged": (5_000, 10, 10_000_000, "held-out interactions for the AUC, at most"),
    "ranked": (500, 1, 1_000_000, "held-out clicks for hit rates, at most"),
    "threads": (1, 1, MAX_THREADS, "processor threads that one trial uses"),
}
DATA_OPTIONS = {
    "dataset": f"what to learn: {', '.join((*CATALOG, GENERATED))} (default {DEFAULT_DATASET})",
    "path": "where your copy of the data set lies; movielens-100k needs none",
    "split": "what is held out: the last interactions of each user (user), or the last of all (global; default user)",
    **{name: f"{meaning}; a whole number (default {default})" for name, (default, _, _, meaning) in _NUMBERS.items()},
}


@dataclass(frozen=True)
class RecommenderOptions:
    """A study's data options, read and checked; see `DATA_OPTIONS`."""

    dataset: str
    path: str | None
    cut: str
    users: int
    items: int
    queries: int
    interactions: int
    data_seed: int
    unit: int
    judged: int
    ranked: int
    threads: int

    def split(self) -> Split:
        """The data set's parts, read once for each process."""
        return _split(self)

    def graph(self) -> Graph:
        """The graph of the part to learn from, built once for each process."""
        return _graph(self)


def read_options(data: Mapping[str, Any]) -> RecommenderOptions:
    """Check the options; the data set is loaded later.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    dataset, path, cut = data.get("dataset", DEFAULT_DATASET), data.get("path"), data.get("split", "user")
    if not isinstance(dataset, str) or dataset not in (*CATALOG, GENERATED):
        raise WorkloadError(f"data.dataset: {dataset!r} is unknown; known: {', '.join((*CATALOG, GENERATED))}")
    if path is not None and not isinstance(path, str):
        raise WorkloadError(f"data.path: {path!r} must be a path as text")
    if path is not None and dataset == GENERATED:
        raise WorkloadError(f"data.path: {GENERATED} is made up; give the data.dataset that lies there, or no path")
    if not isinstance(cut, str) or cut not in SPLITS:
        raise WorkloadError(f"data.split: {cut!r} is unknown; known: {', '.join(SPLITS)}")
    numbers = {name: whole(data, name, *bounds) for name, (*bounds, _) in _NUMBERS.items()}
    return RecommenderOptions(dataset, path, cut, **numbers)


@lru_cache(maxsize=2)
def _split(options: RecommenderOptions) -> Split:
    return SPLITS[options.cut](_table(options))


@lru_cache(maxsize=1)
def _graph(options: RecommenderOptions) -> Graph:
    return build_graph(options.split().train)


def _table(options: RecommenderOptions) -> Interactions:
    if options.dataset != GENERATED:
        return load(options.dataset, options.path)
    sizes = (options.users, options.items, options.queries, options.interactions)
    return generate(*sizes, seed=options.data_seed)

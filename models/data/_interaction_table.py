"""Who met what, when and how they liked it: the table that recommenders learn from, and its splits by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import WorkloadError

Part: TypeAlias = Literal["all", "train", "valid", "test"]
Ints: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Field:
    """One property of every user or every item.

    Attributes:
        codes: (n,) int32 from 0 to size - 1; 0 stands for "unknown" and is kept free for it.
        size: number of codes, the unknown one included.
        names: of the codes, where they have any.
    """

    codes: Ints
    size: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions in the order of time. Shared between callers: arrays are read-only.

    Users, items and queries are numbered from 0 over the whole data set, so a part of it keeps their numbers.

    Attributes:
        user, item, query: (n,) int32. The query is what the user had asked for: a search, a category, a genre.
        rating: (n,) float32, in the source's unit.
        timestamp: (n,) int64, seconds, never falling.
        liked_from: a rating from here on is a click, everything below is an exposure without one.
        users, items, queries: how many there are.
        user_fields, item_fields: name -> `Field` with one code for every user or item.
        item_queries: (pointers (items + 1,) int64, queries int32): what each item's own description says it answers.
        truth: (n,) float32 true click probabilities, where the data were generated; None otherwise.
        part: which part of a split this is.
    """

    user: Ints
    item: Ints
    query: Ints
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    liked_from: float
    users: int
    items: int
    queries: int
    user_fields: Mapping[str, Field] = field(default_factory=dict)
    item_fields: Mapping[str, Field] = field(default_factory=dict)
    item_queries: tuple[NDArray[np.int64], Ints] | None = None
    truth: NDArray[np.float32] | None = None
    part: Part = "all"

    def __post_init__(self) -> None:
        if len({len(self.user), len(self.item), len(self.query), len(self.rating), len(self.timestamp)}) != 1:
            raise WorkloadError(
                "data: user, item, query, rating and timestamp differ in length: give each row all five"
            )
        for name, codes, size in (
            ("user", self.user, self.users),
            ("item", self.item, self.items),
            ("query", self.query, self.queries),
        ):
            if len(codes) and not (codes.min() >= 0 and codes.max() < size):
                raise WorkloadError(f"data: {name} numbers must lie between 0 and {size - 1}: renumber them")
        for array in (self.user, self.item, self.query, self.rating, self.timestamp):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.user)

    @property
    def clicked(self) -> NDArray[np.bool_]:
        """(n,) whether the user took the item."""
        return self.rating >= self.liked_from

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_], part: Part) -> Interactions:
        """Some of the rows, as a part of a split; users, items, queries and their fields stay whole."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            query=self.query[rows],
            rating=self.rating[rows],
            timestamp=self.timestamp[rows],
            truth=None if self.truth is None else self.truth[rows],
            part=part,
        )


def in_time_order(table: Interactions) -> Interactions:
    """The same rows sorted by time; rows of one second keep their order, so sources may be unordered."""
    order = np.argsort(table.timestamp, kind="stable")
    return table.take(order, table.part)


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts without a row in common; see the functions that make them for what is later than what."""

    train: Interactions
    valid: Interactions
    test: Interactions


def split_globally(table: Interactions, valid: float = 0.1, test: float = 0.1) -> Split:
    """One cut in time for everybody: nothing to learn from is later than anything to be judged by.

    Rows of the same second always fall into the same (the earlier) part.

    Args:
        valid, test: shares of the rows.
    Raises:
        WorkloadError: a share is out of range, or a part would be empty.
    """
    _check_shares(valid, test)
    table, n = in_time_order(table), len(table)
    rank = np.searchsorted(table.timestamp, table.timestamp, side="left")
    return _cut(table, rank / max(n, 1), valid, test)


def split_per_user(table: Interactions, valid: float = 0.1, test: float = 0.1) -> Split:
    """One cut in time for each user: the last rows of each are judged by. Rows of the same second stay together.

    A user with too few rows to cut is learned from alone. Raises as `split_globally`.
    """
    _check_shares(valid, test)
    table = in_time_order(table)
    order = np.argsort(table.user, kind="stable")
    user, time = table.user[order], table.timestamp[order]
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    counts = np.diff(np.r_[starts, len(user)])
    first = np.repeat(starts, counts)
    # Position of the first row of the same user and second.
    fresh = np.r_[True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])]
    same = np.maximum.accumulate(np.where(fresh, np.arange(len(user)), 0))
    share = np.empty(len(user))
    share[order] = (same - first) / np.repeat(counts, counts)
    return _cut(table, share, valid, test)


def _cut(table: Interactions, share: NDArray[np.float64], valid: float, test: float) -> Split:
    """Parts by how large a share of the rows lies before each row."""
    until_valid, until_test = 1.0 - valid - test, 1.0 - test
    parts = Split(
        table.take(share < until_valid, "train"),
        table.take((share >= until_valid) & (share < until_test), "valid"),
        table.take(share >= until_test, "test"),
    )
    for part in (parts.train, parts.valid, parts.test):
        if not len(part):
            raise WorkloadError(
                f"data.split: no rows are left for the {part.part} part of {len(table)} rows: "
                "give more rows, or timestamps that differ"
            )
    return parts


def _check_shares(valid: float, test: float) -> None:
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise WorkloadError(f"data.split: shares {valid} and {test} must be above 0 and sum to less than 1")

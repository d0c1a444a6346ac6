"""The table that click-through models learn from, and how categories become codes without looking ahead."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import WorkloadError

# Fields of MovieLens-100k, in order; a generated table has the same, so that one search space serves both.
FIELDS = ("user", "item", "age", "gender", "occupation", "zip", "year", "decade", "genres", "hour", "weekday")
MIN_COUNT = 2
MIN_ROWS = 30
# Codes that rare and unseen categories share: one in a small field, some in one of many categories.
_SHARED, _MANY = 8, 64


@dataclass(frozen=True, eq=False)
class Clicks:
    """Rows to train on, then rows to validate on, then rows to test on. Shared between callers: arrays are read-only.

    Attributes:
        fields: their names.
        sizes: number of codes of each field.
        codes: (n, fields) int32, from 0 to the field's size - 1; the first codes stand for rare and unseen categories.
        labels: (n,) float32, 1 for a click and 0 for none.
        n_train, n_valid: rows of the first two parts.
        truth: (n,) float64 true click probabilities of a generated table; None otherwise.
    """

    fields: tuple[str, ...]
    sizes: tuple[int, ...]
    codes: NDArray[np.int32]
    labels: NDArray[np.float32]
    n_train: int
    n_valid: int
    truth: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for part in ("train", "valid", "test"):
            found = self.labels[self.rows(part)]
            if len(np.unique(found)) != 2:
                raise WorkloadError(
                    f"data: the {part} part ({len(found)} rows) needs clicks and rows without one: give more rows"
                )
        for array in (self.codes, self.labels):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, part: str) -> slice:
        """Where a part ("train", "valid", "test") lies."""
        bounds = (0, self.n_train, self.n_train + self.n_valid, len(self.labels))
        number = ("train", "valid", "test").index(part)
        return slice(bounds[number], bounds[number + 1])


def encode(
    columns: Mapping[str, NDArray[Any]],
    labels: NDArray[np.float32],
    n_train: int | None = None,
    n_valid: int | None = None,
    truth: NDArray[np.float64] | None = None,
) -> Clicks:
    """Code columns of categories, rows being in the order train, validation, test.

    Args:
        columns: field -> (n,) categories, of any kind that sorts.
        labels: (n,) 0 or 1.
        n_train, n_valid: rows of the first two parts; 80% and 10% by default.
    Raises:
        WorkloadError: too few rows, other labels than 0 and 1, no column, columns of unequal length, or a part with
            labels of one kind only.
    """
    n = len(labels)
    if n < MIN_ROWS:
        raise WorkloadError(f"data: {n} rows are too few to learn from: give at least {MIN_ROWS}")
    if not np.isin(labels, (0, 1)).all():
        raise WorkloadError("data: labels must be 0 (no click) or 1 (click): convert the label column")
    if not columns or any(len(values) != n for values in columns.values()):
        raise WorkloadError(f"data: every field needs one category for each of the {n} labels, and one field at least")
    n_train = int(0.8 * n) if n_train is None else n_train
    n_valid = int(0.1 * n) if n_valid is None else n_valid
    coded = [_coded(values, n_train) for values in columns.values()]
    codes = np.stack([found for found, _ in coded], axis=1)
    sizes = tuple(size for _, size in coded)
    return Clicks(tuple(columns), sizes, codes, labels.astype(np.float32), n_train, n_valid, truth)


def _coded(values: NDArray[Any], n_train: int) -> tuple[NDArray[np.int32], int]:
    """Codes (n,) and their number: categories that training knows each have their own, the others share some."""
    known, which = np.unique(values, return_inverse=True)
    kept = np.bincount(which[:n_train], minlength=len(known)) >= MIN_COUNT
    shared = _SHARED if kept.sum() > _MANY else 1
    code_of = shared + np.cumsum(kept) - 1
    rare = np.flatnonzero(~kept)
    code_of[rare] = [zlib.crc32(str(category).encode()) % shared for category in known[rare].tolist()]
    return code_of[which].astype(np.int32), shared + int(kept.sum())

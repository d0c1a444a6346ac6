"""The data options that all tabular workloads take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.data.catalog import CATALOG, Dataset, load
from models.options import THREADS_OPTION, threads

DEFAULT_DATASET = "digits"

DATA_OPTIONS = {
    "dataset": f"which data set to learn: {', '.join(CATALOG)} (default {DEFAULT_DATASET})",
    "threads": THREADS_OPTION,
}


@dataclass(frozen=True)
class TabularOptions:
    """A study's data options, read and checked."""

    dataset: Dataset
    threads: int


def read_options(data: Mapping[str, Any]) -> TabularOptions:
    """Check the options and load the data set.

    Raises:
        WorkloadError: an option's value is wrong; names the option.
    """
    return TabularOptions(threads=threads(data), dataset=load(data.get("dataset", DEFAULT_DATASET)))

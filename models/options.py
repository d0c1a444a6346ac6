"""Checks that the data options and settings of all workloads share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewright.errors import WorkloadError
from tunewright.space import Config

MAX_THREADS = 1_024
THREADS_OPTION = f"processor threads that one trial uses, a whole number from 1 to {MAX_THREADS} (default 1)"


def whole(data: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """The value of an option that is a whole number.

    Raises:
        WorkloadError: it is none, or out of range; names the option.
    """
    return checked(name, data.get(name, default), low, high)


def checked(name: str, value: Any, low: int, high: int) -> int:
    """An option's value, if it is a whole number in range.

    Raises:
        WorkloadError: as `whole`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WorkloadError(f"data.{name}: {value!r} must be a whole number from {low} to {high}")
    return value


def require_at_least(config: Config, **least: float) -> None:
    """Check settings that a study's own space may have put below what there can be; those that are not set are left.

    Raises:
        WorkloadError: one is below, or no number; names it.
    """
    for name, low in least.items():
        value = config.get(name, low)
        if isinstance(value, str) or not value >= low:
            raise WorkloadError(f"{name}: {value!r} must be {low} or more")


def threads(data: Mapping[str, Any]) -> int:
    """Processor threads that one trial uses.

    Raises:
        WorkloadError: no whole number from 1 to MAX_THREADS.
    """
    return whole(data, "threads", 1, 1, MAX_THREADS)

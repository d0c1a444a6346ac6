"""What the store costs and where it fails, as this process meets it; `service.metrics` shows it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Counter, Histogram
from sqlalchemy import Engine, event
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

WRITES = Histogram(
    "tunewright_store_write_seconds",
    "From the begin of a transaction that writes until it is durable, waiting for other writers included",
    registry=None,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
)
ERRORS = Counter("tunewright_store_errors", "Statements and connections that failed", ["kind"], registry=None)
for _kind in ("full", "unavailable"):
    ERRORS.labels(_kind)


@contextmanager
def timed_write() -> Iterator[None]:
    """Count the block as one transaction that writes, if it ends without an error."""
    began = time.perf_counter()
    yield
    WRITES.observe(time.perf_counter() - began)


def count_errors(engine: Engine) -> None:
    """Count what the driver raises because the store is away or full; what a statement does wrong is no such thing."""

    @event.listens_for(engine, "handle_error")
    def _note(context: Any) -> None:
        if store_is_full(context.original_exception):
            ERRORS.labels("full").inc()
        elif isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError, InternalError)):
            ERRORS.labels("unavailable").inc()


def store_is_full(error: BaseException | None) -> bool:
    """Whether a driver's error says that there is no room left on the store's disk."""
    return (
        getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        # PostgreSQL's disk_full
        or getattr(error, "sqlstate", None) == "53100"
    )

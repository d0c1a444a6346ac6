"""What clients do at one time, and what they saw of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from db_knobs.errors import LabError


@dataclass(frozen=True)
class Phase:
    """What clients do.

    Attributes:
        mix: transaction -> its share, of any sum.
        clients: connections, each with one transaction at a time.
        rate: transactions a second in all, at random moments; None: each client's next one begins when its last one
            ends.
        span: the part of the data's keys that is in use, in (0, 1].
    """

    mix: Mapping[str, float]
    clients: int = 4
    rate: float | None = None
    span: float = 1.0

    def __post_init__(self) -> None:
        if not any(share > 0 for share in self.mix.values()) or any(share < 0 for share in self.mix.values()):
            raise LabError(f"phase.mix: {dict(self.mix)} needs a positive share, and no negative one")
        if self.clients < 1:
            raise LabError(f"phase.clients: {self.clients} must be at least 1")
        if self.rate is not None and self.rate <= 0:
            raise LabError(f"phase.rate: {self.rate} must be positive, or None for as fast as it goes")
        if not 0 < self.span <= 1:
            raise LabError(f"phase.span: {self.span} must lie above 0, and at most at 1")

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "mix": dict(self.mix)}


class Deck:
    """Draws transactions so that the shares of a mix hold over every stretch of draws, and not only in the long run.

    The one that is furthest behind its share comes next. TPC-C's deck of cards (clause 5.2.4.2) is for the same end:
    were each drawn by itself, two stretches of the same load would differ by how many of the long ones they got.
    """

    def __init__(self, mix: Mapping[str, float], seed: int) -> None:
        total, start = sum(mix.values()), random.Random(seed)  # nosec B311
        self._share = {name: share / total for name, share in mix.items() if share > 0}
        self._owed = {name: start.random() for name in self._share}
        self._lock = threading.Lock()

    def draw(self) -> str:
        """The next one's name; for any thread."""
        with self._lock:
            for name, share in self._share.items():
                self._owed[name] += share
            name = max(self._owed, key=self._owed.__getitem__)
            self._owed[name] -= 1.0
            return name


@dataclass(frozen=True)
class LoadStats:
    """What clients saw of a stretch of time.

    Attributes:
        seconds: its length.
        transactions: that were committed.
        throughput: of them, in a second.
        per_second: of them, in each whole second.
        p50_ms, p95_ms, p99_ms: of their latency; where a rate is given it counts from when they were due. None where
            none was committed, or the program does not tell.
        errors: transactions that failed, and connections that were lost.
        by: transaction -> how many were committed.
    """

    seconds: float
    transactions: int
    throughput: float
    per_second: tuple[int, ...] = ()
    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    errors: int = 0
    by: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, done: Sequence[tuple[float, float, str]], seconds: float, errors: int) -> LoadStats:
        """From (when it ended, seconds since the start; latency in ms; name) of each transaction."""
        ends = np.array([end for end, _, _ in done])
        whole = int(seconds)
        bins = np.bincount(ends[ends < whole].astype(np.int64), minlength=whole) if len(done) else np.zeros(whole)
        latencies = np.array([latency for _, latency, _ in done])
        quantiles = [float(q) for q in np.percentile(latencies, [50, 95, 99])] if len(done) else [None] * 3
        names = [name for _, _, name in done]
        return cls(
            seconds=seconds,
            transactions=len(done),
            throughput=len(done) / seconds,
            per_second=tuple(int(count) for count in bins),
            mean_ms=float(latencies.mean()) if len(done) else None,
            p50_ms=quantiles[0],
            p95_ms=quantiles[1],
            p99_ms=quantiles[2],
            errors=errors,
            by={name: names.count(name) for name in sorted(set(names))},
        )

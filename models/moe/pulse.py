"""Signs of life of all ranks, by a store: names those that are gone when an exchange fails."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import torch.distributed as dist

INTERVAL = 0.3
# A rank whose count has not moved in so many seconds is gone.
PATIENCE = 2.0


class Pulse:
    """Counts up in the store for this rank while it lives, in a thread of its own.

    Args:
        store: not used by anything else: a wait on it would stop the pulse.
        keeper: the rank whose process keeps the store, missing where the store is; None: a process that is no rank.
    """

    def __init__(
        self,
        store: dist.Store,  # type: ignore[name-defined]
        rank: int,
        ranks: int,
        keeper: int | None = None,
    ) -> None:
        self._store, self._rank, self._ranks, self._keeper = store, rank, ranks, keeper
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._add(self._rank, 1)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def missing(self) -> tuple[int, ...]:
        """Ranks whose count does not move for `PATIENCE` seconds; takes that long."""
        try:
            before = [self._add(rank, 0) for rank in range(self._ranks)]
            time.sleep(PATIENCE)
            after = [self._add(rank, 0) for rank in range(self._ranks)]
        except (RuntimeError, OSError):
            return () if self._keeper is None else (self._keeper,)
        return tuple(rank for rank in range(self._ranks) if rank != self._rank and before[rank] == after[rank])

    def _add(self, rank: int, amount: int) -> int:
        with self._lock:
            return int(self._store.add(f"pulse/{rank}", amount))

    def _beat(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                self._add(self._rank, 1)
            except (RuntimeError, OSError):
                # The store is gone, and with it whoever would ask.
                return

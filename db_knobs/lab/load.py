"""Load on a database from clients in a process of their own, which may be kept to some processors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from db_knobs.address import Address
from db_knobs.errors import LabError
from db_knobs.lab.phase import LoadStats, Phase
from db_knobs.lab.shop import Shop
from db_knobs.lab.transactions import transactions

__all__ = ["Driving", "Load", "LoadStats", "Phase"]

LIFETIME = 2.0
END_SECONDS = 10.0


class Driving(Protocol):
    """Something that drives load, from `__enter__` to `__exit__`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def change(self, phase: Phase) -> None:
        """Do something else from now on."""

    def take(self) -> LoadStats:
        """What was done since it was last asked, or since the start."""

    def measure(self, seconds: float) -> LoadStats:
        """What is done from now on, for so long."""


class Load:
    """The shop's clients.

    They take up a lost connection again by themselves, and connect anew every now and then, as pools do: settings that
    only new connections see take hold within `lifetime`.

    Args:
        address: of the shop's database (`Shop.load`), and the role that works there.
        shop: as it was loaded.
        cpus: processors of the clients; None means all.
        seed: of every choice.
        lifetime: of a connection on average, in seconds.
    Raises:
        LabError: a transaction that the shop does not have; the clients could not be started, or ended.
    """

    def __init__(
        self,
        address: Address,
        shop: Shop,
        phase: Phase,
        *,
        cpus: Sequence[int] | None = None,
        seed: int = 0,
        lifetime: float = LIFETIME,
    ) -> None:
        self._address, self._shop, self._phase = address, shop, _known(address, phase)
        self._cpus, self._seed, self._lifetime = cpus, seed, lifetime
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "db_knobs.lab.driver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        address = self._address
        try:
            self._ask(
                {
                    # Through its input, which nobody else can read.
                    "address": {**vars(address), "password": address.password.secret},
                    "scale": self._shop.scale,
                    "seed": self._seed,
                    "cpus": None if self._cpus is None else list(self._cpus),
                    "lifetime": self._lifetime,
                    "phase": self._phase.as_dict(),
                }
            )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def change(self, phase: Phase) -> None:
        self._ask({"phase": _known(self._address, phase).as_dict()})
        self._phase = phase

    def take(self) -> LoadStats:
        stats = self._ask({"take": True})["stats"]
        return LoadStats(**{**stats, "per_second": tuple(stats["per_second"])})

    def measure(self, seconds: float) -> LoadStats:
        self.take()
        time.sleep(seconds)
        return self.take()

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process is not None, "use it as a context manager"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise LabError("the load's clients are gone; their errors stand above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # It has ended already.
        try:
            process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _known(address: Address, phase: Phase) -> Phase:
    known = transactions(address.kind)
    for name in phase.mix:
        if name not in known:
            raise LabError(f'phase.mix: "{name}" is none of {", ".join(sorted(known))}')
    return phase

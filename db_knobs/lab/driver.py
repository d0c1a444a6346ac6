"""The clients, in a process of their own: `python -m db_knobs.lab.driver`, spoken to by `load.Load`.

It reads a JSON object a line from its input and answers with one; it ends when its input does.

    {"address": {...}, "scale": 1.0, "seed": 0, "cpus": [1], "lifetime": 2.0, "phase": {...}}    -> {"ready": true}
    {"phase": {...}}                                                                             -> {"changed": true}
    {"take": true}           -> what was done since it was last asked: {"stats": {...}}
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import psycopg
import pymysql

from db_knobs.address import Address, Password
from db_knobs.lab.phase import Deck, LoadStats, Phase
from db_knobs.lab.shop import Shop
from db_knobs.lab.transactions import Draw, transactions

# A client whose connection is gone, or that nobody wants just now, looks again after so many seconds.
_PAUSE = 0.05
_CONNECT_SECONDS = 5


class _Record:
    """What was done since it was last taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start, self._errors = time.monotonic(), 0
        self._done: list[tuple[float, float, str]] = []

    def committed(self, due: float, name: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._done.append((now, 1000 * (now - due), name))

    def failed(self) -> None:
        with self._lock:
            self._errors += 1

    def take(self) -> LoadStats:
        with self._lock:
            now, start, done, errors = time.monotonic(), self._start, self._done, self._errors
            self._start, self._done, self._errors = now, [], 0
        return LoadStats.of([(end - start, latency, name) for end, latency, name in done], now - start, errors)


class _Client(threading.Thread):
    """One connection, made anew when it is lost or old."""

    def __init__(self, driver: Driver, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._driver, self._number = driver, number
        self._random = random.Random(1_000 * seed + number)  # nosec B311
        self._connection: Any = None
        self._until = 0.0

    def run(self) -> None:
        due, phase = time.monotonic(), self._driver.phase
        while True:
            if phase is not self._driver.phase:
                # What was due under the last phase is nobody's any more.
                due, phase = time.monotonic(), self._driver.phase
            if self._number >= phase.clients:
                self._disconnect()
                time.sleep(_PAUSE)
                continue
            if phase.rate is None:
                due = time.monotonic()
            else:
                due += self._random.expovariate(phase.rate / phase.clients)
            if self._wait(due, phase):
                self._one(phase, due)

    def _wait(self, due: float, phase: Phase) -> bool:
        """Until something is due; False when the phase has ended before."""
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _PAUSE))
            if phase is not self._driver.phase:
                return False
        return True

    def _one(self, phase: Phase, due: float) -> None:
        name = self._driver.deck.draw()
        try:
            connection = self._connected()
            with connection.cursor() as cursor:
                self._driver.transactions[name](cursor, Draw(self._random, self._driver.shop, phase.span))
            connection.commit()
        except (psycopg.Error, pymysql.Error, OSError):
            self._driver.record.failed()
            self._disconnect()
            time.sleep(_PAUSE)
        else:
            self._driver.record.committed(due, name)

    def _connected(self) -> Any:
        if self._connection is None or time.monotonic() > self._until:
            self._disconnect()
            self._connection = _connect(self._driver.address)
            # Not all at once.
            self._until = time.monotonic() + self._driver.lifetime * self._random.uniform(0.5, 1.5)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (psycopg.Error, pymysql.Error, OSError):
                pass  # It was gone already.


class Driver:
    """All clients; as many threads as the largest phase needs.

    Attributes:
        lifetime: seconds after which a client connects anew, on average, as pools do.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        address = settings["address"]
        self.address = Address(**{**address, "password": Password(address["password"])})
        self.shop = Shop(settings["scale"])
        self.transactions = transactions(self.address.kind)
        self.lifetime = float(settings["lifetime"])
        self.record = _Record()
        self._seed, self._clients = int(settings["seed"]), 0
        self.change(Phase(**settings["phase"]))

    def change(self, phase: Phase) -> None:
        self.phase, self.deck = phase, Deck(phase.mix, self._seed)
        self._enough()

    def _enough(self) -> None:
        while self._clients < self.phase.clients:
            _Client(self, self._clients, self._seed).start()
            self._clients += 1


def _connect(address: Address) -> Any:
    """A connection that plans every statement anew, so that it follows the server's settings."""
    if address.kind == "postgresql":
        return psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password.secret,
            dbname=address.database,
            connect_timeout=_CONNECT_SECONDS,
            application_name="tunewright lab",
            prepare_threshold=None,
        )
    return pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.secret,
        database=address.database,
        connect_timeout=_CONNECT_SECONDS,
    )


def main() -> None:
    """Speak with whoever started it."""
    settings = json.loads(sys.stdin.readline())
    if settings["cpus"]:
        os.sched_setaffinity(0, settings["cpus"])
    driver = Driver(settings)
    _answer({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        if "phase" in asked:
            driver.change(Phase(**asked["phase"]))
            _answer({"changed": True})
        else:
            _answer({"stats": asdict(driver.record.take())})


def _answer(message: Mapping[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
    # Clients may be in the middle of something that nobody waits for.
    os._exit(0)

"""Requests per second of a served recommender, over HTTP.

A study of one short trial trains a model in a real service; then clients in a process of their own ask
`POST /v1/models/{trial}:recommend` for ten items each, every client the next as soon as it has its answer. Service,
model and clients share the machine. A body may hold several requests; a request is one user under one query.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import httptools
import numpy as np

from benchmarks._harness import percentile
from benchmarks._service import running_service
from models.recsys.zoomer import ZoomerWorkload
from tunewright.space import Categorical, SearchSpace

USERS, QUERIES = 400, 32
DATA = {
    "dataset": "generated",
    "users": USERS,
    "items": 160,
    "queries": QUERIES,
    "interactions": 20_000,
    "unit": 2_048,
    "judged": 500,
    "ranked": 50,
}
# One hop and all else as the workload's defaults say: a search of one configuration.
CONFIG = {**ZoomerWorkload.space.default(), "hops": 1}
STUDY = {
    "name": "served",
    "workload": "recsys.zoomer",
    "optimizer": {"name": "random"},
    "data": DATA,
    "budget": {"trials": 1},
    "fidelity": {"name": "units", "min": 1, "max": 3},
    "space": SearchSpace(*(Categorical(name, [value]) for name, value in CONFIG.items())).model_dump(mode="json"),
}


@dataclass(frozen=True)
class Load:
    """How it is asked: `clients` connections, bodies of `together` requests, for so many seconds."""

    clients: int
    together: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """Requests answered in a second, and milliseconds from sending a body to its answer."""

    clients: int
    together: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def measure(loads: Sequence[Load]) -> list[Found]:
    """Train a model, serve it, and ask it under each load."""
    # The limit of requests for each address is not what is measured.
    with running_service(environment={"TUNEWRIGHT_RATE_LIMIT": "1e6", "TUNEWRIGHT_RATE_BURST": "1000000"}) as service:
        study = service.submit(STUDY)
        service.wait_until_over(study)
        path = f"/v1/models/{study}-0:recommend"
        found = []
        for load in loads:
            order = json.dumps({"host": service.host, "port": service.port, "path": path, **asdict(load)})
            command = [sys.executable, "-m", "benchmarks._zoomer_serving", order]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(Found(load.clients, load.together, **json.loads(done.stdout)))
        return found


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, bodies: Sequence[bytes], over: float, times: list[float]) -> None:
        self._bodies, self._over, self._times = bodies, over, times
        self._at = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the service closed the connection"))

    def on_message_complete(self) -> None:
        """Called by the parser at the end of an answer."""
        if self._parser.get_status_code() != 200:
            self.done.set_exception(RuntimeError(f"status {self._parser.get_status_code()}"))
            return
        now = time.perf_counter()
        self._times.append(now - self._asked)
        if now < self._over:
            self._ask()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._asked = time.perf_counter()
        self._transport.write(self._bodies[self._at % len(self._bodies)])
        self._at += 1


async def _play(host: str, port: int, path: str, load: Load) -> dict[str, float]:
    rng, loop = np.random.default_rng(0), asyncio.get_running_loop()

    def body() -> bytes:
        asked = [{"user": int(rng.integers(USERS)), "query": int(rng.integers(QUERIES))} for _ in range(load.together)]
        text = json.dumps({"requests": asked}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        )
        return head.encode() + b"\r\n" + text

    async def run(clients: int, seconds: float) -> list[float]:
        times: list[float] = []
        over = time.perf_counter() + seconds
        made = [
            (await loop.create_connection(lambda: _Client([body() for _ in range(200)], over, times), host, port))[1]
            for _ in range(clients)
        ]
        await asyncio.gather(*(client.done for client in made))
        return times

    # The first request loads the model, the next ones compile what is compiled at the first call.
    await run(1, 2.0)
    began = time.perf_counter()
    times = await run(load.clients, load.seconds)
    spent = time.perf_counter() - began
    return {
        "requests_per_second": load.together * len(times) / spent,
        "p50_ms": 1000 * percentile(times, 0.5),
        "p99_ms": 1000 * percentile(times, 0.99),
    }


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    load = Load(order["clients"], order["together"], order["seconds"])
    print(json.dumps(asyncio.run(_play(order["host"], order["port"], order["path"], load))))
